"""Errors of flows and volumes by hand; a clip warped from one source does not flicker along its own flow, a noisy one
does."""

import numpy as np
import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.metrics.flow import flow_errors
from echokdm.metrics.keypoints import mean_coordinate_distance, mean_distance
from echokdm.metrics.temporal import fetched_inside, flow_between, warping_error
from echokdm.metrics.volume import dice, ejection_fraction_error, r_squared
from echokdm.ops.warp import pixel_grid, warp


def test_flow_errors_of_a_constant_miss():
    truth = torch.zeros(2, 2, 8, 8)
    flow = truth + torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
    flow[:, :, 0] = 99
    mask = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    mask[:, :, 0] = False
    errors = flow_errors(flow, truth, mask)
    assert errors["EPE"].tolist() == pytest.approx([5, 5]) and errors["MAE"].tolist() == pytest.approx([3.5, 3.5])
    assert errors["RMSE"].tolist() == pytest.approx([np.sqrt(12.5)] * 2)


def test_key_point_distances():
    truth = np.zeros((2, 4, 2))
    found = truth + [3.0, 4.0]
    found[1, 0] = np.nan
    assert mean_distance(found, truth)[0] == 5 and mean_coordinate_distance(found, truth)[0] == 3.5
    assert np.isnan(mean_distance(found, truth)[1])


def test_r2_and_dice():
    truth = np.array([20.0, 40, 60])
    assert r_squared(truth, truth) == 1 and r_squared(truth * 0 + 40, truth) == 0
    assert r_squared(truth + 10, truth) == pytest.approx(1 - 300 / 800)  # a shift counts, unlike in a correlation
    assert ejection_fraction_error([30, 50], [35, 45]).tolist() == [5, 5]
    with pytest.raises(GeometryError):
        r_squared([1.0, 2], [3.0, 3])
    a, b = np.zeros((2, 2, 4), bool)
    a[0], b[0, :2] = True, True
    assert dice(a, b) == pytest.approx(2 * 2 / 6) and dice(a & False, b & False) == 1


def _swing(phase: float) -> torch.Tensor:
    x, y = pixel_grid(48, 48)[0]
    bump = torch.exp(-((x - 24) ** 2 + (y - 24) ** 2) / 120)
    return (torch.stack([bump * 3, bump * -2]) * phase)[None]


def test_flow_between_two_frames_of_one_source():
    first, second = _swing(0.4), _swing(1.0)
    between, known = flow_between(second, first)
    through = between + warp(first, between)  # second -> first -> source
    inner = (..., slice(4, -4), slice(4, -4))
    assert known[inner].all() and (through - second)[inner].abs().max() < 0.05


def test_warping_error_sees_flicker():
    source = torch.nn.functional.avg_pool2d(
        torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0)), 5, 1, 2
    )
    flows = torch.cat([_swing(p) for p in np.linspace(0, 1, 6)])
    frames = warp(source.expand(6, -1, -1, -1), flows)
    between, known = flow_between(flows[1:], flows[:-1])
    steady = warping_error(frames, between, known)
    flicker = warping_error(
        frames + 0.05 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(1)), between, known
    )
    assert steady.shape == (5,) and steady.max() < 1e-3 < flicker.min()


def test_fetched_inside_leaves_out_what_comes_from_outside():
    sector = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    sector[..., 5:15] = True
    right = torch.zeros(1, 2, 20, 20)
    right[:, 0] = 3
    inside = fetched_inside(right, sector)
    assert inside[0, 0, 0, 5:12].all() and not inside[0, 0, 0, 12:].any() and not inside[0, 0, 0, :5].any()
