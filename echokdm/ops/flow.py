"""Algebra of backward flows (B, 2, H, W) in pixels, and their colours."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.ops.warp import warp


def compose(target_to_middle: Tensor, middle_to_source: Tensor) -> Tensor:
    """Flow that reads the source directly: f(p) = a(p) + b(p + a(p)); both (B, 2, H, W) backward, pixels."""
    return target_to_middle + warp(middle_to_source, target_to_middle)


def resize_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """Resample a flow (B, 2, h, w) to (B, 2, height, width), rescaling its values to the new pixels."""
    h, w = flow.shape[2:]
    scale = flow.new_tensor([(width - 1) / max(w - 1, 1), (height - 1) / max(h - 1, 1)]).view(1, 2, 1, 1)
    return F.interpolate(flow, (height, width), mode="bilinear", align_corners=True) * scale


def flow_magnitude(flow: Tensor) -> Tensor:
    """(B, 2, H, W) -> (B, 1, H, W) Euclidean length in pixels."""
    return flow.square().sum(1, keepdim=True).sqrt()


def _colour_wheel() -> Tensor:
    """(55, 3) hues of the Middlebury wheel (Baker et al., IJCV 2011): arcs of 15, 6, 4, 11, 13, 6 steps."""
    arcs = [(15, 0, 1, 1), (6, 1, 0, -1), (4, 1, 2, 1), (11, 2, 1, -1), (13, 2, 0, 1), (6, 0, 2, -1)]
    wheel = torch.zeros(sum(a[0] for a in arcs), 3)
    row = 0
    for steps, full, moving, sign in arcs:
        ramp = torch.arange(steps) / steps
        wheel[row : row + steps, full] = 1.0
        wheel[row : row + steps, moving] = ramp if sign > 0 else 1 - ramp
        row += steps
    return wheel


def flow_to_color(flow: Tensor, max_magnitude: float | None = None) -> Tensor:
    """Colour-code a flow (B, 2, H, W) by direction (hue) and length (saturation) -> (B, 3, H, W) in [0, 1].

    Baker et al., "A database and evaluation methodology for optical flow", IJCV 2011. max_magnitude: the length in
    pixels drawn fully saturated; the batch's 99th percentile where None.
    """
    length = flow_magnitude(flow)[:, 0]
    if max_magnitude is None:
        max_magnitude = float(torch.quantile(length.flatten()[:: max(1, length.numel() // 1_000_000)], 0.99))
    length = length / max(max_magnitude, 1e-6)
    wheel = _colour_wheel().to(flow)
    n = len(wheel)
    angle = torch.atan2(-flow[:, 1], -flow[:, 0]) / math.pi
    position = (angle + 1) / 2 * (n - 1)
    low = position.floor().long().clamp(0, n - 1)
    part = (position - low)[..., None]
    hue = wheel[low] * (1 - part) + wheel[(low + 1) % n] * part
    inside = (length <= 1)[..., None]
    colour = torch.where(inside, 1 - length[..., None] * (1 - hue), hue * 0.75)
    return colour.permute(0, 3, 1, 2)
