"""PWC-lite: published size, shapes for any input, an exact grid from level to level, saving."""

import pytest
import torch

from echokdm.networks.pwc_lite import PWCLite, upsample_flow
from echokdm.ops.warp import pixel_grid

NARROW = {"pyramid": (16, 32, 48, 64, 96, 128), "estimator": (64, 64, 48, 32, 32), "context": (64, 64, 64, 48, 32, 32)}


def test_published_number_of_parameters():
    assert sum(p.numel() for p in PWCLite(in_channels=3).parameters()) == pytest.approx(2.24e6, rel=0.005)


@pytest.mark.parametrize(
    "channels, size, levels",
    [
        (1, (112, 112), [(112, 112), (56, 56), (28, 28), (14, 14), (7, 7)]),
        (3, (128, 64), [(128, 64), (64, 32), (32, 16), (16, 8), (8, 4)]),
        (1, (100, 75), [(100, 75), (50, 38), (25, 19), (13, 10), (7, 5)]),
        (1, (64, 70), [(64, 70), (32, 35), (16, 18), (8, 9), (4, 5)]),
    ],
)
def test_shapes_of_the_five_levels(channels, size, levels):
    net = PWCLite(in_channels=channels, **NARROW).eval()
    a, b = torch.rand(2, channels, *size), torch.rand(2, channels, *size)
    flows = net(a, b)
    assert [tuple(f.shape[2:]) for f in flows] == levels and all(f.shape[:2] == (2, 2) for f in flows)
    assert flows[0].abs().max() < 3  # starts near zero


def test_upsampling_is_exact_for_a_linear_flow():
    """Coarse pixel i lies at fine pixel 4 i: a flow linear in position stays that very function."""
    coarse = pixel_grid(8, 9) * 4 * 0.1 + 0.5  # values in fine px at fine positions 4 i
    fine = upsample_flow(coarse / 4, 4, (29, 33))
    assert torch.allclose(fine, pixel_grid(29, 33) * 0.1 + 0.5, atol=1e-5)


def test_both_ways_are_the_two_single_calls():
    torch.manual_seed(0)
    net = PWCLite(**NARROW).eval()
    a, b = torch.rand(3, 1, 64, 64), torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        together, forth, back = net(a, b, both_ways=True), net(a, b), net(b, a)
    for both, f, r in zip(together, forth, back, strict=True):
        assert torch.allclose(both, torch.cat([f, r]), atol=1e-4)


def test_every_parameter_of_a_decoded_level_gets_a_gradient():
    net = PWCLite(**NARROW)
    sum(f.square().mean() for f in net(torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64))).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_saved_net_loads_with_its_configuration(tmp_path):
    net = PWCLite(**NARROW).eval()
    net.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    again = PWCLite.from_pretrained(tmp_path)
    a, b = torch.rand(1, 1, 112, 112), torch.rand(1, 1, 112, 112)
    assert torch.equal(net.flow(a, b), again.flow(a, b)) and again.config.estimator == [64, 64, 48, 32, 32]
