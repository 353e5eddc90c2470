"""Another heart rate, and beats that repeat."""

import numpy as np
import pytest

from echokdm.core.errors import ClipError, ConfigError
from echokdm.ops import timing
from echokdm.ops.cycle import clip_ejection_fraction, find_ed_es
from echokdm.ops.ventricle import self_crossing, simpson_volume

FPS = 24.0  # so that a beat of the fixture's 24 frames lasts a second


@pytest.fixture(scope="module")
def clip(ventricles):
    """Key-points of two and a half beats of 24 frames with a drift, begun a few frames before end-diastole, and the
    beats."""
    points = np.tile(ventricles[0].keypoints, (4, 1, 1))[18 : 18 + 60]
    points = points + 0.03 * np.arange(60)[:, None, None] * np.array([1.0, 0.5])
    es = ventricles[0].beats[0][1]
    return points, [(6, 6 + es), (30, 30 + es)]


@pytest.fixture(scope="module")
def loop(ventricles):
    """One beat, begun in mid-systole, whose last frame leads on to its first, but for the 1.8 px by which the ventricle
    has drifted."""
    phantom, (_, es) = ventricles[0].keypoints, ventricles[0].beats[0]
    drift = np.arange(24)[:, None, None] / 24 * np.array([1.5, -1.0])
    return np.roll(phantom - drift, -4, axis=0) + drift, [(20, es - 4)]


def test_systole_shortens_less_than_diastole():
    rates = np.arange(30, 201)
    share = timing.systolic_share(rates)
    assert timing.systolic_share(60) * 1000 == pytest.approx(311)  # ms of a second: 413 - 1.7 * 60
    assert (np.diff(share) >= 0).all() and 0.15 < share[0] and share[-1] < 0.5
    assert (np.diff((1 - share) * 60 / rates) < 0).all() and (np.diff(share * 60 / rates) < 0).all()


def test_whole_beats_end_at_the_next_end_diastole(clip, loop):
    points, beats = clip
    assert timing.whole_beats(points, beats)[0] == (6, beats[0][1], 30)
    assert timing.whole_beats(points, beats)[-1][2] == pytest.approx(54, abs=1)
    assert timing.heart_rate(points, beats, FPS) == pytest.approx(60, rel=0.03)
    assert not timing.is_loop(points[:40]) and timing.whole_beats(points[:18], beats[:1]) == []
    assert timing.is_loop(loop[0]) and timing.whole_beats(*loop) == [(20, loop[1][0][1] + 24, 44)]
    assert timing.best_beat(*loop) == (20, loop[1][0][1] + 24, 44)


def test_the_beat_that_ends_as_it_began_is_the_best(clip):
    points, beats = clip
    jumping = points + np.where(np.arange(60) > 20, 3.0, 0.0)[:, None, None]
    assert timing.best_beat(jumping, beats)[0] == 30


@pytest.mark.parametrize("rate", [40, 60, 97, 150])
def test_heart_rate_is_as_asked(clip, rate):
    points, beats = clip
    own = timing.heart_rate(points, beats, FPS)
    new = timing.with_heart_rate(points, beats, FPS, rate)
    assert (np.diff(new.at) > 0).all() and new.at[0] == 0 and 58 <= new.at[-1] <= 59
    # what lies outside the whole beat is diastole for the most part
    assert len(new.at) == pytest.approx(60 * own / rate, rel=0.12)
    assert new.beats[1][0] - new.beats[0][0] == pytest.approx(24 * own / rate, abs=1)
    for (ed, es), (source_ed, source_es) in zip(new.beats, beats, strict=True):
        assert new.at[ed] == pytest.approx(source_ed, abs=1e-9) and new.at[es] == pytest.approx(source_es, abs=1e-9)
    moved = timing.retimed(points, new)
    assert clip_ejection_fraction(simpson_volume(moved), new.beats) == pytest.approx(
        clip_ejection_fraction(simpson_volume(points), beats)
    )
    assert not self_crossing(moved).any()


def test_at_another_rate_systole_keeps_more_of_its_time(clip):
    points, beats = clip
    own = np.array([np.subtract(*beats[0][::-1]), beats[1][0] - beats[0][1]])
    fast = timing.with_heart_rate(points, beats, FPS, 120, out_fps=240)
    now = np.array([np.subtract(*fast.beats[0][::-1]), fast.beats[1][0] - fast.beats[0][1]]) / 10
    assert now.sum() == pytest.approx(12, rel=0.04)
    usual = timing.systolic_share([timing.heart_rate(points, beats, FPS), 120])
    odds = usual / (1 - usual)
    assert now[0] / now[1] == pytest.approx(own[0] / own[1] * odds[1] / odds[0], rel=0.03)
    assert now[0] / own[0] > now[1] / own[1] + 0.1


def test_its_own_rate_changes_nothing(clip):
    points, beats = clip
    same = timing.with_heart_rate(points, beats, FPS, timing.heart_rate(points, beats, FPS))
    np.testing.assert_allclose(same.at, np.arange(60), atol=1e-9)
    assert same.beats == beats


