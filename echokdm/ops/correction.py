"""Outlines put right in a few frames, and how those of the other frames follow."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.ops.trajectory import transfer_motion

Array = NDArray[np.float64]

_SAME = 1e-3  # beats; frames nearer in phase than this are one


def follow_corrections(keypoints: ArrayLike, corrected: Mapping[int, ArrayLike], phases: ArrayLike) -> Array:
    """A trajectory (T, 40, 2) with some frames' key-points, (40, 2) each, in place of its own, and all others after
    them.

    From each frame that was corrected the ventricle moves on as the trajectory did (`trajectory.transfer_motion`). Of
    several such motions each frame has the mean, weighted by the inverse square of how far it is in phase, phases (T,)
    in beats, whichever beat it is in: so what was corrected at end-diastole and at end-systole holds in every beat. A
    corrected frame is as it was given.
    """
    own, phase = np.asarray(keypoints, dtype=np.float64), np.asarray(phases, dtype=np.float64)
    if not corrected:
        return own.copy()
    frames = np.array(list(corrected))
    motions = np.stack([transfer_motion(points, own, frame) for frame, points in corrected.items()])
    apart = phase[:, None] - phase[frames]
    weight = 1 / np.maximum(np.abs(apart - np.rint(apart)), _SAME) ** 2
    weight[frames] = np.eye(len(frames))
    return np.asarray(np.einsum("tk,ktnc->tnc", weight / weight.sum(1, keepdims=True), motions))
