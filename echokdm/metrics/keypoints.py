"""Key-points found again in a picture, and how far they are from where they should be (KDM, section 4: MD)."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from echokdm.ops.segmentation import Network, clip_probabilities, ventricle_masks
from echokdm.ops.ventricle import keypoints_from_mask

Array = NDArray[np.float64]


def mean_distance(found: Array, truth: Array) -> Array:
    """MD: mean Euclidean distance of key-points (..., N, 2) -> (...), in their pixels; nan where one is not finite."""
    return np.sqrt(np.square(np.asarray(found, float) - np.asarray(truth, float)).sum(-1)).mean(-1)


def mean_coordinate_distance(found: Array, truth: Array) -> Array:
    """The per-coordinate variant: mean |dx|, |dy| of key-points (..., N, 2) -> (...), in their pixels."""
    return np.abs(np.asarray(found, float) - np.asarray(truth, float)).mean((-1, -2))


def redetect(segmenter: Network, frames: Tensor, sector: Tensor) -> Array:
    """The left ventricle's key-points in pictures that don't know of each other -> (B, 40, 2) px, nan where none was
    found.

    frames (B, 1, H, W) in [0, 1], sector (H, W) bool of all of them. Each is segmented by itself: no smoothing in time.
    """
    probabilities, _ = clip_probabilities(segmenter, frames, sector)
    points = np.full((len(frames), 40, 2), np.nan)
    for b in range(len(frames)):
        mask = ventricle_masks(probabilities[b : b + 1], sector, fps=1.0)[0].cpu().numpy()
        if mask.any():
            points[b] = keypoints_from_mask(mask)
    return points
