"""Key-points as images."""

import math

import torch

from echokdm.core.types import A4C_BLOODPOOL_40, KeypointSchema
from echokdm.ops.render import (
    carry_keypoints,
    fill_polygon,
    inside_polygon,
    nearest_edge,
    render_keypoints,
    spread_motion,
)
from echokdm.ops.warp import sample_points


def ellipse(a: float, b: float, n: int = 40) -> torch.Tensor:
    t = torch.arange(n) / n * 2 * math.pi
    return torch.stack([30 + a * t.cos(), 32 + b * t.sin()], -1)[None]


def test_a_filled_ellipse_has_its_area():
    area = fill_polygon(ellipse(12, 20, 400), 64, 64).sum()
    assert abs(area - math.pi * 240) / (math.pi * 240) < 0.005


def test_distance_to_a_segment_by_hand():
    distance, edge = nearest_edge(
        torch.tensor([[[0.0, 0.0], [0.0, 8.0]]]), torch.tensor([[[4.0, 0.0], [4.0, 8.0]]]), 9, 9
    )
    assert distance[0, 3, 2] == 3 and edge[0, 3, 2] == 0  # above the middle of the first
    # beyond the second's end
    assert math.isclose(distance[0, 5, 7], math.hypot(3, 3), rel_tol=1e-5) and edge[0, 5, 7] == 1


def test_a_concave_polygon_by_the_even_odd_rule():
    arrow = torch.tensor([[[1.5, 1.5], [10.5, 1.5], [10.5, 10.5], [6.0, 4.0], [1.5, 10.5]]])
    inside = inside_polygon(arrow, 12, 12)[0]
    assert inside[2, 6] and inside[8, 2] and not inside[8, 6] and not inside[0, 6]


def test_lines_carry_their_colours_and_the_fill_is_the_fourth_channel():
    points = ellipse(12, 20)
    drawn = render_keypoints(points, A4C_BLOODPOOL_40, 64, 64)
    assert drawn.shape == (1, 4, 64, 64)
    x, y = ((points[0, 5] + points[0, 6]) / 2).round().long().tolist()
    assert torch.allclose(drawn[0, :3, y, x], torch.tensor(A4C_BLOODPOOL_40.colours[5]), atol=1e-5)
    assert drawn[0, 3, 32, 30] == 1 and drawn[0, :3, 32, 30].sum() == 0


def test_points_that_were_not_seen_draw_no_line_and_move_nothing():
    limbs = KeypointSchema("limbs", ("a", "b", "c"), ((0, 1), (1, 2)), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    points = torch.tensor([[[8.0, 8.0], [8.0, 40.0], [torch.nan, torch.nan]]])
    drawn = render_keypoints(points, limbs, 64, 64)
    assert drawn[0, 0, 24, 8] == 1 and drawn[0, 1].abs().max() == 0 and drawn.isfinite().all()
    moved = points + torch.tensor([2.0, 0.0])
    seen = spread_motion(moved, points, 64, 64)
    assert torch.equal(seen, spread_motion(moved[:, :2], points[:, :2], 64, 64))
    nothing = torch.full((1, 3, 2), torch.nan)
    assert torch.equal(spread_motion(moved, nothing, 64, 64), torch.zeros(1, 2, 64, 64))
    assert torch.equal(carry_keypoints(seen, nothing, nothing), seen)


def test_spread_motion_is_right_at_the_points_and_fades():
    source, target = ellipse(14, 22), ellipse(12, 20)
    flow = spread_motion(source, target, 64, 64)
    x, y = target[0, 0].round().long().tolist()
    assert abs(flow[0, 0, y, x] - 2) < 0.4
    assert flow[0, :, 0, 0].abs().max() < 0.1


def test_a_corrected_flow_carries_every_keypoint_to_its_source():
    source, target = ellipse(14, 22), ellipse(11, 19)
    smooth = 0.5 * spread_motion(source, target, 64, 64, reach=30.0)
    for flow in (torch.zeros(1, 2, 64, 64), smooth):
        reached = target + sample_points(carry_keypoints(flow, source, target), target)
        assert (reached - source).square().sum(-1).sqrt().max() < 0.25


def test_a_corrected_flow_carries_an_outline_and_leaves_sliding_alone():
    """On a circle that turns and shrinks, the shrinking is put right and no turning is added."""
    angle = torch.arange(40) / 40 * 2 * math.pi

    def circle(radius: float, turn: float) -> torch.Tensor:
        return torch.stack([32 + radius * (angle + turn).cos(), 32 + radius * (angle + turn).sin()], -1)[None]

    source, target = circle(20, 0.1), circle(17, 0.0)
    reached = target + sample_points(carry_keypoints(torch.zeros(1, 2, 64, 64), source, target, outline=True), target)
    assert ((reached - 32).norm(dim=-1) - 20).abs().max() < 0.25
    turned = [torch.atan2(points[..., 1] - 32, points[..., 0] - 32) for points in (reached, target)]
    assert (turned[0] - turned[1]).abs().max() < 0.02
