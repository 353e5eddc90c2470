"""Jitter goes, the beat stays."""

import numpy as np
import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.ops.smoothing import shared_motion, smooth_keypoints, smooth_values, time_fits
from echokdm.ops.trajectory import beat_profile
from echokdm.ops.ventricle import ejection_fraction, simpson_volume, with_volumes
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
    np.testing.assert_allclose(smooth_keypoints(truth[:3], 30), truth[:3], atol=1e-9)


def test_jitter_of_each_point_goes_and_the_ejection_fraction_stays():
    phases = (torch.arange(40) / 40).expand(3, -1)
    rng = np.random.default_rng(1)
    for truth in A4CPhantom([2, 5, 11]).keypoints(phases).double().numpy():
        assert np.abs(shared_motion(smooth_keypoints(truth, 40)) - truth).max() < 1.0, (
            "what is right already hardly changes"
        )
        noisy = truth + rng.normal(size=truth.shape)
        over_time_alone = smooth_keypoints(noisy, 40)
        smooth = shared_motion(over_time_alone)
        moved, real, seen = (points - points.mean(0) for points in (smooth, truth, noisy))
        assert np.square(moved - real).mean() < 0.1 * np.square(seen - real).mean()
        assert np.square(over_time_alone - truth).mean() > 2 * np.square(smooth - truth).mean()
        np.testing.assert_allclose(simpson_volume(with_volumes(smooth, simpson_volume(truth))), simpson_volume(truth))
        volumes = [simpson_volume(points) for points in (truth, smooth)]
        assert abs(np.diff([float(ejection_fraction(v.max(), v.min())) for v in volumes])[0]) < 3


def test_as_many_modes_stay_as_the_motion_has():
    t = np.arange(60)
    modes = np.stack(
        [np.sin(2 * np.pi * t / 20), np.cos(2 * np.pi * t / 30), np.sin(2 * np.pi * t / 60), np.cos(2 * np.pi * t / 20)]
    )
    points = np.zeros((60, 40, 2))
    for k, mode in enumerate(modes):
        points[:, 10 * k : 10 * k + 10, k % 2] = 4 * mode[:, None]
    smooth = shared_motion(smooth_keypoints(points, 50))
    inside = np.r_[4:6, 14:16, 24:26, 34:36]  # beside a jump from one point to the next it is smoothed along the wall
    assert np.abs(smooth[:, inside] - points[:, inside]).max() < 0.6


def test_another_shape_is_refused():
    with pytest.raises(GeometryError, match=r"\(frames, 40, 2\)"):
        smooth_keypoints(np.zeros((10, 39, 2)), 30)


@pytest.mark.parametrize("fps", [2, 8, 30, 200])
def test_smoothing_in_time_keeps_parabolas_and_few_frames(fps):
    t = np.arange(40) / fps
    for curve in (np.ones(40), t, (t - t[17]) ** 2):
        np.testing.assert_allclose(smooth_values(curve, fps, 0.05), curve, atol=1e-9)
    for count in (1, 2, 3):
        ((_, _, fit),) = time_fits(count, fps, 0.05, trust=np.linspace(0.1, 1, count))
        np.testing.assert_allclose(fit, np.eye(count), atol=1e-9)


def test_smoothing_is_in_seconds():
    spread = {fps: (smooth_values(np.eye(8 * fps), fps, 0.05)[4 * fps] ** 2).sum() * fps for fps in (50, 100, 200)}
    np.testing.assert_allclose(list(spread.values()), spread[200], rtol=0.02)  # the same noise left in a second
    # frames 0.125 s apart stand for themselves
    np.testing.assert_allclose(smooth_values(np.eye(40), 8, 0.046), np.eye(40), atol=1e-3)


def test_a_long_clip_is_smoothed_in_parts_as_in_one(monkeypatch):
    noise = np.random.default_rng(0).normal(size=(600, 3))
    parts = smooth_values(noise, 30, 0.05)
    monkeypatch.setattr("echokdm.ops.smoothing._BLOCK", 600)
    np.testing.assert_allclose(smooth_values(noise, 30, 0.05), parts, atol=1e-9)


@pytest.mark.parametrize("step", [1, 2, 4, 6, 8])
def test_end_systole_keeps_its_depth_at_any_rate(step):
    profile = beat_profile(np.arange(200) * 0.02)[::step]  # two beats in two seconds and more
    truth = np.zeros((len(profile), 40, 2))
    truth[..., 0] = np.arange(40) + 8 * profile[:, None]
    smooth = smooth_keypoints(truth, 50 / step)
    assert np.abs(smooth - truth).max() < 0.3
