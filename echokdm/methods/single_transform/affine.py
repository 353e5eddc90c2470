"""Task 1: the target pose moved by a random affine map, and the flow that brings it back (Eq. 3, 4 and 7)."""

import math
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from echokdm.ops.warp import pixel_grid


class AffineRange(BaseModel):
    """Half widths of the uniform draws. The paper keeps them small, so that a person stays upright, and does not print
    them."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    scale: float = 0.2  # a1, a2: 1 +- scale along x and y
    shear: float = 0.1  # a3, a4
    turn: float = 15.0  # a5: degrees
    shift: float = 0.15  # b1, b2: of the picture's side


class Affine(NamedTuple):
    """p -> A (p - c) + c + b about the picture's centre c, px: matrix A (B, 2, 2), shift b (B, 2), centre c (2,)."""

    matrix: Tensor
    shift: Tensor
    centre: Tensor

    def forward(self, points: Tensor) -> Tensor:
        """Eq. 3: where the target pose is read for the new pose's place; points (B, N, 2) px."""
        return (points - self.centre) @ self.matrix.transpose(1, 2) + self.centre + self.shift[:, None]

    def inverse(self, points: Tensor) -> Tensor:
        """Eq. 4: the place in the new pose of a point of the target pose; points (B, N, 2) px, nan stays nan."""
        back = torch.linalg.inv(self.matrix).transpose(1, 2)
        return (points - self.centre - self.shift[:, None]) @ back + self.centre


def random_affine(count: int, size: int, ranges: AffineRange, device: torch.device | str = "cpu") -> Affine:
    """`count` maps for pictures of size x size px from torch's global generator: R(a5) [[a1, a3], [a4, a2]] and (b1,
    b2)."""
    unit = torch.rand(count, 7) * 2 - 1  # on the CPU, so that every device sees the same draws
    turn = unit[:, 4] * math.radians(ranges.turn)
    rotation = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], 1).unflatten(1, (2, 2))
    stretch = torch.stack(
        [
            1 + ranges.scale * unit[:, 0],
            ranges.shear * unit[:, 2],
            ranges.shear * unit[:, 3],
            1 + ranges.scale * unit[:, 1],
        ],
        1,
    ).unflatten(1, (2, 2))
    centre = torch.full((2,), (size - 1) / 2)
    return Affine(*(value.to(device) for value in (rotation @ stretch, ranges.shift * size * unit[:, 5:], centre)))


def inverse_flow(affine: Affine, height: int, width: int) -> Tensor:
    """s_f - p (B, 2, H, W) px, the backward flow that takes p_st to p_t: p_t(p) = p_st(p + flow(p)), everywhere."""
    grid = pixel_grid(height, width, affine.matrix.device)
    points = grid.flatten(2).transpose(1, 2).expand(len(affine.matrix), -1, -1)
    return (affine.inverse(points) - points).transpose(1, 2).unflatten(2, (height, width))


def affine_preserving_loss(flow: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Eq. 7: mean over the batch and the picture of |dx| + |dy|, px, between W(p_st, p_t) and s_f; both (B, 2, H, W).

    mask (B, 1, H, W) bool: where it counts, everywhere in the paper.
    """
    difference = (flow - truth).abs().sum(1, keepdim=True)
    return difference.mean() if mask is None else (difference * mask).sum() / mask.sum().clamp_min(1)
