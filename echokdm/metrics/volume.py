"""Ejection fractions and segmentations against truth."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.core.errors import GeometryError

Array = NDArray[np.float64]


def ejection_fraction_error(measured: ArrayLike, truth: ArrayLike) -> Array:
    """|EF measured - EF true| in points (percent), elementwise."""
    return np.abs(np.asarray(measured, float) - np.asarray(truth, float))


def r_squared(measured: ArrayLike, truth: ArrayLike) -> float:
    """Coefficient of determination 1 - SS_res / SS_tot of `measured` against `truth` (N,); not the squared correlation.

    Raises GeometryError where it is undefined: under two values, or a truth without spread.
    """
    measured, truth = np.asarray(measured, float).ravel(), np.asarray(truth, float).ravel()
    spread = np.square(truth - truth.mean()).sum() if len(truth) > 1 else 0.0
    if spread <= 0:
        raise GeometryError("R2 needs at least two values that differ.")
    return float(1 - np.square(measured - truth).sum() / spread)


def dice(first: ArrayLike, second: ArrayLike) -> Array:
    """Dice coefficient of masks (..., H, W) bool -> (...); 1 where both are empty."""
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    total = a.sum((-1, -2)) + b.sum((-1, -2))
    return np.where(total > 0, 2 * (a & b).sum((-1, -2)) / np.maximum(total, 1), 1.0)
