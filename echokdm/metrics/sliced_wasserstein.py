"""Sliced Wasserstein distance of two sets of pictures, over patches of their Laplacian pyramids (Karras et al., ICLR
2018)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core.seeding import generator

PATCH, SMALLEST = 7, 16  # px; a patch's side, and the side of the coarsest level


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """(B, C, S, S) -> the details of each level, finest first, each half the size of the one before, and the rest."""
    levels = []
    while images.shape[-1] >= 2 * SMALLEST:
        smaller = F.avg_pool2d(images, 2)
        levels.append(images - F.interpolate(smaller, images.shape[2:], mode="bilinear", align_corners=False))
        images = smaller
    return [*levels, images]


def _patches(level: Tensor, count: int, seed: int) -> Tensor:
    """(B * count, C * PATCH^2) patches at places that depend on the seed alone, each channel of zero mean and unit
    spread."""
    room = level.shape[-1] - PATCH + 1
    corners = (torch.rand(count, 2, generator=generator(seed)) * room).long().tolist()
    cut = torch.stack([level[:, :, y : y + PATCH, x : x + PATCH] for y, x in corners], 1).flatten(0, 1)
    mean, spread = cut.mean((0, 2, 3), keepdim=True), cut.std((0, 2, 3), keepdim=True)
    return ((cut - mean) / spread.clamp_min(1e-8)).flatten(1)


def sliced_wasserstein(first: Tensor, second: Tensor, patches: int = 64, directions: int = 128, seed: int = 0) -> float:
    """Mean over levels of the mean distance, in 1e-3, of sorted projections of patches; images (B, C, S, S), the same B
    in both.

    Patches are normalised by their own set's mean and spread in each channel, as Karras et al. do.
    """
    total = []
    for i, (a, b) in enumerate(zip(laplacian_pyramid(first), laplacian_pyramid(second), strict=True)):
        x, y = _patches(a, patches, seed + i), _patches(b, patches, seed + i)
        axes = F.normalize(torch.randn(x.shape[1], directions, generator=generator(seed, i)), dim=0)
        total.append(((x @ axes).sort(0).values - (y @ axes).sort(0).values).abs().mean())
    return 1e3 * float(torch.stack(total).mean())
