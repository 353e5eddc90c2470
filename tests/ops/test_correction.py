"""Outlines put right in some frames: those frames are as given, the others follow by the clip's own motion."""

import numpy as np
import pytest
from drawn import FRAMES, ellipse

from echokdm.ops.correction import follow_corrections
from echokdm.ops.ventricle import keypoints_from_tracing, simpson_volume

PHASES = np.arange(2 * FRAMES) / FRAMES  # two beats


@pytest.fixture
def beats() -> np.ndarray:
    """(48, 40, 2): the drawn ventricle over two beats."""
    return np.stack([keypoints_from_tracing(ellipse(t % FRAMES)) for t in range(2 * FRAMES)])


def test_nothing_corrected_changes_nothing(beats: np.ndarray) -> None:
    assert np.array_equal(follow_corrections(beats, {}, PHASES), beats)
    assert np.allclose(follow_corrections(beats, {7: beats[7], 20: beats[20]}, PHASES), beats, atol=1e-9)


def test_one_frame_moves_all_as_they_did(beats: np.ndarray) -> None:
    """A ventricle twice as large, 5 px to the right, beats as before: the ejection fraction is the drawn one's in both
    beats."""
    centre = beats[0].mean(0)
    larger = (beats[0] - centre) * 2 ** (1 / 3) + centre + np.array([5.0, 0.0])
    followed = follow_corrections(beats, {0: larger}, PHASES)
    assert np.allclose(followed[0], larger)
    assert np.allclose(simpson_volume(followed) / simpson_volume(beats), 2, rtol=1e-6)
    assert np.allclose(followed[:, :, 0].mean(1) - beats[:, :, 0].mean(1), 5, atol=0.5)


def test_both_ends_of_the_beat_hold_in_every_beat(beats: np.ndarray) -> None:
    """Put right at end-diastole and end-systole of the first beat: exact there, the same in the second, and between
    them from one on to the other.
    """
    wide, narrow = beats[0] * np.array([1.1, 1.0]), beats[12] * np.array([0.9, 1.0])
    followed = follow_corrections(beats, {0: wide, 12: narrow}, PHASES)
    assert np.array_equal(followed[0], wide) and np.array_equal(followed[12], narrow)
    assert np.allclose(followed[24], wide, atol=1e-3) and np.allclose(followed[36], narrow, atol=1e-3)
    change = simpson_volume(followed)[:13] / simpson_volume(beats)[:13]
    assert change[0] > 1.05 and change[12] < 0.95 and (np.diff(change) < 1e-9).all()
