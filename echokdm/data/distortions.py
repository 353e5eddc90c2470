"""What spoils a picture, each kind with a strength: blur, noise, a shift, the texture of another picture."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("blur", "noise", "shift", "texture")
STRENGTHS = {"blur": (0.4, 4.0), "noise": (0.015, 0.3), "shift": (0.8, 7.0), "texture": (0.15, 1.0)}
"""Weakest and strongest: sigma in px; standard deviation of gray values in [0, 1]; px; share of the texture, as an
amplitude."""
DETAIL = 2.0  # px; what is finer than a Gaussian of this sigma is texture


def distort(images: Tensor, kind: str, strength: float, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W) in [0, 1], spoiled alike; `strength` in the unit of STRENGTHS[kind].

    blur: by a Gaussian. noise: the same gray noise in all channels. shift: along an axis, the border repeated. texture:
    that of the batch's image in the opposite place, mirrored, at the contrast of the image's own.
    """
    if kind == "blur":
        return blur(images, strength)
    if kind == "noise":
        return (images + strength * torch.randn(images[:, :1].shape, generator=generator)).clamp(0, 1)
    if kind == "shift":
        return shift(images, strength, int(torch.randint(4, (1,), generator=generator)))
    smooth = blur(images, DETAIL)
    own = images - smooth
    other = own.flip(0).flip(3)
    other = other * (own.std((1, 2, 3), keepdim=True) / other.std((1, 2, 3), keepdim=True).clamp_min(1e-3))
    return (smooth + math.sqrt(1 - strength**2) * own + strength * other).clamp(0, 1)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, H, W), sigma in px, the border repeated."""
    reach = max(1, math.ceil(3 * sigma))
    kernel = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(images)
    flat = images.flatten(0, 1)[:, None]
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1)).view_as(images)


def shift(images: Tensor, px: float, side: int) -> Tensor:
    """(B, C, H, W) moved by a whole number of px near `px`: right, left, down or up."""
    by = max(1, round(px))
    height, width = images.shape[2:]
    padded = F.pad(images, (by,) * 4, mode="replicate")
    left, top = ((0, by), (2 * by, by), (by, 0), (by, 2 * by))[side]
    return padded[:, :, top : top + height, left : left + width]
