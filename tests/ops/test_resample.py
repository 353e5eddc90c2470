"""Shrinking keeps the corners' centres where they are and does not alias."""

import pytest
import torch

from echokdm.ops.resample import rescale_points, shrink
from echokdm.ops.warp import pixel_grid


@pytest.mark.parametrize("size", [(16, 16), (32, 16), (64, 64)])
def test_a_ramp_keeps_its_corners_and_its_slope(size):
    ramp = pixel_grid(64, 64)
    small = shrink(ramp, *size)
    want = rescale_points(pixel_grid(*size).permute(0, 2, 3, 1), size, (64, 64)).permute(0, 3, 1, 2)
    inner = (..., slice(2, -2), slice(2, -2))  # the repeated border bends the blurred ramp at its ends
    assert torch.allclose(small[inner], want[inner], atol=2e-2)


def test_the_finest_stripes_become_gray():
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)
    assert (shrink(stripes, 16, 16) - 0.5).abs()[..., 2:-2].max() < 0.02


def test_one_blurred_pixel_by_hand():
    # 9 -> 5 px: sigma 0.4, reach 2: weights exp(-x^2 / 0.32), and pixel 2 of five lies on pixel 4 of nine.
    image = torch.zeros(1, 1, 1, 9)
    image[..., 4] = 1
    weights = torch.exp(-torch.arange(-2.0, 3).square() / 0.32)
    assert torch.allclose(shrink(image, 1, 5)[0, 0, 0, 2], (weights / weights.sum())[2], atol=1e-6)


def test_points_follow():
    assert rescale_points(torch.tensor([63.0, 31.5]), (64, 64), (32, 16)).tolist() == pytest.approx([15.0, 15.5])
