"""Features are the ImageNet network's own activations, by the papers' names."""

import pytest
import torch

from echokdm.core.errors import BundleError
from echokdm.losses.features import Features

STATISTICS = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)


def test_the_first_layer_is_the_first_convolution_of_the_standardised_image(squeeze_weights):
    image = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    deep, first = Features("squeeze", ("relu3_1", "relu1_2"))(image)
    weights = torch.load(squeeze_weights, weights_only=True)
    mean, deviation = STATISTICS
    by_hand = torch.conv2d(
        (image - mean) / deviation, weights["features.0.weight"].float(), weights["features.0.bias"].float(), 2
    ).relu()
    assert torch.allclose(first, by_hand, atol=1e-5)
    assert deep.shape == (2, 256, 2, 2)


def test_gradients_reach_the_image_and_nothing_else(squeeze_weights):
    network = Features("squeeze", ("relu2_1",)).train()
    image = torch.rand(1, 1, 32, 32, requires_grad=True)
    network(image)[0].square().mean().backward()
    assert (
        image.grad.abs().sum() > 0 and not any(p.requires_grad for p in network.parameters()) and not network.training
    )


def test_an_unknown_layer_is_told():
    with pytest.raises(BundleError, match="relu9_1"):
        Features("squeeze", ("relu9_1",))
