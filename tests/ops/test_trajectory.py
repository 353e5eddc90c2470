"""Trajectories steered by ejection fraction, driven by another ventricle, dragged and retimed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echokdm.core.errors import GeometryError
from echokdm.ops import trajectory as tr
from echokdm.ops.chords import chord_positions
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.ops.ventricle import axis_from_keypoints, self_crossing, simpson_volume


def ventricle(length=56.0, width=36.0, tilt=0.2, apex=(50.0, 12.0), bend=2.0):
    f = chord_positions()
    half = width / 2 * np.sqrt(1 - ((f * 1.4 - 1) ** 2))
    across = np.concatenate([half, -half[::-1]]) + bend * np.concatenate([np.sin(np.pi * f), np.sin(np.pi * f)[::-1]])
    along = np.concatenate([f, f[::-1]]) * length
    u = np.array([np.sin(tilt), np.cos(tilt)])
    return np.array(apex) + along[:, None] * u + across[:, None] * np.array([-u[1], u[0]])


def beating(ef, frames=30, seed=0, shake=1.0, **shape):
    """A beat that also shifts and leans a little, as real ones do."""
    points = tr.beat_template(ventricle(**shape), ef, frames)
    shift = shake * np.sin(np.arange(frames) / frames * 2 * np.pi)[:, None, None] * np.array([1.0, -0.5])
    return points + shift


def ef_of(points, ed=0):
    v = simpson_volume(points)
    return 100 * (v[ed] - v.min()) / v[ed]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    source=st.floats(0, 78),
    asked=st.floats(5, 78),
    tilt=st.floats(-0.8, 0.8),
    wide=st.floats(20, 48),
    length=st.floats(30, 70),
)
def test_ejection_fraction_is_exact(source, asked, tilt, wide, length):
    shape = dict(tilt=tilt, width=wide, length=length)
    points = beating(source, **shape) if source >= 5 else np.repeat(ventricle(**shape)[None], 30, axis=0)
    out = tr.with_ejection_fraction(points, asked, 0)
    assert ef_of(out) == pytest.approx(asked, abs=1e-6)
    np.testing.assert_allclose(out[0], points[0], atol=1e-9)
    assert not self_crossing(out).any()


def test_its_own_ejection_fraction_changes_nothing():
    points = beating(45)
    np.testing.assert_allclose(tr.with_ejection_fraction(points, ef_of(points), 0), points, atol=1e-6)


def test_end_diastole_may_be_any_frame():
    points = np.roll(beating(40), 12, axis=0)
    out = tr.with_ejection_fraction(points, 60, 12)
    assert ef_of(out, 12) == pytest.approx(60, abs=1e-6)
    np.testing.assert_allclose(out[12], points[12], atol=1e-9)


def test_base_descends_and_apex_stays_in_the_canonical_beat():
    points = tr.beat_template(ventricle(), 60, 30)
    apex, base = axis_from_keypoints(points)
    assert np.hypot(*(apex - apex[0]).T).max() < 0.5
    assert 0.08 < 1 - np.hypot(*(base - apex).T).min() / np.hypot(*(base[0] - apex[0])) < 0.25


@pytest.mark.parametrize("ef", [4, 81, -3, 300, float("nan")])
def test_out_of_range_is_refused_with_the_range(ef):
    with pytest.raises(GeometryError, match=r"EF 5-\d\d"):
        tr.with_ejection_fraction(beating(50), ef, 0)


def test_limits_are_those_enforced():
    points = beating(50)
    low, high = tr.ef_limits(points, 0)
    assert (low, high) == (5, 80)
    for ef in (low, high):
        assert ef_of(tr.with_ejection_fraction(points, ef, 0)) == pytest.approx(ef, abs=1e-6)


def test_a_source_that_pinches_limits_the_range():
    points = beating(30)
    shape = tr.decompose(points)
    pinch = 0.45 ** np.clip(
        (simpson_volume(points[:1]) - simpson_volume(points)) / np.ptp(simpson_volume(points)), 0, 1
    )
    width = shape.width.copy()
    width[:, 6:8] *= pinch[:, None]  # two chords that contract far more than the others
    points = tr.compose(shape._replace(width=width))
    low, high = tr.ef_limits(points, 0)
    assert low == 5 and high < 80
    assert not self_crossing(tr.with_ejection_fraction(points, np.floor(high), 0)).any()
    with pytest.raises(GeometryError, match="EF 5-"):
        tr.with_ejection_fraction(points, high + 1, 0)


def test_bad_trajectories():
    with pytest.raises(GeometryError):
        tr.with_ejection_fraction(beating(50)[0], 40, 0)
    with pytest.raises(GeometryError, match="Frame 30"):
        tr.with_ejection_fraction(beating(50), 40, 30)


def test_compose_inverts_decompose():
    rng = np.random.default_rng(0)
    points = beating(50) + rng.normal(size=(30, 40, 2)) * 0.5
    np.testing.assert_allclose(tr.compose(tr.decompose(points)), points, atol=1e-9)


def test_motion_carries_over_to_another_ventricle():
    driving = beating(55)
    np.testing.assert_allclose(tr.transfer_motion(driving[0], driving, 0), driving, atol=1e-9)
    source = ventricle(length=40, width=30, tilt=-0.5, apex=(70, 30))
    out = tr.transfer_motion(source, driving, driving[0])
    np.testing.assert_allclose(out[0], source, atol=1e-9)
    assert ef_of(out) == pytest.approx(55, abs=2)
    turned = tr.transfer_motion(driving[0], driving * 2 + 7, 0)  # size and place of the driver don't matter
    np.testing.assert_allclose(turned, driving, atol=1e-6)


def test_motion_turns_with_the_ventricle():
    driving = np.repeat(ventricle(tilt=0.0)[None], 2, axis=0)
    driving[1] += [0, 5.6]  # along the axis by a tenth of its length
    out = tr.transfer_motion(ventricle(tilt=np.pi / 2, length=28, width=18), driving, 0)
    np.testing.assert_allclose(out[1] - out[0], np.broadcast_to([2.8, 0], (40, 2)), atol=1e-6)


def test_drag_is_exact_and_falls_off():
    points = ventricle()
    out = tr.drag(points, {8: (4.0, 1.0), 31: (-3.0, 0.0)})
    moved = out - points
    np.testing.assert_allclose(moved[8], [4, 1])
    np.testing.assert_allclose(moved[31], [-3, 0])
    size = np.hypot(*moved.T)
    assert size[8] > size[10] > size[12] > size[14]
    assert size[19] < 0.2
    np.testing.assert_array_equal(tr.drag(points, {}), points)
    with pytest.raises(GeometryError, match="40"):
        tr.drag(points, {40: (1, 1)})
    with pytest.raises(GeometryError, match="cross"):
        tr.drag(points, {10: (80.0, 0.0)})


def test_retiming():
    points = beating(50)
    at = np.arange(59) / 2
    np.testing.assert_allclose(tr.trajectory_at(points, at)[::2], points, atol=1e-9)
    assert ef_of(tr.trajectory_at(points, 0.6 * np.arange(45))) == pytest.approx(50, abs=1)


def test_ejection_fraction_is_the_mean_of_the_beats():
    weak, strong = beating(30, shake=0), beating(50, shake=0)
    points, beats = np.concatenate([strong, weak]), [(0, 11), (30, 41)]
    assert clip_ejection_fraction(simpson_volume(points), beats) == pytest.approx(40, abs=0.1)
    for asked in (25, 55):
        v = simpson_volume(tr.with_ejection_fraction(points, asked, 0, beats=beats))
        assert clip_ejection_fraction(v, beats) == pytest.approx(asked, abs=1e-6)
        assert clip_ejection_fraction(v, beats[:1]) > clip_ejection_fraction(v, beats[1:]) + 5


def test_a_still_source_is_judged_by_the_beat_that_it_is_given():
    still = np.repeat(ventricle()[None], 60, axis=0)
    beats = tr.asked_beats(simpson_volume(still), 0, 30.0, [(5, 20)])
    assert beats == [(0, 11)]
    v = simpson_volume(tr.with_ejection_fraction(still, 40, 0, 30.0, beats=[(5, 20)]))
    assert clip_ejection_fraction(v, beats) == pytest.approx(40, abs=1e-6)