def test_motion_keeps_its_direction(clip):
    """In systole of the output the source is in systole too, at any rate."""
    points, beats = clip
    for rate in (45, 130):
        new = timing.with_heart_rate(points, beats, FPS, rate)
        for (ed, es), (source_ed, source_es) in zip(new.beats, beats, strict=True):
            assert ((new.at[ed : es + 1] >= source_ed - 1e-9) & (new.at[ed : es + 1] <= source_es + 1e-9)).all()


def test_a_loop_goes_on_where_it_begins(loop):
    points, beats = loop
    new = timing.with_heart_rate(points, beats, FPS, 30)
    assert len(new.at) == 48 and new.at[0] == 0 and 23 < new.at[-1] < 24
    ed, es = new.beats[0]
    assert ed > es and new.at[[ed, es]] == pytest.approx([20, beats[0][1]])
    moved = timing.retimed(points, new)
    steps = np.hypot(*np.moveaxis(moved - np.roll(moved, 1, axis=0), -1, 0)).mean(1)
    assert steps[0] == pytest.approx(steps[[1, -1]].mean(), rel=0.5)


@pytest.mark.parametrize(("count", "rate"), [(1, None), (3, None), (2, 100), (4, 47)])
def test_repeated_beats_close_in_place_and_velocity(clip, count, rate):
    points, beats = clip
    beat = timing.best_beat(points, beats)
    fine = timing.repeated_beats(beat, FPS, count, rate, out_fps=480)
    moved = timing.retimed(points, fine)
    assert len(fine.beats) == count and fine.heart_rate == pytest.approx(
        rate or 60 * FPS / (beat[2] - beat[0]), rel=0.01
    )
    step = moved - np.roll(moved, 1, axis=0)
    turn = np.abs(step - np.roll(step, 1, axis=0)).max((1, 2))
    jump = np.abs(points[beat[2]] - points[beat[0]]).max()
    assert jump > 0.5 and np.abs(step[0]).max() < 0.2 * jump
    assert np.abs(step[0]).max() < 1.3 * np.abs(step[[-1, 1]]).max() and turn[:2].max() < turn[2:].max()
    drawn = moved[[frame for pair in fine.beats for frame in pair]].reshape(count, 2, 40, 2)
    np.testing.assert_allclose(drawn, np.broadcast_to(points[list(beat[:2])], drawn.shape), atol=1e-9)


def test_repeated_beats_are_alike_and_only_their_end_is_changed(clip):
    points, beats = clip
    beat = timing.best_beat(points, beats)
    new = timing.repeated_beats(beat, FPS, 3)
    period = beat[2] - beat[0]
    assert len(new.at) == 3 * period and new.heart_rate == pytest.approx(60 * FPS / period)
    moved = timing.retimed(points, new).reshape(3, period, 40, 2)
    np.testing.assert_allclose(moved[1:], moved[:1].repeat(2, 0), atol=1e-9)
    kept = period - int(np.ceil(timing.BLEND_S * FPS))
    np.testing.assert_allclose(moved[0, :kept], points[beat[0] : beat[0] + kept], atol=0.02)
    assert np.abs(moved[0, -1] - points[beat[2] - 1]).max() > 0.2
    volumes = simpson_volume(moved.reshape(-1, 40, 2))
    assert [ed for ed, _ in find_ed_es(volumes, FPS)][1:] == pytest.approx([period, 2 * period], abs=1)


def test_a_loop_repeats_as_it_is(loop):
    points, beats = loop
    new = timing.repeated_beats(timing.best_beat(points, beats), FPS, 2)
    moved = timing.retimed(points, new)
    np.testing.assert_allclose(moved[:24], moved[24:], atol=1e-9)
    np.testing.assert_allclose(simpson_volume(moved[:24]), np.roll(simpson_volume(points), 4), rtol=0.01)
    steps = np.hypot(*np.moveaxis(moved[:24] - np.roll(moved[:24], 1, axis=0), -1, 0)).mean(1)
    seam = 4  # the source's first frame
    assert np.hypot(*(points[0] - points[-1]).T).mean() > 1.3 * steps[seam]
    assert steps[seam] == pytest.approx(steps[[seam - 1, seam + 1]].mean(), rel=0.5)


def test_what_can_not_be_had_is_refused(clip):
    points, beats = clip
    for rate in (29, 201, float("nan")):
        with pytest.raises(ConfigError, match="30 to 200"):
            timing.with_heart_rate(points, beats, FPS, rate)
    for count in (0, 51):
        with pytest.raises(ConfigError, match="1 to 50"):
            timing.repeated_beats((6, 15, 30), FPS, count)
    with pytest.raises(ConfigError, match="frame rate"):
        timing.with_heart_rate(points, beats, FPS, 180, out_fps=3)
    with pytest.raises(ClipError, match="no whole beat"):
        timing.with_heart_rate(points[:18], beats[:1], FPS, 60)
