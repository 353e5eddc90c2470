"""Disguises of a clip, from which a near-copy comes that an audit should find. Frames are (T, 1, H, W) in [0, 1]."""

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from echokdm.core.seeding import generator
from echokdm.ops.clip_alignment import blur

Disguise = Callable[[torch.Tensor], torch.Tensor]


def noisy(sigma: float) -> Disguise:
    """Gaussian noise inside the sector, gray levels of 1."""
    return lambda f: (f + sigma * torch.randn(f.shape, generator=generator(0))) * (f.amax(0) > 0)


def cropped(pixels: int) -> Disguise:
    """So many pixels off each side, enlarged to the old size."""
    return lambda f: F.interpolate(
        f[..., pixels:-pixels, pixels:-pixels], f.shape[2:], mode="bilinear", align_corners=False
    )


def jpeg(quality: int) -> Disguise:
    """Each frame through JPEG."""

    def encode(frame: torch.Tensor) -> torch.Tensor:
        buffer = io.BytesIO()
        Image.fromarray((frame.numpy() * 255).round().astype(np.uint8)).save(buffer, "JPEG", quality=quality)
        return torch.from_numpy(np.array(Image.open(buffer))).float() / 255

    return lambda f: torch.stack([encode(frame) for frame in f[:, 0]])[:, None] * (f.amax(0) > 0)


def rotated(degrees: float) -> Disguise:
    """About the middle of the frame."""
    from scipy.ndimage import rotate

    return lambda f: torch.from_numpy(rotate(f.numpy(), degrees, axes=(2, 3), reshape=False, order=1))


def moved(dy: int, dx: int) -> Disguise:
    """Whole pixels."""
    return lambda f: f.roll((dy, dx), (2, 3))


def softened(sigma: float) -> Disguise:
    """Gaussian blur, px."""
    return lambda f: blur(f, sigma) * (f.amax(0) > 0)


def after(*steps: Disguise) -> Disguise:
    """One after the other."""

    def all_of(f: torch.Tensor) -> torch.Tensor:
        for step in steps:
            f = step(f).clamp(0, 1)
        return f

    return all_of


def dropped(f: torch.Tensor) -> torch.Tensor:
    """Every fifth frame left out."""
    return f[[t for t in range(len(f)) if t % 5 != 2]]


PLANTED: dict[str, Disguise] = {
    "re-encoded": jpeg(60),
    "brighter, gamma 0.75": lambda f: 1.2 * f**0.75,
    "darker, gamma 1.35": lambda f: 0.85 * f**1.35,
    "noise 0.03": noisy(0.03),
    "moved by 1 and 2 px": moved(1, -2),
    "mirrored": lambda f: f.flip(3),
    "cropped by 4 px": cropped(4),
    "begun a third of the beat later": lambda f: f.roll(len(f) // 3, 0),
    "every fifth frame dropped": dropped,
    "all of it": after(
        lambda f: f**0.8, moved(-1, 2), lambda f: f.flip(3), lambda f: f.roll(5, 0), dropped, noisy(0.02), jpeg(60)
    ),
}
BEYOND: dict[str, Disguise] = {
    "first half": lambda f: f[: len(f) // 2],
    "first third": lambda f: f[: len(f) // 3],
    "half speed": lambda f: f.repeat_interleave(2, 0),
    "third of the speed": lambda f: f.repeat_interleave(3, 0),
    "backwards": lambda f: f.flip(0),
    "mean of two frames": lambda f: (f + f.roll(1, 0)) / 2,
    "mean of three frames": lambda f: (f + f.roll(1, 0) + f.roll(-1, 0)) / 3,
    "noise 0.06": noisy(0.06),
    "noise 0.1": noisy(0.1),
    "JPEG 30": jpeg(30),
    "JPEG 10": jpeg(10),
    "blur 1 px": softened(1),
    "blur 2 px": softened(2),
    "blur 3 px": softened(3),
    "cropped by 8 px": cropped(8),
    "cropped by 12 px": cropped(12),
    "moved by 6 px": moved(3, -6),
    "turned by 2 degrees": rotated(2),
    "turned by 4 degrees": rotated(4),
    "turned by 8 degrees": rotated(8),
}
