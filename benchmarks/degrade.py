"""Frames as they come from clinics: what makes an outline fail, drawn at random on real ones. For `confidence.py`.

Each takes frames (T, H, W) in [0, 1], where the echo is (H, W) bool and a generator, and returns frames; strengths are
drawn anew.
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image
from scipy import ndimage

Rng = np.random.Generator
Degrade = Callable[[np.ndarray, np.ndarray, Rng], np.ndarray]


def polar(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) depth below the probe, 1 at the lowest pixel of the fan, and angle, -1 and 1 at its edges."""
    rows, columns = np.nonzero(inside)
    top = rows.min()
    y, x = np.mgrid[: inside.shape[0], : inside.shape[1]]
    y, x = y - top, x - columns[rows <= top + 2].mean()
    angle = np.arctan2(x, np.maximum(y, 1))
    return np.hypot(x, y) / (rows.max() - top), angle / np.percentile(np.abs(angle[inside]), 98)


def _grain(shape: tuple[int, ...], sigma: float, rng: Rng) -> np.ndarray:
    """Noise of mean 0 and spread 1 that is `sigma` pixels coarse."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return noise / noise.std()


def gain_down(frames: np.ndarray, inside: np.ndarray, rng: Rng) -> np.ndarray:
    """Of log-compressed echoes gain is an offset."""
    return frames - rng.uniform(0.1, 0.35)


def gain_up(frames: np.ndarray, inside: np.ndarray, rng: Rng) -> np.ndarray:
    """Until much of the wall is white."""
    return frames + rng.uniform(0.15, 0.45)


def contrast(frames: np.ndarray, inside: np.ndarray, rng: Rng) -> np.ndarray:
    """A low dynamic range: faint echoes go black."""
    return frames ** rng.uniform(1.8, 3.0)


def haze(frames: np.ndarray, inside: np.ndarray, rng: Rng) -> np.ndarray:
    """Clutter over the near field, with a grain of its own."""
    depth, _ = polar(inside)
    veil = (
        rng.uniform(0.3, 0.7)
        * np.exp(-((depth / rng.uniform(0.4, 0.9)) ** 2))
        * (1 + 0.3 * _grain(inside.shape, 25, rng))
    )
    veil = veil.clip(0, 0.9)
    return frames * (1 - veil) + 0.8 * veil * (1 + 0.4 * _grain(inside.shape, 1.5, rng)).clip(0)


def _shadow(frames: np.ndarray, inside: np.ndarray, rng: Rng, least: float, most: float) -> np.ndarray:
    depth, angle = polar(inside)
    beam = np.exp(-(((angle - rng.uniform(least, most)) / rng.uniform(0.15, 0.35)) ** 4))
    return frames * (1 - rng.uniform(0.8, 1.0) * beam * ((depth - rng.uniform(0, 0.2)) / 0.05).clip(0, 1))


def shadow(frames: np.ndarray, inside: np.ndarray, rng: Rng) -> np.ndarray:
    """A rib or a lung lies before a part of the probe."""
    return _shadow(frames, inside, rng, -0.7, 0.7)


def lateral_lost(frames: np.ndarray, inside: np.ndarray, rng: Rng) -> np.ndarray:
    """The same where the lateral wall is."""
    return _shadow(frames, inside, rng, 0.25, 0.85)


def coarse(frames: np.ndarray, inside: np.ndarray, rng: Rng) -> np.ndarray:
    """Few pixels, hard JPEG."""
    scale, quality, out = rng.uniform(0.1, 0.22), int(rng.integers(8, 30)), []
    for frame in frames:
        picture = Image.fromarray((frame * 255).astype(np.uint8))
        kept = io.BytesIO()
        picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR).save(
            kept, "JPEG", quality=quality
        )
        out.append(np.asarray(Image.open(kept).resize(picture.size, Image.Resampling.BILINEAR), float) / 255)
    return np.stack(out)


def noise(frames: np.ndarray, inside: np.ndarray, rng: Rng) -> np.ndarray:
    """An old scanner's."""
    return frames + rng.uniform(0.12, 0.3) * np.stack([_grain(inside.shape, 1.5, rng) for _ in frames])


def shallow(frames: np.ndarray, inside: np.ndarray, rng: Rng) -> np.ndarray:
    """So little depth that the base may be cut off."""
    return frames * (polar(inside)[0] < rng.uniform(0.5, 0.8))


def narrow(frames: np.ndarray, inside: np.ndarray, rng: Rng) -> np.ndarray:
    """A fan so narrow that a wall may lie outside."""
    _, angle = polar(inside)
    return frames * (angle > -rng.uniform(0.3, 0.9)) * (angle < rng.uniform(0.3, 0.9))


DEGRADED: Mapping[str, Degrade] = {
    f.__name__: f for f in (gain_down, gain_up, contrast, haze, shadow, lateral_lost, coarse, noise, shallow, narrow)
}
MIRRORED = "mirrored"  # as some clinics show it: the left heart on the left


def degraded(kind: str, frames: np.ndarray, truth: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W) in [0, 1] and the experts' masks (T, H, W) of them, degraded; what is black around the fan stays
    black."""
    if kind == MIRRORED:
        return frames[..., ::-1].copy(), truth[..., ::-1].copy()
    inside = ndimage.binary_fill_holes(ndimage.binary_opening(frames.max(0) > 0, iterations=2))
    return DEGRADED[kind](frames, inside, rng).clip(0, 1) * inside, truth
