"""Wall motion by segments: what was asked happens, and nothing else."""

import numpy as np
import pytest

from echokdm.core.errors import GeometryError
from echokdm.ops.trajectory import compose, decompose, with_ejection_fraction
from echokdm.ops.ventricle import self_crossing
from echokdm.ops.wall_motion import FACTOR_RANGE, inward_motion, with_wall_motion
from echokdm.ops.walls import WALLS, chord_places


def inwards(points):
    """(T, 2, 20) px that each side's chord ends have come towards the axis since frame 0."""
    shape = decompose(points)
    out = np.stack([shape.middle + shape.width / 2, shape.width / 2 - shape.middle], axis=1)
    return out[0] - out


def inner(points, third):
    """(2, 20) bool: chord ends in the middle quarter of a third of their wall, 0 apical to 2 basal."""
    return np.abs(chord_places(points[0]) * 3 - third - 0.5) <= 0.125


@pytest.mark.parametrize("factor", [-0.5, 0.0, 0.4, 1.4])
@pytest.mark.parametrize("third", [0, 1, 2])
def test_the_segment_moves_as_asked_and_the_rest_stays(ventricles, factor, third):
    for ventricle in ventricles:
        points = with_ejection_fraction(ventricle.keypoints, 45, 0)
        name = ("apical", "mid", "basal")[third] + "-lateral"
        moved = with_wall_motion(points, {name: factor}, 0)
        assert np.array_equal(moved[:, :20], points[:, :20]) and not self_crossing(moved).any()
        np.testing.assert_allclose(moved[0], points[0], atol=1e-9)
        # The widths' axis is found anew from the points; its side may shift where the base moves, by the same for all.
        before, after, shape = inwards(points), points - moved, decompose(points)
        added = np.hypot(*np.moveaxis(after, -1, 0))[:, :19:-1]
        here = inner(points, third)[1]
        np.testing.assert_allclose(added[:, here], np.abs(factor - 1) * np.abs(before[:, 1, here]), atol=1e-9)
        assert not added[:, inner(points, (third + 1) % 3)[1] | inner(points, (third + 2) % 3)[1]].any()
        np.testing.assert_allclose(decompose(moved).length, shape.length, rtol=0.02)


def test_a_wall_at_factor_one_is_untouched(ventricles):
    for points, _ in ventricles:
        assert np.array_equal(with_wall_motion(points, dict.fromkeys(WALLS, 1.0), 0), points)
        assert np.array_equal(with_wall_motion(points, {}, 0), points)


def test_a_whole_akinetic_wall_stands_still(ventricles):
    points = ventricles[0].keypoints
    moved = with_wall_motion(points, {name: 0 for name in WALLS if name.endswith("septal")}, 0)
    shape = decompose(points)
    across = np.stack([-np.sin(shape.angle), np.cos(shape.angle)], axis=1)
    out = ((moved[:, :20] - shape.apex[:, None]) * across[:, None]).sum(-1)
    np.testing.assert_allclose(out, np.broadcast_to(out[0], out.shape), atol=1e-9)
    assert np.ptp(((points[:, :20] - shape.apex[:, None]) * across[:, None]).sum(-1), axis=0).max() > 2


def test_a_mirrored_heart_has_its_walls_on_the_other_side(ventricles):
    points = ventricles[0].keypoints
    mirrored = (points * [-1, 1] + [111, 0])[:, ::-1]
    factors = {"mid-septal": 0.0, "apical-lateral": 1.3}
    ours, theirs = with_wall_motion(points, factors, 0), with_wall_motion(mirrored, factors, 0, septal_first=False)
    np.testing.assert_allclose((theirs * [-1, 1] + [111, 0])[:, ::-1], ours, atol=1e-9)


def test_what_was_asked_is_measured(ventricles):
    factors = dict(zip(WALLS, (0.0, 0.5, -0.5, 0.2, 1.3, 0.7), strict=True))
    for points, beats in ventricles:
        own = inward_motion(points, beats)
        found = inward_motion(with_wall_motion(points, factors, 0), beats, seen_from=points)
        for name, factor in factors.items():
            assert found[name] == pytest.approx(factor * own[name], abs=0.1 * abs(own[name]) + 0.1)
    even = np.stack([points[0], decompose_scaled(points[0], 0.8)])
    assert inward_motion(even, [(0, 1)]) == pytest.approx(dict.fromkeys(WALLS, 20.0), abs=1e-6)
    mirrored = (points * [-1, 1] + [111, 0])[:, ::-1]
    assert inward_motion(mirrored, beats, septal_first=False) == pytest.approx(inward_motion(points, beats), abs=1e-6)


def decompose_scaled(points, factor):
    """Key-points (40, 2) with every chord end's distance from the axis times a factor."""
    shape = decompose(points[None])
    return compose(shape._replace(width=shape.width * factor, middle=shape.middle * factor))[0]


def test_between_segments_the_factor_changes_smoothly(ventricles):
    points = with_ejection_fraction(ventricles[0].keypoints, 55, 0)
    es = ventricles[0].beats[0][1]
    part = np.hypot(*(with_wall_motion(points, {"mid-septal": 0}, 0) - points)[es, :20].T) / np.abs(
        inwards(points)[es, 0]
    )
    assert part.max() == pytest.approx(1) and part.min() == 0
    # never from one to the other at once
    assert np.abs(np.diff(part)).max() < 0.6 and ((part > 0.02) & (part < 0.98)).sum() >= 4


def test_out_of_range_is_refused_with_what_can_be_had(ventricles):
    points = ventricles[0].keypoints
    for factor in (FACTOR_RANGE[0] - 0.1, FACTOR_RANGE[1] + 0.1, float("nan")):
        with pytest.raises(GeometryError, match=r"outside -0\.5 \(dyskinetic\) to 1\.5"):
            with_wall_motion(points, {"mid-septal": factor}, 0)
    with pytest.raises(GeometryError, match="basal-septal, mid-septal"):
        with_wall_motion(points, {"apex": 0}, 0)
    shape, (ed, es) = decompose(points), ventricles[0].beats[0]
    pinch = 1 - 0.7 * np.clip(
        (shape.width[ed, 9] - shape.width[:, 9]) / (shape.width[ed, 9] - shape.width[es, 9]), 0, 1
    )
    strong = compose(shape._replace(width=shape.width * np.where(np.abs(np.arange(20) - 9) < 2, pinch[:, None], 1)))
    with pytest.raises(
        GeometryError, match="together; ask for mid-septal=(1.[0-4][0-9]*), mid-lateral=(1.[0-4][0-9]*) or"
    ) as refused:
        with_wall_motion(strong, {"mid-septal": 1.5, "mid-lateral": 1.5}, 0)
    allowed = float(str(refused.value).split("mid-septal=")[1].split(",")[0])
    assert not self_crossing(with_wall_motion(strong, {"mid-septal": allowed, "mid-lateral": allowed}, 0)).any()
