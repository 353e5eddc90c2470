"""Bootstrap over patients: close to the known standard error, wider where a patient's pairs agree, fair to gaps."""

import numpy as np
import pytest

from echokdm.metrics.intervals import correlation_interval, difference_interval, mean_interval, ratio_interval
from echokdm.metrics.tables import text


def test_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = mean_interval(values)
    assert found.value == pytest.approx(values.mean()) and found.count == found.patients == 400
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.04) and found.high == pytest.approx(
        values.mean() + half, abs=0.04
    )
    assert found == mean_interval(values)  # seeded


def test_pairs_of_one_patient_are_not_independent():
    each = np.random.default_rng(1).normal(0, 1, 50)
    repeated, patients = np.repeat(each, 8), np.repeat(np.arange(50), 8)
    by_pair, by_patient = mean_interval(repeated), mean_interval(repeated, patients)
    assert by_patient.patients == 50 and by_patient.count == 400
    assert by_patient.high - by_patient.low > 2 * (by_pair.high - by_pair.low)


@pytest.mark.parametrize(
    "interval",
    [
        mean_interval([1.0, 2, 3], ["a"] * 3),
        ratio_interval([1.0, 2, 3], [1.0, 1, 1], ["a"] * 3),
        difference_interval([2.0, 3, 4], [0.0, 1, 2], ["a"] * 3),
        correlation_interval([1.0, 2, 3], [1.0, 2, 4], ["a"] * 3),
    ],
)
def test_one_patient_has_no_interval(interval):
    assert interval.value > 0 and interval.patients == 1 and np.isnan([interval.low, interval.high]).all()
    assert not interval.excludes_zero and "[" not in text(interval)


def test_paired_difference_sees_what_overlapping_intervals_hide():
    rng = np.random.default_rng(2)
    hard = rng.normal(10, 5, 60)
    first, second = hard + rng.normal(0, 0.1, 60), hard + 0.2 + rng.normal(0, 0.1, 60)
    a, b = mean_interval(first), mean_interval(second)
    assert a.high > b.low
    difference = difference_interval(first, second)
    assert difference.excludes_zero and difference.high < 0
    assert not difference_interval(first, first).excludes_zero


def test_ratio_of_means_and_gaps():
    first, second = np.array([1.0, 3, np.nan, 8]), np.array([2.0, 2, 5, np.nan])
    found = ratio_interval(first, second)
    assert found.value == 1 and found.count == 2
    nothing = mean_interval([np.nan, np.nan])
    assert np.isnan(nothing.value) and nothing.count == 0


def test_correlation_is_pearsons_with_fishers_width():
    rng = np.random.default_rng(3)
    first = rng.normal(1000, 1, 300)
    second = first + rng.normal(0, 1, 300)
    found = correlation_interval(np.append(first, np.nan), np.append(second, 1.0))
    r = np.corrcoef(first, second)[0, 1]
    assert found.value == pytest.approx(r) and found.count == 300
    fisher = np.tanh(np.arctanh(r) + np.array([-1.96, 1.96]) / np.sqrt(297))
    assert (found.low, found.high) == pytest.approx(tuple(fisher), abs=0.02)
    assert np.isnan(correlation_interval([1.0], [2.0]).value)
    assert np.isnan(correlation_interval([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).value)
