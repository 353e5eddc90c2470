"""Smoothness: derivatives of known flows, forgiven at edges."""

import pytest
import torch

from echokdm.losses.smoothness import smoothness
from echokdm.ops.warp import pixel_grid

ONES = torch.ones(1, 1, 16, 20)


def test_constant_flow_is_smooth_and_a_linear_one_to_second_order():
    linear = pixel_grid(16, 20) * 0.1  # dx = 0.1 x, dy = 0.1 y: each component varies along one axis
    image = torch.zeros(1, 1, 16, 20)
    assert smoothness(torch.ones(1, 2, 16, 20), image, ONES) == 0
    assert smoothness(linear, image, ONES) == pytest.approx(0.05, rel=1e-4)
    assert smoothness(linear, image, ONES, order=2) < 1e-6


def test_a_jump_is_forgiven_at_an_image_edge_and_outside_the_mask():
    flow = torch.zeros(1, 2, 16, 20)
    flow[..., 10:] = 3.0
    edge = torch.zeros(1, 1, 16, 20)
    edge[..., 10:] = 0.5
    for order in (1, 2):
        plain = smoothness(flow, torch.zeros_like(edge), ONES, order=order)
        assert smoothness(flow, edge, ONES, alpha=10, order=order) < 0.6 * plain
    mask = ONES.clone()
    mask[..., 8:12] = 0
    assert smoothness(flow, torch.zeros_like(edge), mask) == 0
