"""Key-points over a clip without the jitter of whoever found them, and with the heart's motion."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, signal

from echokdm.core.errors import GeometryError

Array = NDArray[np.float64]

_WINDOW_S = 0.2  # Savitzky-Golay window
_ALONG = 2.0  # key-points, the standard deviation of the smoothing along a wall
_LEFT_PX = 0.3  # root mean square of the motion that no mode carries, at 112 px


def smooth_keypoints(keypoints: ArrayLike, fps: float, modes: bool = True) -> Array:
    """Key-points (T, 40, 2), px at 112, as a segmenter finds them in each frame by itself -> the same without its jitter.

    Over time, without phase shift: lone outliers are replaced, then a cubic Savitzky-Golay filter of 0.2 s, which keeps the height of
    tops and bottoms, so that volumes at end-diastole and end-systole stay. Then, unless `modes` is False, of what each point does about
    its mean place: smooth along either wall, and carried by the fewest modes that leave 0.3 px of it (a singular value decomposition;
    active shape models, Cootes et al., CVIU 1995). A wall moves as a whole, errors do not. Clips of under five frames come back as
    they are. Raises GeometryError for another shape.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (40, 2):
        raise GeometryError(f"Key-points over time have the shape (frames, 40, 2), not {points.shape}.")
    window = 2 * int(round(_WINDOW_S * fps / 2)) + 1
    window = min(max(window, 5), len(points) - (len(points) + 1) % 2)
    if window < 5:
        return points.copy()
    # A window of 0.1 s, 3 or 5 frames: a longer one would take a fast heart's end-systole for an outlier.
    lone = 5 if fps >= 40 else 3
    middle = ndimage.median_filter(points, size=(lone, 1, 1), mode="nearest")
    spread = ndimage.median_filter(np.abs(points - middle), size=(lone, 1, 1), mode="nearest")
    points = np.where(np.abs(points - middle) > 4.5 * spread + 0.5, middle, points)  # Hampel: 3 robust deviations, and half a pixel
    points = signal.savgol_filter(points, window, 3, axis=0, mode="interp")
    if not modes:
        return points
    mean = points.mean(0)
    return mean + _main_modes(_along_walls(points - mean))


def _along_walls(motion: Array) -> Array:
    """Motion (T, 40, 2) smoothed along either wall's 20 points."""
    walls = motion.reshape(len(motion), 2, 20, 2)
    return ndimage.gaussian_filter1d(walls, _ALONG, axis=2, mode="nearest").reshape(motion.shape)


def _main_modes(motion: Array) -> Array:
    """Motion (T, N, 2) in the fewest modes that leave `_LEFT_PX` of it."""
    shapes, strengths, modes = np.linalg.svd(motion.reshape(len(motion), -1), full_matrices=False)
    power = strengths**2
    left = np.sqrt((power.sum() - power.cumsum()).clip(min=0) / motion[..., 0].size)
    count = int((left > _LEFT_PX).sum()) + 1
    return ((shapes[:, :count] * strengths[:count]) @ modes[:count]).reshape(motion.shape)
