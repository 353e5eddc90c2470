"""The affine regulariser, against least squares solved place by place."""

import pytest
import torch

from echokdm.losses.affine import affine_regulariser, affine_residual
from echokdm.ops.warp import pixel_grid


def test_the_residual_of_a_row_of_three_is_known():
    """On 3 x 3 the projection onto 1, x, y has 1/9 + (x x' + y y') / 6."""
    k = affine_residual(3)
    line = [(i % 3 - 1, i // 3 - 1) for i in range(9)]
    for i, (x, y) in enumerate(line):
        for j, (u, v) in enumerate(line):
            assert k[i, j].item() == pytest.approx(1 / 9 + (x * u + y * v) / 6 - (i == j), abs=1e-6)


@pytest.mark.parametrize("side", [3, 5])
def test_the_regulariser_equals_least_squares_at_each_place(side):
    flow = torch.randn(2, 2, 7, 8, generator=torch.Generator().manual_seed(side))
    looked_at = pixel_grid(7, 8) + flow
    total, places = 0.0, 0
    for b in range(2):
        for y in range(7 - side + 1):
            for x in range(8 - side + 1):
                patch = looked_at[b, :, y : y + side, x : x + side].flatten(1).T.double()
                grid = pixel_grid(7, 8)[0, :, y : y + side, x : x + side].flatten(1).T.double()
                a = torch.cat([grid, torch.ones(side * side, 1, dtype=torch.float64)], 1)
                total += float((a @ torch.linalg.lstsq(a, patch).solution - patch).square().sum())
                places += 1
    assert affine_regulariser(flow, side).item() == pytest.approx(total / places, rel=1e-4)


@pytest.mark.parametrize("side", [3, 5])
def test_affine_flows_cost_nothing_and_a_bend_does(side):
    grid = pixel_grid(9, 9)
    affine = torch.stack([0.3 * grid[:, 0] - 0.2 * grid[:, 1] + 4, 0.1 * grid[:, 1] - 2], 1)
    assert affine_regulariser(affine, side).item() == pytest.approx(0, abs=1e-8)
    assert affine_regulariser(torch.where(grid[:, :1] < 4, affine, affine + 1), side) > 0.1
