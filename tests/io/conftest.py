"""A simple fan that moves, with what scanners burn in around it: known geometry for the tests of reading."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from echokdm.core.types import Clip


def fan_mask(height, width, apex, left, right, near, far, scale=1):
    """(H * scale, W * scale) bool; angles in degrees from straight down, `scale` times finer than a pixel."""
    y, x = np.mgrid[0 : height * scale, 0 : width * scale]
    x, y = (x + 0.5) / scale - 0.5 - apex[0], (y + 0.5) / scale - 0.5 - apex[1]
    angle, radius = np.degrees(np.arctan2(x, y)), np.hypot(x, y)
    return (angle >= left) & (angle <= right) & (radius >= near) & (radius <= far)


def fan_frames(
    height=240,
    width=320,
    apex=(160.0, 12.0),
    left=-40.0,
    right=40.0,
    near=12.0,
    far=200.0,
    frames=12,
    seed=0,
    text=True,
    ecg=False,
    shadow=False,
    cut=None,
):
    """(T, H, W) float in [0, 1]: speckle that moves in an anti-aliased fan; static letters, a scale and a menu around
    it.

    ecg: a trace that sweeps below the fan and over its far arc. shadow: dark wedges at mid-depth along both edges.
    cut: (x0, x1) beyond which the scanner shows nothing.
    """
    rng = np.random.default_rng(seed)
    share = fan_mask(height, width, apex, left, right, near, far, 4).reshape(height, 4, width, 4).mean((1, 3))
    y, x = np.mgrid[0:height, 0:width]
    if cut:
        share = share * ((x >= cut[0]) & (x <= cut[1]))
    gain = 0.35 + 0.25 * np.sin(x / width * 9) * np.cos(y / height * 7)
    if shadow:
        radius, angle = np.hypot(x - apex[0], y - apex[1]) / far, np.degrees(np.arctan2(x - apex[0], y - apex[1]))
        beside = np.minimum(np.abs(angle - left), np.abs(angle - right)) < 9
        gain = np.where(beside & (radius > 0.45) & (radius < 0.85), 0, gain)
    clip = []
    for t in range(frames):
        speckle = ndimage.gaussian_filter(rng.rayleigh(1.0, (height, width)), 0.8)
        frame = np.clip(gain * speckle * share, 0, 1)
        if text:
            frame[4:12, 3:40] = np.where(np.random.default_rng(1).random((8, 37)) > 0.5, 0.9, frame[4:12, 3:40])
            frame[20:200:10, width - 6] = 0.8
            frame[height - 12 :, width // 8 : -width // 8] = 0.4
        if ecg:
            at = int(t / frames * width)
            trace = (height - 22 + 6 * np.sin(np.arange(width) / 9)).astype(int)
            frame[trace[: at + 1], np.arange(at + 1)] = 0.9
        clip.append(frame)
    return np.stack(clip)


def to_clip(frames, **fields):
    """(T, H, W) -> Clip through 8 bits."""
    return Clip(torch.from_numpy(np.round(frames * 255).astype(np.float32) / 255).unsqueeze(1), 30.0, **fields)


@pytest.fixture(scope="session")
def fan():
    """`fan_frames`: frames of a moving fan with text around it."""
    return fan_frames


@pytest.fixture(scope="session")
def fan_truth():
    """`fan_mask`: where the fan of the same geometry is."""
    return fan_mask


@pytest.fixture(scope="session")
def as_clip():
    """`to_clip`: frames to a Clip."""
    return to_clip


@pytest.fixture(scope="module")
def frames():
    """(6, 32, 48) uint8."""
    return np.random.default_rng(0).integers(0, 255, (6, 32, 48)).astype(np.uint8)
