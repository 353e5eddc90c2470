"""End-diastole and end-systole on curves whose beats are known."""

import numpy as np
import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.ops.cycle import (
    clip_ejection_fraction,
    closing_end_diastole,
    complete_beats,
    find_ed_es,
    turning_points,
    typical_beat,
    valve_opening,
    volumes_at,
)
from echokdm.ops.trajectory import beat_profile
from echokdm.phantom.a4c import A4CPhantom


def curve(beats, fps, rate=60.0, ef=0.6, start=0.0, noise=0.0, seed=0):
    """Volumes of some beats at `rate` a minute, from a phase on: (values (T,), phases (T,) counted on through the
    beats)."""
    phase = start + np.arange(round(beats * 60 / rate * fps)) * rate / 60 / fps
    values = 100 * (1 - ef * beat_profile(phase))
    return values * (1 + noise * np.random.default_rng(seed).normal(size=len(values))), phase


def off(frame, phase, at):
    """Distance in beats of a frame's phase from a phase of the cycle."""
    d = (phase[frame] - at) % 1
    return min(d, 1 - d)


@pytest.mark.parametrize("fps, rate", [(30, 60), (50, 75), (20, 60), (30, 150), (100, 50)])
@pytest.mark.parametrize("start", [0.0, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("ef", [0.15, 0.6])
def test_beats_are_found(fps, rate, start, ef):
    v, phase = curve(3.25, fps, rate, ef, start)
    beats = find_ed_es(v, fps)
    assert len(beats) in (3, 4) if start == 0 else len(beats) >= 2
    for ed, es in beats:
        assert ed < es
        assert off(ed, phase, 0.0) <= 0.08 + rate / 60 / fps
        assert off(es, phase, 0.37) <= 0.05 + rate / 60 / fps
        assert 0.2 < phase[es] - phase[ed] < 0.5


@pytest.mark.parametrize("seed", range(10))
def test_noise_makes_no_beats(seed):
    v, phase = curve(3, 30, ef=0.5, noise=0.03, seed=seed)
    beats = find_ed_es(v, 30)
    assert len(beats) == 3
    for ed, es in beats:
        assert off(ed, phase, 0.0) < 0.12 and off(es, phase, 0.37) < 0.1


def test_first_frame_may_be_end_diastole():
    v, _ = curve(1, 30)
    assert find_ed_es(v, 30) == [(0, 11)]


def test_clip_from_mid_systole_leaves_the_fragment_out():
    v, phase = curve(2.2, 50, start=0.25)
    beats = find_ed_es(v, 50)
    assert all(off(ed, phase, 0) < 0.06 for ed, _ in beats) and len(beats) == 2 - 1 + int(phase[-1] > 2.36)


def test_less_than_a_beat():
    v, _ = curve(1, 30)
    assert find_ed_es(v[:9], 30) == [(0, 8)]
    ed, es = find_ed_es(v[13:], 30)[0]
    assert (es, ed) == (0, len(v) - 13 - 1)


def test_gaps_are_filled_and_too_few_frames_refused():
    v, _ = curve(1, 30)
    v[[3, 4, 20]] = np.nan
    assert abs(find_ed_es(v, 30)[0][1] - 11) <= 1
    with pytest.raises(GeometryError):
        find_ed_es([1.0, np.nan], 30)


def test_valves_open_with_the_inflow_and_half_close_between_its_two_waves():
    volumes = np.array([10, 10, 9, 7, 5, 4, 4, 6, 8.5, 9, 9, 9, 9, 9.6, 10, 10, 8, 5, 4, 4])
    opening = valve_opening(volumes)
    assert opening.min() == 0 and opening.max() == 1
    assert (opening[:6] == 0).all() and (opening[15:] == 0).all()  # ejection, isovolumic times, the next ejection
    assert opening[7] == 1 and (opening[10:12] == 0.35).all() and 0 < opening[13] < 1
    np.testing.assert_allclose(valve_opening(volumes * 7 + 3), opening)
    assert (valve_opening(np.full(5, 3.0)) == 0.5).all() and valve_opening([2.0]).tolist() == [0.5]  # nothing is known


def test_the_phantoms_valves_are_told_from_its_volumes():
    phantom = A4CPhantom([3, 8, 12, 21])
    phases = (torch.arange(40) / 40).expand(4, -1)
    truth = phantom.valve_opening(phases).numpy()
    told = np.stack([valve_opening(v) for v in phantom.volumes(phases).numpy()])
    assert (truth[:, 0] == 0).all() and (truth.max(1) > 0.95).all()
    assert np.abs(told - truth).mean() < 0.12
    assert np.corrcoef(told.ravel(), truth.ravel())[0, 1] > 0.8


@pytest.mark.parametrize(
    ("volumes", "beats", "expected"),
    [
        ([10, 6, 4, 7, 8, 10, 9], [(0, 2)], 5),
        ([10, 6, 4, 7, 8, 9, 10], [(0, 2)], None),  # the clip ends as the ventricle still fills
        ([10, 6, 4, 6, 7, 6.5, 6.4], [(0, 2)], None),  # a pause, not full again
        ([8, 4, 7, 10, 10, 6], [(4, 1)], None),  # the clip starts in mid-systole: its one end-diastole is known
        ([10, 4, 10, 5, 9.9, 10, 8], [(0, 1), (2, 3)], 5),
    ],
)
def test_the_last_beat_ends_where_the_ventricle_is_full_again(volumes, beats, expected):
    assert closing_end_diastole(volumes, beats) == expected


@pytest.mark.parametrize("seed", range(5))
def test_end_diastole_is_where_a_flat_top_ends(seed):
    volumes = np.r_[np.full(6, 10.0), 9, 7, 5, 4, 4, 5, 7, 8.5, 9.5, np.full(5, 10.0)]
    noisy = volumes + 0.03 * np.random.default_rng(seed).normal(size=len(volumes))
    assert find_ed_es(noisy, 10)[0][0] == 5


def test_a_clips_ejection_fraction_is_the_mean_of_its_complete_beats():
    v = np.concatenate([curve(1, 30, ef=ef)[0] for ef in (0.6, 0.4, 0.5)])
    cut = np.concatenate([v, curve(1, 30, ef=0.7)[0][:9]])  # a fourth beat that the clip's end cuts short
    beats = complete_beats(cut, 30)
    assert [es for _, es in beats] == [11, 41, 71]
    assert clip_ejection_fraction(cut, beats) == pytest.approx(50, abs=0.5)
    assert typical_beat(cut, beats) == beats[2]


@pytest.mark.parametrize("fps", [1, 8, 30, 50, 200])
def test_two_frames_are_two_frames(fps):
    for v in ([100.0, 37.0], [37.0, 100.0]):
        assert clip_ejection_fraction(v, complete_beats(v, fps)) == 63.0


def test_without_a_complete_beat_the_largest_stands_against_the_smallest_after_it():
    assert complete_beats([90.0, 100, 80, 50, 60], 30) == [(1, 3)]
    assert complete_beats([45.0, 100, 80, 50, 60], 30) == [(1, 3)]
    # It ends while it falls: the filling shown before tells the ejection.
    assert complete_beats([60.0, 40, 60, 100, 90], 30) == [(3, 1)]


def test_the_curve_turns_between_its_frames():
    t = np.arange(9)
    v = 50 + 3 * (t - 4.3) ** 2
    ((ed, es),) = turning_points(v, [(0, 4)])
    assert ed == 0 and es == pytest.approx(4.3)  # a clip's first frame has no neighbour before it
    assert volumes_at(v, [0, 4, 4.3]) == pytest.approx([v[0], v[4], 50])
    assert turning_points([9.0, 9, 9, 5, 9], [(2, 3)]) == [(2, 3)]  # a plateau's end is no top
    assert clip_ejection_fraction(v, [(0, 4)]) == pytest.approx(100 * (1 - v[4] / v[0]))


@pytest.mark.parametrize("rate", [50, 75])  # five frames a beat and more
def test_few_frames_a_second_give_the_same_ejection_fraction(rate):
    moved = []
    for seed in range(20):
        v, _ = curve(3.3, 50, rate, start=0.05 * seed)
        whole = clip_ejection_fraction(v, turning_points(v, complete_beats(v, 50)))
        for step in (2, 4, 6, 8):
            thin = v[::step]
            moved.append(clip_ejection_fraction(thin, turning_points(thin, complete_beats(thin, 50 / step))) - whole)
    moved = np.reshape(moved, (20, 4))
    assert np.abs(moved.mean(0)).max() < 2 and np.abs(moved).max() < 8


@pytest.mark.parametrize("seed", range(20))
def test_tops_are_those_that_scipy_finds(seed):
    from scipy.signal import find_peaks

    from echokdm.ops.cycle import _peaks

    rng = np.random.default_rng(seed)
    v = np.cumsum(rng.standard_normal(int(rng.integers(1, 80)))).repeat(int(rng.integers(1, 3)))  # with flat tops, too
    for prominence, distance in ((0.5, 1), (2.0, 4), (5.0, 9)):
        assert (
            _peaks(v, prominence, distance).tolist()
            == find_peaks(v, prominence=prominence, distance=distance)[0].tolist()
        )
