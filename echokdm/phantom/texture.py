"""Textures of the posed phantoms: noise at several scales, cloth, skin tones, and an atlas that holds one tile a
layer."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.ops.warp import pixel_grid, sample
from echokdm.phantom.draws import PatientDraws


def fractal(
    draws: PatientDraws, channels: int, size: int, coarsest: int = 3, octaves: int = 5, persistence: float = 0.65
) -> Tensor:
    """(B, channels, size, size) noise of about unit spread; each octave doubles the detail at `persistence` times the
    strength."""
    total, power = torch.zeros(()), 0.0
    for octave in range(octaves):
        knots = coarsest * 2**octave
        layer = F.interpolate(draws.normal(channels, knots, knots), (size, size), mode="bicubic", align_corners=True)
        total, power = total + persistence**octave * layer, power + persistence ** (2 * octave)
    return total / (0.7 * math.sqrt(power))  # interpolation takes away some 30 % of the spread


def colour(draws: PatientDraws, low: float = 0.1, high: float = 0.9) -> Tensor:
    """(B, 3, 1, 1) a colour with channels in [low, high)."""
    return draws.uniform(low, high, 3, 1, 1)


def skin_tone(draws: PatientDraws) -> Tensor:
    """(B, 3, 1, 1) a human skin colour, between dark and light."""
    dark, light = (torch.tensor(tone).view(3, 1, 1) for tone in ((0.32, 0.20, 0.14), (0.95, 0.78, 0.68)))
    part = draws.uniform(0.0, 1.0, 1, 1, 1)
    return dark.to(part) + part * (light - dark).to(part)


def cloth(draws: PatientDraws, size: int) -> Tensor:
    """(B, 3, size, size) in [0, 1]: stripes, checks, dots or plain weave in two colours, with folds and grain."""
    first, second = colour(draws), colour(draws)
    kind, turn = draws.uniform(0, 1, 1, 1, 1), draws.uniform(0, math.pi, 1, 1, 1)
    count = draws.uniform(4, 9, 1, 1, 1)
    x, y = (c[None, None] / size for c in pixel_grid(size, size, first.device)[0])
    u, v = (torch.cos(turn) * x + torch.sin(turn) * y) * count, (torch.cos(turn) * y - torch.sin(turn) * x) * count
    a, b = torch.sin(2 * math.pi * u), torch.sin(2 * math.pi * v)
    pattern = torch.where(
        kind < 0.3, a, torch.where(kind < 0.6, a * b * 2, torch.where(kind < 0.85, 2 * (a + b - 1), a - 8))
    )
    mixed = first + (second - first) * torch.sigmoid(4 * pattern)
    return (mixed * (1 + 0.12 * fractal(draws, 1, size))).clamp(0, 1)


def backdrop(draws: PatientDraws, size: int, boxes: int = 6) -> Tensor:
    """(B, 3, size, size) in [0, 1]: a room-like ground of soft noise with a few flat boxes on it."""
    image = colour(draws, 0.2, 0.8) + 0.1 * fractal(draws, 3, size)
    x, y = (c[None, None] / size for c in pixel_grid(size, size, image.device)[0])
    for _ in range(boxes):
        centre, half = draws.uniform(0, 1, 2, 1, 1, 1), draws.uniform(0.04, 0.25, 2, 1, 1, 1)
        inside = torch.minimum(half[:, 0] - (x - centre[:, 0]).abs(), half[:, 1] - (y - centre[:, 1]).abs()) > 0
        box = colour(draws) * (1 + 0.1 * fractal(draws, 1, size, octaves=4))
        image = torch.where(inside, box, image)
    return image.clamp(0, 1)


class Atlas:
    """One square tile a layer, read at material coordinates.

    tiles: L tensors (B, 3, R, R) in [0, 1]. extents: for each layer ((x0, y0), (x1, y1)), the material coordinates of
    the tile's first and last texel.
    """

    def __init__(
        self, tiles: Sequence[Tensor], extents: Sequence[tuple[tuple[float, float], tuple[float, float]]]
    ) -> None:
        self._strip = torch.cat(list(tiles), 3)
        self._edge = tiles[0].shape[-1] - 1
        bounds = torch.tensor(extents, device=self._strip.device)
        self._low, self._per_unit = (
            bounds[:, 0].T.contiguous(),
            (self._edge / (bounds[:, 1] - bounds[:, 0])).T.contiguous(),
        )

    def colours(self, layer: Tensor, material: Tensor) -> Tensor:
        """layer (B, M) int64, material (B, 2, M) -> (B, 3, M) in [0, 1]; beyond a tile its border goes on."""
        x, y = (
            ((material[:, i] - self._low[i][layer]) * self._per_unit[i][layer]).clamp(0, self._edge) for i in range(2)
        )
        return sample(self._strip, torch.stack([x + layer * (self._edge + 1), y], 1)[..., None])[..., 0]


def tile_grid(
    size: int, extent: tuple[tuple[float, float], tuple[float, float]], device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Material coordinates x, y of a tile's texels, (1, 1, size, size) each."""
    (x0, y0), (x1, y1) = extent
    x, y = pixel_grid(size, size, device)[0] / (size - 1)
    return (x0 + (x1 - x0) * x)[None, None], (y0 + (y1 - y0) * y)[None, None]
