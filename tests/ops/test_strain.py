"""Longitudinal strain of outlines, measured and asked."""

import numpy as np
import pytest

from echokdm.core.errors import GeometryError
from echokdm.ops import strain
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.ops.trajectory import decompose
from echokdm.ops.ventricle import axis_from_keypoints, self_crossing, simpson_volume
from echokdm.ops.walls import WALLS, along_walls, wall_lines


def test_a_ventricle_that_shrinks_evenly_has_that_strain_everywhere(ventricles):
    points = ventricles[0].keypoints[0]
    found = strain.longitudinal_strain(np.stack([points, 0.8 * points + 5, 1.1 * points]), 0)
    np.testing.assert_allclose(found.whole, [0, -20, 10], atol=1e-9)
    np.testing.assert_allclose(found.segments, np.outer([0, -20, 10], np.ones(6)), atol=1e-9)


def test_the_whole_is_the_segments_by_their_length(ventricles):
    for ventricle in ventricles:
        found = strain.longitudinal_strain(ventricle.keypoints, 0)
        walls = along_walls(wall_lines(ventricle.keypoints[:1]))[0, :, -1]
        septal, lateral = found.segments[:, :3].mean(1), found.segments[:, 3:].mean(1)
        np.testing.assert_allclose(found.whole, (septal * walls[0] + lateral * walls[1]) / walls.sum())


def test_a_segment_alone_is_seen_where_it_is(ventricles):
    """Chords pushed apart to the side of the septum's middle third make that segment longer and no other."""
    points = np.repeat(ventricles[0].keypoints[:1], 2, axis=0)
    points[1, 8:12:2, 0] -= 3
    found = dict(zip(WALLS, strain.longitudinal_strain(points, 0).segments[1], strict=True))
    assert found.pop("mid-septal") > 5
    assert max(abs(value) for value in found.values()) < 0.7


def test_a_mirrored_heart_has_the_same_strain(ventricles):
    points, beats = ventricles[0]
    mirrored = (points * [-1, 1] + [111, 0])[:, ::-1]
    ours, theirs = (
        strain.end_systolic_strain(points, beats),
        strain.end_systolic_strain(mirrored, beats, septal_first=False),
    )
    assert list(ours) == ["global", *WALLS] and ours == pytest.approx(theirs, abs=1e-6)


def test_beats_count_alike(ventricles):
    points, (beat,) = ventricles[0]
    weak = strain.with_gls(points, -8, 0, [beat])
    beats = [beat, (24, 24 + beat[1])]
    both = strain.end_systolic_strain(np.concatenate([points, weak]), beats)
    assert both["global"] == pytest.approx((strain.end_systolic_strain(points, [beat])["global"] - 8) / 2)


@pytest.mark.parametrize("asked", [-9.0, -14.0, -19.0, -23.0])
def test_gls_is_exact(ventricles, asked):
    for points, beats in ventricles:
        moved = strain.with_gls(points, asked, 0, beats)
        assert strain.end_systolic_strain(moved, beats)["global"] == pytest.approx(asked, abs=1e-6)
        np.testing.assert_allclose(moved[0], points[0], atol=1e-9)
        np.testing.assert_allclose(axis_from_keypoints(moved)[0], axis_from_keypoints(points)[0], atol=1e-6)
        np.testing.assert_allclose(decompose(moved).width, decompose(points).width, atol=1e-6)
        assert not self_crossing(moved).any()
        assert (np.diff(np.sign(strain.longitudinal_strain(moved, 0).whole[1:-1])) == 0).all()


def test_its_own_gls_changes_nothing_and_more_of_it_ejects_more(ventricles):
    for points, beats in ventricles:
        own = strain.end_systolic_strain(points, beats)["global"]
        np.testing.assert_allclose(strain.with_gls(points, own, 0, beats), points, atol=1e-6)
        fractions = [
            clip_ejection_fraction(simpson_volume(strain.with_gls(points, own + by, 0, beats)), beats)
            for by in (4, 0, -4)
        ]
        assert fractions[0] < fractions[1] - 1 and fractions[1] < fractions[2] - 1


def test_a_ventricle_that_hardly_shortens_gets_an_even_shortening(ventricles):
    points, beats = ventricles[0]
    stiff = strain.with_gls(points, strain.gls_limits(points, 0, beats)[1] - 0.2, 0, beats)
    assert strain.end_systolic_strain(strain.with_gls(stiff, -18, 0, beats), beats)["global"] == pytest.approx(
        -18, abs=1e-6
    )
    np.testing.assert_allclose(
        strain.with_gls(stiff, strain.end_systolic_strain(stiff, beats)["global"], 0, beats), stiff, atol=1e-6
    )


@pytest.mark.parametrize("asked", [-31, 5, float("nan")])
def test_gls_out_of_range_is_refused_with_the_range(ventricles, asked):
    points, beats = ventricles[0]
    strongest, weakest = strain.gls_limits(points, 0, beats)
    with pytest.raises(
        GeometryError, match=f"{np.ceil(10 * strongest) / 10:.1f} to {np.floor(10 * weakest) / 10:.1f} %"
    ) as refused:
        strain.with_gls(points, asked, 0, beats)
    assert ("negative" in str(refused.value)) == (asked > 0)
    for limit in (strongest, weakest):
        moved = strain.with_gls(points, limit, 0, beats)
        assert strain.end_systolic_strain(moved, beats)["global"] == pytest.approx(limit, abs=1e-6)
        assert not self_crossing(moved).any()


def test_a_still_ventricle_has_no_beat_to_shorten_in(ventricles):
    with pytest.raises(GeometryError, match="ejection fraction too"):
        strain.with_gls(np.repeat(ventricles[0].keypoints[:1], 8, axis=0), -18, 0, [(0, 4)])
