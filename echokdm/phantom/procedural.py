"""Procedural ultrasound-like pairs: dead leaves under speckle, in a random sector, moved by a random smooth flow.

They carry no anatomy. Networks that must treat any scanner's texture faithfully (codec, flow-to-image) are trained on
them beside the heart phantom; breadth of texture, not realism of anatomy, decides how well these carry over.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core.seeding import generator
from echokdm.ops.warp import pixel_grid, warp


@dataclass
class ProceduralPairs:
    """source, target (B, 1, S, S) in [0, 1]; flow (B, 2, S, S) backward, pixels; sector (B, 1, S, S) bool."""

    source: Tensor
    target: Tensor
    flow: Tensor
    sector: Tensor


class _Draw:
    """One generator a sample, drawn from in lockstep: sample b's numbers depend on its own seed alone."""

    def __init__(self, seed: int, indices: list[int] | range) -> None:
        self.generators = [generator(seed, i) for i in indices]

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.stack([torch.rand(shape, generator=g) for g in self.generators]) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=g) for g in self.generators])

    def smooth_field(self, channels: int, knots: int, size: int) -> Tensor:
        """(B, channels, size, size) field of about unit spread with `knots` independent values a side."""
        return F.interpolate(self.normal(channels, knots, knots), (size, size), mode="bicubic", align_corners=True)


def _column(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)


def random_sector(draw: _Draw, size: int) -> tuple[Tensor, Tensor]:
    """A fan with drawn apex, half-angle, tilt and radii -> mask (B, 1, S, S) bool, distance in px to its edge
    inside."""
    x, y = (c / (size - 1) for c in pixel_grid(size, size)[0])
    apex_x, apex_y = _column(draw.uniform(0.42, 0.58)), _column(draw.uniform(-0.08, 0.08))
    half, tilt = _column(draw.uniform(0.5, 0.85)), _column(draw.uniform(-0.06, 0.06))
    near, far = _column(draw.uniform(0.0, 0.12)), _column(draw.uniform(0.85, 1.1))
    dx, dy = x - apex_x, y - apex_y
    radius, angle = (dx.square() + dy.square()).sqrt(), torch.atan2(dx, dy) - tilt
    inside = torch.minimum(torch.minimum(radius - near, far - radius), (half - angle.abs()) * radius)
    inside = torch.minimum(inside, torch.minimum(torch.minimum(x, 1 - x), torch.minimum(y, 1 - y)) + 0.01)
    whole = _column(draw.uniform(0, 1)) < 0.08  # some images fill the frame
    inside = torch.where(whole, torch.ones_like(inside), inside) * (size - 1)
    return inside > 0, inside


def _dead_leaves(draw: _Draw, size: int, leaves: int = 45) -> Tensor:
    """Occluding ellipses of drawn echogenicity over a smooth ground, with a few thin bright arcs: (B, 1, S, S) in
    dB."""
    x, y = (c / (size - 1) for c in pixel_grid(size, size)[0])
    level = 6 * draw.smooth_field(1, 5, size) - 12
    shapes = draw.uniform(0, 1, leaves, 8)
    for i in range(leaves):
        cx, cy, a, b, turn, gray, edge, kind = (_column(shapes[:, i, k]) for k in range(8))
        scale = 0.5 * (1 - i / leaves) + 0.08  # large leaves first
        ax, by = scale * (0.15 + 0.85 * a), scale * (0.15 + 0.85 * b)
        cos, sin = torch.cos(turn * math.pi), torch.sin(turn * math.pi)
        u, v = (x - cx) * cos + (y - cy) * sin, -(x - cx) * sin + (y - cy) * cos
        radius = ((u / ax).square() + (v / by).square()).sqrt()
        softness = 0.01 + 0.15 * edge.square()
        cover = torch.sigmoid((1 - radius) / softness)
        ring = torch.exp(-((radius - 1) * torch.minimum(ax, by) / (0.006 + 0.012 * edge)).square() / 2)
        level = level + cover * (60 * gray - 52 - level)
        level = torch.where(kind < 0.3, level + ring * (25 * gray), level)
    return level


def random_flow(draw: _Draw, size: int, inside: Tensor) -> Tensor:
    """Smooth backward flow (B, 2, S, S), up to some 10 px, fading to zero over 12 px at the sector's edge."""
    coarse, fine = draw.smooth_field(2, 4, size), draw.smooth_field(2, 8, size)
    amplitude = _column(draw.uniform(0, 1)) ** 1.2 * 7
    return (coarse + 0.35 * fine) * amplitude * (inside / 12).clamp(0, 1)


def procedural_pairs(seed: int, indices: list[int] | range, size: int = 112) -> ProceduralPairs:
    """Pairs of images under a known flow, the target's speckle partly renewed; row b depends on (seed, indices[b])
    alone."""
    draw = _Draw(seed, indices)
    fine = 2 * size
    sector, inside = random_sector(draw, size)
    flow = random_flow(draw, size, inside)
    fine_flow = F.interpolate(flow, (fine, fine), mode="bilinear", align_corners=True) * ((fine - 1) / (size - 1))
    level = F.interpolate(_dead_leaves(draw, size), (fine, fine), mode="bicubic", align_corners=True)

    # Complex speckle through a Gaussian point spread of drawn axial and lateral width.
    noise = draw.normal(2, 2, fine, fine)
    axial, lateral = _column(draw.uniform(0.5, 2.2)), _column(draw.uniform(0.7, 4.0))
    fx, fy = torch.fft.fftfreq(fine).view(1, 1, 1, fine), torch.fft.fftfreq(fine).view(1, 1, fine, 1)
    transfer = torch.exp(-2 * math.pi**2 * ((lateral * fx).square() + (axial * fy).square()))
    echo = torch.fft.ifft2(torch.fft.fft2(torch.complex(noise[:, :, 0], noise[:, :, 1])) * transfer)
    echo = echo / echo.abs().square().mean((2, 3), keepdim=True).sqrt()
    kept = _column(draw.uniform(0.6, 1.0))
    carried = torch.complex(
        warp(echo[:, :1].real.contiguous(), fine_flow), warp(echo[:, :1].imag.contiguous(), fine_flow)
    )
    echoes = (echo[:, :1], kept * carried + (1 - kept**2).sqrt() * echo[:, 1:])

    dynamic_range, gain = _column(draw.uniform(38, 75)), _column(draw.uniform(-18, 6))
    gamma, smooth = _column(draw.uniform(0.7, 1.5)), _column(draw.uniform(0, 1))
    field = 5 * draw.smooth_field(1, 3, fine) * _column(draw.uniform(0, 1))
    floor = _column(draw.uniform(0, 0.06))
    images = []
    for echo_part, tissue in zip(echoes, (level, warp(level, fine_flow)), strict=True):
        decibel = 20 * torch.log10(echo_part.abs() + 1e-6) + tissue + field + gain
        gray = (1 + decibel / dynamic_range).clamp(0, 1) ** gamma
        image = F.avg_pool2d(gray, 2)
        blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
        image = (image + (smooth * 1.6 - 0.6) * (blurred - image) + floor).clamp(0, 1)  # from sharpened to smoothed
        images.append(image * sector)
    return ProceduralPairs(images[0], images[1], flow, sector)
