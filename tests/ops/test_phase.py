"""Frames of two clips matched in phase and in direction of motion."""

import numpy as np
import pytest

from echokdm.ops.phase import beat_phases, matching_frames
from echokdm.ops.trajectory import beat_profile


def volumes(start: float, stop: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(true phase of `beat_profile`, volume) of frames from one phase to another."""
    phase = np.linspace(start, stop, count)
    return phase, 120 - 70 * beat_profile(phase)


def test_events_lie_at_halves_and_time_never_goes_back() -> None:
    _, v = volumes(0.0, 2.2, 89)  # end-diastole at 0, 40, 80; end-systole at 14.8, 54.8
    phases = beat_phases(v, [(0, 15), (40, 55)])
    assert phases[[0, 15, 40, 55, 80]] == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert (np.diff(phases) >= 0).all()


def test_an_end_systole_that_comes_first_belongs_to_the_beat_before() -> None:
    _, v = volumes(0.3, 1.2, 37)  # end-systole at about 3, end-diastole at 28
    phases = beat_phases(v, [(28, 3)])
    assert phases[28] - phases[3] == pytest.approx(0.5) and (np.diff(phases) >= 0).all()
    assert 0 < phases[3] - phases[0] < 0.3 and 0 < phases[-1] - phases[28] < 0.5


@pytest.mark.parametrize("shift", [0.1, 0.4, 0.7])
def test_a_frame_is_matched_by_one_that_moves_the_same_way(shift: float) -> None:
    """Two clips of one beat each that begin at other phases."""
    a, v = volumes(0.0, 0.98, 50)
    b, w = volumes(shift, shift + 0.98, 50)
    ends = [int(np.abs(np.mod(p - e + 0.5, 1) - 0.5).argmin()) for p, e in ((a, 0.0), (a, 0.37), (b, 0.0), (b, 0.37))]
    own, theirs = beat_phases(v, [(ends[0], ends[1])]), beat_phases(w, [(ends[2], ends[3])])
    found = matching_frames(own, theirs, own[ends[0]])
    apart = np.abs(np.mod(a[found] - b + 0.5, 1) - 0.5)
    assert np.median(apart) < 0.03 and apart.max() < 0.2  # slow filling, where volumes stand still, tells little


def test_frames_come_from_one_beat() -> None:
    _, v = volumes(0.0, 3.0, 121)
    phases = beat_phases(v, [(0, 15), (40, 55), (80, 95)])
    found = matching_frames(phases, np.linspace(0, 0.97, 40), phases[40])
    assert found.min() >= 40 and found.max() < 80 and (np.diff(found) >= 0).all()
