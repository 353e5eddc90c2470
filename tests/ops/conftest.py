"""Ventricles in motion that several tests of key-points share."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from echokdm.ops.ventricle import simpson_volume
from echokdm.phantom.a4c import A4CPhantom

FRAMES = 24


class Ventricle(NamedTuple):
    keypoints: np.ndarray  # (24, 40, 2)
    beats: list[tuple[int, int]]


@pytest.fixture(scope="session")
def ventricles() -> list[Ventricle]:
    """One beat each of three phantoms, one of them mirrored, with a segmenter's unevenness, a slow drift and a lean."""
    phantom = A4CPhantom([1, 5, 4])
    phases = torch.arange(FRAMES).expand(3, -1) / FRAMES
    points, t = phantom.keypoints(phases).double().numpy(), np.arange(FRAMES)[None, :, None, None] / FRAMES
    points += 0.3 * np.random.default_rng(0).normal(size=(3, 1, 40, 2)) + t * np.array([1.5, -1.0])
    points[1] = (points[1] * [-1, 1] + [111, 0])[:, ::-1]
    return [Ventricle(found, [(0, int(simpson_volume(found).argmin()))]) for found in points]
