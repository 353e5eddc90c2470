"""The generator around the warp: sizes, and pictures let through by masks."""

import pytest
import torch

from echokdm.networks.appearance_flow import AppearanceFlow
from echokdm.networks.warp_generator import WarpGenerator


@pytest.mark.parametrize(("downs", "inputs"), [(1, 1), (1, 2), (2, 2)])
def test_a_picture_comes_back_at_its_size(downs, inputs):
    network = WarpGenerator(width=8, widest=16, downs=downs, blocks=1, inputs=inputs)
    features = network.encode(torch.rand(2, 3, 32, 48))
    assert features.shape == (2, network.channels, 32 >> downs, 48 >> downs)
    image = network(features.repeat(1, inputs, 1, 1))
    assert image.shape == (2, 3, 32, 48) and 0 <= image.min() and image.max() <= 1


def test_copies_are_blended_by_their_masks():
    """With masks of logits 0, log 2 and log 5, an eighth is painted, a quarter is of one copy and five eighths of the
    other."""
    network = WarpGenerator(width=8, widest=8, downs=1, blocks=0, inputs=1, copies=2)
    torch.nn.init.zeros_(network.last.weight)
    network.last.bias.data = torch.tensor([0.0, 0, 0, 0, 2, 5]).clamp_min(1).log()
    copies = torch.rand(1, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    image = network(torch.rand(1, 8, 8, 8), copies)
    assert torch.allclose(image, 0.5 / 8 + copies[:, 0] * 2 / 8 + copies[:, 1] * 5 / 8, atol=1e-5)


def test_self_appearance_starts_by_borrowing_nothing():
    assert AppearanceFlow(4, (8, 8))(torch.rand(1, 4, 8, 16)).abs().max() == 0
