"""The refinement network reads nothing but what the flow fetched."""

import pytest
import torch

from echokdm.networks.warped_refinement import RefinementNet
from echokdm.ops.warp import pixel_grid, warp


@pytest.mark.parametrize(("channels", "blocks"), [((8,), 1), ((8, 16), 2)])
def test_pictures_keep_their_size_and_range(channels, blocks):
    torch.manual_seed(0)
    made = RefinementNet(channels, blocks)(torch.rand(2, 3, 16, 16), torch.randn(2, 2, 16, 16))
    assert made.shape == (2, 3, 16, 16) and 0 < made.min() and made.max() < 1


def test_the_paper_s_sizes():
    with torch.device("meta"):
        network = RefinementNet()
    assert [layer.out_channels for layer in network.encoder if isinstance(layer, torch.nn.Conv2d)] == [128, 256]
    assert network.encoder(torch.empty(1, 3, 256, 256, device="meta")).shape == (1, 256, 64, 64)
    names = [type(layer).__name__ for layer in network.decoder]
    assert names.count("_Residual") == 6 and names.count("Upsample") == 2 and names.count("BatchNorm2d") == 2


def test_residual_starts_as_the_warp():
    source, flow = torch.rand(2, 3, 16, 16), torch.randn(2, 2, 16, 16)
    assert torch.equal(RefinementNet((8,), 1, residual=True)(source, flow), warp(source, flow))


@pytest.mark.parametrize("residual", [False, True])
def test_what_the_flow_does_not_fetch_changes_nothing(residual):
    torch.manual_seed(0)
    network = RefinementNet((8,), 1, residual=residual).eval()
    torch.nn.init.normal_(network.decoder[-1].weight)
    source = torch.rand(1, 3, 32, 32)
    other = source.clone()
    other[:, :, :, 20:] = 1 - other[:, :, :, 20:]
    towards = torch.full((1, 2, 32, 32), 4.0) - pixel_grid(32, 32)  # every pixel is fetched from (4, 4)
    with torch.no_grad():
        assert torch.equal(network(source, towards), network(other, towards))
        still = torch.zeros(1, 2, 32, 32)
        assert not torch.equal(network(source, still), network(other, still))
