"""95 % intervals by bootstrap over patients (Efron): all of a patient's pairs are drawn together, since they are not
independent."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A figure, its interval, and how many finite values and patients it rests on; nan where there are none.

    One patient has no interval either: nothing is known of how others differ.
    """

    value: float
    low: float
    high: float
    count: int  # type: ignore[assignment]  # a figure here, which hides tuple.count
    patients: int

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


class _Sums(NamedTuple):
    """Sums a patient (P,) of some columns, over the rows where all of them are finite."""

    sums: list[Array]
    counts: Array


def _by_patient(columns: list[ArrayLike], patients: ArrayLike | None) -> _Sums:
    values = [np.asarray(c, float).ravel() for c in columns]
    groups = np.arange(len(values[0])) if patients is None else np.asarray(patients).ravel()
    finite = np.logical_and.reduce([np.isfinite(v) for v in values])
    _, index = np.unique(groups[finite], return_inverse=True)
    size = int(index.max()) + 1 if len(index) else 0
    return _Sums(
        [np.bincount(index, v[finite], size).astype(float) for v in values],
        np.bincount(index, minlength=size).astype(float),
    )


def _draws(patients: int, seed: int) -> Array:
    """(RESAMPLES, patients): how often each patient is in each resample."""
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), RESAMPLES).astype(float)


def _percentiles(draws: Array, value: float, sums: _Sums) -> Interval:
    low, high = np.percentile(draws, [50 * (1 - LEVEL), 50 * (1 + LEVEL)]) if len(sums.counts) > 1 else (np.nan, np.nan)
    return Interval(value, float(low), float(high), int(sums.counts.sum()), len(sums.counts))


def mean_interval(values: ArrayLike, patients: ArrayLike | None = None, seed: int = 0) -> Interval:
    """Mean of values (N,) over pairs; patients (N,): whose each is (each its own where None). nan values are left
    out."""
    sums = _by_patient([values], patients)
    if not len(sums.counts):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    draws = _draws(len(sums.counts), seed)
    return _percentiles(
        draws @ sums.sums[0] / (draws @ sums.counts), float(sums.sums[0].sum() / sums.counts.sum()), sums
    )


def difference_interval(
    first: ArrayLike, second: ArrayLike, patients: ArrayLike | None = None, seed: int = 0
) -> Interval:
    """Mean of the paired difference first - second, each (N,); pairs with a nan in either are left out."""
    return mean_interval(np.asarray(first, float) - np.asarray(second, float), patients, seed)


def ratio_interval(first: ArrayLike, second: ArrayLike, patients: ArrayLike | None = None, seed: int = 0) -> Interval:
    """Ratio of the means of first and second, each (N,), drawn together; pairs with a nan in either are left out."""
    sums = _by_patient([first, second], patients)
    if not len(sums.counts):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    draws = _draws(len(sums.counts), seed)
    above, below = sums.sums
    return _percentiles(draws @ above / (draws @ below), float(above.sum() / below.sum()), sums)


def correlation_interval(
    first: ArrayLike, second: ArrayLike, patients: ArrayLike | None = None, seed: int = 0
) -> Interval:
    """Pearson's r of first and second, each (N,), drawn together; pairs with a nan in either are left out. nan where
    one is constant."""
    pairs = np.stack([np.asarray(first, float), np.asarray(second, float)])
    known = np.isfinite(pairs).all(0)
    # Centred, so that no digits cancel below.
    x, y = pairs - pairs[:, known].mean(1, keepdims=True) if known.any() else pairs
    sums = _by_patient([x, y, x * x, y * y, x * y], patients)

    def correlation(draws: Array) -> Array:
        sx, sy, xx, yy, xy = (draws @ column / (draws @ sums.counts) for column in sums.sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (xy - sx * sy) / np.sqrt((xx - sx * sx) * (yy - sy * sy))

    people = len(sums.counts)
    value = float(correlation(np.ones((1, people)))[0]) if people else np.nan
    if not np.isfinite(value):
        return Interval(np.nan, np.nan, np.nan, int(sums.counts.sum()), people)
    draws = correlation(_draws(people, seed))
    return _percentiles(draws[np.isfinite(draws)], value, sums)
