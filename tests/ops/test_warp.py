"""The convention: backward flow in pixels, channel 0 = dx, pixel centres at integers, align_corners=True."""

import pytest
import torch

from echokdm.ops.warp import pixel_grid, sample_points, warp


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (4, 5)])
def test_a_known_translation_warps_back(dx, dy):
    image = torch.rand(2, 1, 24, 31, generator=torch.Generator().manual_seed(0))
    flow = torch.tensor([float(dx), float(dy)]).view(1, 2, 1, 1).expand(2, 2, 24, 31)
    moved = warp(image, flow)
    y, x = slice(max(0, -dy), 24 - max(0, dy)), slice(max(0, -dx), 31 - max(0, dx))
    want = image.roll((-dy, -dx), (2, 3))
    assert torch.allclose(moved[..., y, x], want[..., y, x], atol=1e-5)


def test_zero_flow_is_the_identity_and_grid_starts_at_zero():
    image = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(warp(image, torch.zeros(1, 2, 9, 7)), image, atol=1e-6)
    assert pixel_grid(9, 7)[0, :, 0, 0].tolist() == [0, 0] and pixel_grid(9, 7)[0, :, 8, 6].tolist() == [6, 8]


def test_points_read_the_field_where_they_are():
    grid = pixel_grid(20, 30)
    points = torch.tensor([[[3.25, 4.5], [29.0, 19.0], [0.0, 0.0]]])
    assert torch.allclose(sample_points(grid, points), points, atol=1e-4)
