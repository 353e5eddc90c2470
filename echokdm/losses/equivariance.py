"""Key-points must move with the picture (Liu et al., Eq. 8; Jakab et al., NeurIPS 2018; Siarohin et al., NeurIPS
2019)."""

from typing import NamedTuple

import torch
from torch import Tensor

from echokdm.ops.tps import tps_flow, tps_points
from echokdm.ops.warp import warp


class Deformation(NamedTuple):
    """A thin-plate spline that takes control points `there` (B, N, 2) of the new picture to `here` of the old one,
    px."""

    here: Tensor
    there: Tensor


def random_deformation(
    count: int, height: int, width: int, affine: float = 0.05, spline: float = 0.05, per_side: int = 5
) -> Deformation:
    """`count` random affine maps with bent control points, from torch's global generator, on the CPU.

    affine: standard deviation of each of an affine map's six numbers; spline: of each control point's own shift; both
    with coordinates in half pictures. per_side: control points along each side.
    """
    line = torch.linspace(-1, 1, per_side)
    grid = torch.cartesian_prod(line, line).flip(1)
    linear = torch.eye(2) + affine * torch.randn(count, 2, 2)
    moved = (
        grid @ linear.transpose(1, 2) + affine * torch.randn(count, 1, 2) + spline * torch.randn(count, len(grid), 2)
    )
    unit = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    return Deformation((moved + 1) * unit, (grid.expand(count, -1, -1) + 1) * unit)


def deform(image: Tensor, deformation: Deformation) -> Tensor:
    """T o I: the picture (B, C, H, W) whose point p shows what the image has at T(p)."""
    here, there = (p.to(image.device) for p in deformation)
    return warp(image, tps_flow(here, there, *image.shape[2:]))


def equivariance(found: Tensor, found_deformed: Tensor, deformation: Deformation, height: int, width: int) -> Tensor:
    """Eq. 8: mean |F_K(I) - T(F_K(T o I))| over coordinates, in half pictures; a scalar.

    found (B, K, 2) px in the image, found_deformed in the deformed one, whose point p lies at T(p) of the image.
    """
    here, there = (p.to(found) for p in deformation)
    back = tps_points(here, there, found_deformed)
    unit = found.new_tensor([(width - 1) / 2, (height - 1) / 2])
    return ((found - back) / unit).abs().mean()


def crowding(points: Tensor, height: int, width: int, threshold: float = 0.1) -> Tensor:
    """Sum over pairs i != j of max(0, threshold - |x_i - x_j|^2), the mean over pictures; a scalar.

    points (B, K, 2) px of pictures height x width, compared in half pictures: within about a sixth of a picture points
    push each other away, without which all settle on what is easiest to follow (the prior of Wang et al., "One-shot
    free-view neural talking-head synthesis", CVPR 2021).
    """
    places = points / points.new_tensor([(width - 1) / 2, (height - 1) / 2])
    squared = (places[:, :, None] - places[:, None]).square().sum(-1)
    others = 1 - torch.eye(points.shape[1], device=points.device)
    return ((threshold - squared).clamp_min(0) * others).sum((1, 2)).mean()
