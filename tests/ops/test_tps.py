"""Thin-plate splines: exact at key-points, still where nothing moves, exact on affine maps."""

import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.ops.tps import border_anchors, sector_anchors, tps_flow, tps_points
from echokdm.ops.warp import pixel_grid, sample_points, warp


def points(batch=2, count=40, seed=0, size=112):
    g = torch.Generator().manual_seed(seed)
    return 15 + (size - 30) * torch.rand(batch, count, 2, generator=g)


def test_equal_points_give_no_flow():
    p = points()
    assert tps_flow(p, p, 112, 112).abs().max() == 0
    assert tps_flow(p, p, 40, 60, anchors=border_anchors(40, 60)).shape == (2, 2, 40, 60)


def test_exact_at_keypoints():
    target = points().round()
    source = target + 4 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    flow = tps_flow(source, target, 112, 112, anchors=border_anchors(112, 112))
    assert (sample_points(flow, target) + target - source).abs().max() < 1e-3
    assert (tps_points(source, target, target) - source).abs().max() < 1e-3


def test_affine_map_is_reproduced():
    target = points(1)
    a, b = torch.tensor([[1.1, 0.2], [-0.1, 0.9]]), torch.tensor([3.0, -2.0])
    flow = tps_flow(target @ a.T + b, target, 112, 112)[0]
    grid = pixel_grid(112, 112)[0]
    expected = torch.einsum("ij,jhw->ihw", a, grid) + b[:, None, None] - grid
    assert (flow - expected).abs().max() < 1e-3


def test_backward_convention():
    """A spot at the source key-point appears at the target key-point."""
    image = torch.zeros(1, 1, 60, 60)
    image[..., 30, 20] = 1
    source, target = (
        torch.tensor([[[20.0, 30], [5, 5], [50, 5], [5, 50]]]),
        torch.tensor([[[26.0, 27], [5, 5], [50, 5], [5, 50]]]),
    )
    out = warp(image, tps_flow(source, target, 60, 60))
    assert out[0, 0, 27, 26] > 0.99


def test_anchors_stay():
    target = points(1).round()
    anchors = border_anchors(112, 112)
    flow = tps_flow(target + 5, target, 112, 112, anchors=anchors)
    assert sample_points(flow, anchors[None]).abs().max() < 0.3  # between pixels the bilinear reading is the limit
    assert flow[..., 0, 0].abs().max() < 1e-3


def test_sector_anchors_lie_on_its_edge():
    sector = torch.zeros(50, 50, dtype=torch.bool)
    sector[10:40, 5:45] = True
    p = sector_anchors(sector, 24)
    assert p.shape == (24, 2)
    edge = torch.stack([p[:, 0] - 4.5, 44.5 - p[:, 0], p[:, 1] - 9.5, 39.5 - p[:, 1]]).abs().amin(0)
    assert edge.max() < 1.0


def test_regularization_smooths():
    target = points(1)
    source = target + torch.randn(target.shape, generator=torch.Generator().manual_seed(2))

    def roughness(flow):
        return flow.diff(n=2, dim=-1).square().mean()

    assert roughness(tps_flow(source, target, 112, 112, regularization=1.0)) < 0.2 * roughness(
        tps_flow(source, target, 112, 112)
    )


def test_degenerate_points_stay_finite():
    same = torch.full((1, 5, 2), 30.0)
    assert torch.isfinite(tps_flow(same + 2, same, 60, 60)).all()
    line = torch.stack([torch.arange(6.0) * 5, torch.full((6,), 20.0)], -1)[None]
    assert torch.isfinite(tps_flow(line + 1, line, 60, 60)).all()
    twice = torch.cat([points(1), points(1)], 1)
    assert (tps_points(twice + 3, twice, twice) - twice - 3).abs().max() < 1e-3


def test_batch_does_not_change_a_sample():
    target, source = points(3), points(3, seed=5)
    together = tps_flow(source, target, 56, 56)
    assert torch.equal(together[1:2], tps_flow(source[1:2], target[1:2], 56, 56))


def test_gradient_reaches_the_keypoints():
    target = points(1, 8).requires_grad_()
    tps_flow(points(1, 8, seed=3), target, 28, 28).square().mean().backward()
    assert torch.isfinite(target.grad).all() and target.grad.abs().max() > 0


def test_shapes_must_match():
    with pytest.raises(GeometryError):
        tps_flow(torch.zeros(1, 4, 2), torch.zeros(1, 5, 2), 10, 10)
