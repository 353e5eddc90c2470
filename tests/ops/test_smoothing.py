"""Jitter goes, the beat stays."""

import numpy as np
import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.ops.smoothing import smooth_keypoints
from echokdm.ops.trajectory import beat_profile
from echokdm.ops.ventricle import ejection_fraction, simpson_volume
from echokdm.phantom.a4c import A4CPhantom


def test_smoothing_keeps_the_beat_and_drops_outliers():
    profile = beat_profile(np.arange(60) / 30)
    truth = np.zeros((60, 40, 2))
    truth[..., 0] = np.arange(40) + 8 * profile[:, None]
    rng = np.random.default_rng(0)
    noisy = truth + 0.4 * rng.normal(size=truth.shape)
    noisy[25] += 9
    smooth = smooth_keypoints(noisy, 30)
    assert np.abs(smooth - truth).mean() < 0.7 * np.abs(noisy - truth).mean()
    assert np.abs(smooth[25] - truth[25]).mean() < 0.7
    assert np.abs(smooth[[11, 41]] - truth[[11, 41]]).mean() < 0.5, "end-systole keeps its depth"
    still = np.repeat(truth[:1], 10, axis=0)
    np.testing.assert_allclose(smooth_keypoints(still, 30), still, atol=1e-9)
    np.testing.assert_array_equal(smooth_keypoints(truth[:3], 30), truth[:3])


def test_jitter_of_each_point_goes_and_the_ejection_fraction_stays():
    phases = (torch.arange(40) / 40).expand(3, -1)
    rng = np.random.default_rng(1)
    for truth in A4CPhantom([2, 5, 11]).keypoints(phases).double().numpy():
        assert np.abs(smooth_keypoints(truth, 40) - truth).max() < 1.0, "what is right already hardly changes"
        noisy = truth + rng.normal(size=truth.shape)
        smooth = smooth_keypoints(noisy, 40)
        moved, real, seen = (points - points.mean(0) for points in (smooth, truth, noisy))
        assert np.square(moved - real).mean() < 0.1 * np.square(seen - real).mean()
        over_time_alone = smooth_keypoints(noisy, 40, modes=False)
        assert np.square(over_time_alone - truth).mean() > 2 * np.square(smooth - truth).mean()
        volumes = [simpson_volume(points) for points in (truth, smooth)]
        assert abs(np.diff([float(ejection_fraction(v.max(), v.min())) for v in volumes])[0]) < 3


def test_as_many_modes_stay_as_the_motion_has():
    t = np.arange(60)
    modes = np.stack([np.sin(2 * np.pi * t / 20), np.cos(2 * np.pi * t / 30), np.sin(2 * np.pi * t / 60), np.cos(2 * np.pi * t / 20)])
    points = np.zeros((60, 40, 2))
    for k, mode in enumerate(modes):
        points[:, 10 * k:10 * k + 10, k % 2] = 4 * mode[:, None]
    smooth = smooth_keypoints(points, 50)
    inside = np.r_[4:6, 14:16, 24:26, 34:36]  # beside a jump from one point to the next it is smoothed along the wall
    assert np.abs(smooth[:, inside] - points[:, inside]).max() < 0.6


def test_another_shape_is_refused():
    with pytest.raises(GeometryError, match=r"\(frames, 40, 2\)"):
        smooth_keypoints(np.zeros((10, 39, 2)), 30)
