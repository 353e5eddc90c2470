"""Smoothing in time that makes no motion smaller, and key-points over a clip without the jitter of whoever found
them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from echokdm.core.errors import GeometryError

Array = NDArray[np.float64]

_BLOCK = 256  # frames that are smoothed at once
_REACH = 13.0  # sigmas, beyond which a frame counts less than rounding does

_SMOOTHED_S = 0.046  # as free of noise as a cubic Savitzky-Golay filter of 0.2 s
_LONE_S = 0.05  # to either side; longer would take a fast heart's end-systole for an outlier
_ALONG = 2.0  # key-points, the standard deviation of the smoothing along a wall
_LEFT_PX = 0.3  # root mean square of the motion that no mode carries, at 112 px


def time_fits(
    count: int, fps: float, sigma_s: float, trust: ArrayLike | None = None
) -> Iterator[tuple[slice, slice, Array]]:
    """What smooths `count` frames: at each the value of a parabola fitted to the frames around it.

    A frame counts by a Gaussian of its distance in time, `sigma_s` seconds, and by its `trust` (T,) above zero (local
    polynomial regression, Fan and Gijbels 1996). A parabola keeps tops and bottoms where an average fills them, nothing
    is mirrored at the ends, up to three frames stay as they are, and where frames lie further apart than some sigma,
    each stays by itself.
    Some frames after others, so that no clip is too long: which are smoothed, which are looked at, and the matrix
    (smoothed, looked at).
    """
    reach = 0 if count <= _BLOCK else max(int(np.ceil(_REACH * sigma_s * fps)), 3)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        fitted, seen = slice(start, end), slice(max(start - reach, 0), min(end + reach, count))
        yield fitted, seen, _fit(fitted, seen, fps, sigma_s, trust)


def smooth_values(values: Array, fps: float, sigma_s: float) -> Array:
    """Values (T, ...) of a clip's frames, smoothed in time by `time_fits`."""
    return np.concatenate([np.tensordot(fit, values[seen], 1) for _, seen, fit in time_fits(len(values), fps, sigma_s)])


def _fit(fitted: slice, seen: slice, fps: float, sigma_s: float, trust: ArrayLike | None) -> Array:
    """Rows of the frames that are fitted, columns of those that are seen."""
    t = (np.arange(seen.start, seen.stop) - np.arange(fitted.start, fitted.stop)[:, None]) / (sigma_s * fps)
    root = np.exp(-0.25 * t**2) * (1.0 if trust is None else np.sqrt(np.asarray(trust, np.float64)[seen]))
    powers = t[..., None] ** np.arange(3)
    return np.linalg.pinv(powers * root[..., None], rcond=1e-9)[:, 0] * root


def smooth_keypoints(keypoints: ArrayLike, fps: float) -> Array:
    """Key-points (T, 40, 2), px at 112, as a segmenter finds them in each frame by itself -> the same without its
    jitter in time.

    Without phase shift: lone outliers are replaced where three frames or more lie within a tenth of a second, then
    `time_fits`, so that volumes at end-diastole and end-systole stay. Raises GeometryError for another shape.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (40, 2):
        raise GeometryError(f"Key-points over time have the shape (frames, 40, 2), not {points.shape}.")
    lone = 2 * int(_LONE_S * fps + 1e-6) + 1
    if 3 <= lone <= len(points):
        middle = ndimage.median_filter(points, size=(lone, 1, 1), mode="nearest")
        spread = ndimage.median_filter(np.abs(points - middle), size=(lone, 1, 1), mode="nearest")
        # Hampel: 3 robust deviations, and half a pixel
        points = np.where(np.abs(points - middle) > 4.5 * spread + 0.5, middle, points)
    return smooth_values(points, fps, _SMOOTHED_S)


def shared_motion(keypoints: ArrayLike) -> Array:
    """Key-points (T, 40, 2), px at 112, without what each point does by itself: a wall moves as a whole, errors do not.

    Of the motion about each point's mean place: smooth along either wall, and carried by the fewest modes that leave
    0.3 px of it (a singular value decomposition; active shape models, Cootes et al., CVIU 1995). That takes a little of
    the beat along: see `ventricle.with_volumes`.
    """
    points = np.asarray(keypoints, dtype=np.float64)
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
