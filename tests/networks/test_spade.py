"""SPADE's arithmetic, and that the matcher's encoders see what they should."""

import torch
from torch import nn

from echokdm.networks.domain_matcher import DomainEncoder, DomainMatcher
from echokdm.networks.spade import Spade


def test_spade_scales_and_shifts_the_normalised_features_by_the_condition():
    torch.manual_seed(0)
    spade = Spade(8, condition_channels=1, hidden=4, groups=8)
    for conv, value in ((spade.shared, 1.0), (spade.gamma, 0.5), (spade.beta, 0.25)):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
        conv.weight.data[:, :, 1, 1] = value  # each place sees itself alone
    features, condition = torch.randn(2, 8, 4, 4), torch.rand(2, 1, 4, 4)
    mean = features.mean((2, 3), keepdim=True)
    normal = (features - mean) / (features.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    # hidden: 4 channels of the condition; gamma 4 * 0.5 of it, beta 4 * 0.25 of it
    assert torch.allclose(spade(features, condition), normal * (1 + 2 * condition) + condition, atol=1e-4)


def test_without_a_condition_it_is_group_normalisation():
    features = torch.randn(2, 8, 4, 4)
    assert torch.allclose(Spade(8, groups=4)(features), nn.GroupNorm(4, 8)(features))


def test_the_condition_reaches_the_features_of_estimates_alone():
    torch.manual_seed(0)
    matcher = DomainMatcher(4, 12, (8, 16))
    clean, one, other = torch.randn(3, 2, 4, 8, 8)
    assert matcher("condition", clean).shape == matcher("estimate", clean, one).shape == (2, 12, 8, 8)
    assert not torch.allclose(matcher("estimate", clean, one), matcher("estimate", clean, other))
    assert not torch.allclose(matcher("condition", clean), matcher("exemplar", clean))  # weights of their own


def test_an_encoder_reaches_as_far_as_its_levels_and_takes_odd_sizes():
    torch.manual_seed(0)
    encoder = DomainEncoder(1, 4, (8, 8, 8)).eval()
    image = torch.zeros(1, 1, 15, 15, requires_grad=True)
    out = encoder(image)
    assert out.shape == (1, 4, 15, 15)
    out[0, :, 7, 7].sum().backward()
    assert (image.grad[0, 0, 7] != 0).all()
