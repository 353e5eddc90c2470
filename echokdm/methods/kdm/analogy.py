"""ARFlow's second pass ("learning by analogy", Liu et al. 2020, section 3.2): a changed pair whose flow is known from
the first pass."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.ops.warp import pixel_grid, sample


class Analogy(NamedTuple):
    """Transformed images (B, 1, H, W), the flow (B, 2, H, W) px between them, and where it holds (B, 1, H, W) in [0,
    1]."""

    target: Tensor
    source: Tensor
    flow: Tensor
    weight: Tensor


def make_analogy(target: Tensor, source: Tensor, flow: Tensor, visible: Tensor) -> Analogy:
    """Move, recolour and partly hide a pair, and carry its estimated `flow` and `visible` pixels along.

    With T'(p) = T(a(p)) and S'(p) = S(b(p)) for affine a and b, the pair's flow is f'(p) = b^-1(a(p) + f(a(p))) - p.
    Drawn from torch's global generator.
    """
    whole = random_affine(target, angle=15, scale=0.15, shift=6)
    slight = random_affine(target, angle=3, scale=0.03, shift=2)  # what the source moves beyond the target
    target_moved, source_moved, new_flow, weight = transform_pair(target, source, flow, visible, whole, whole @ slight)
    style = draw_style(target)
    return Analogy(recolour(target_moved, style), hide(recolour(source_moved, style)), new_flow, weight)


def random_affine(image: Tensor, angle: float, scale: float, shift: float) -> Tensor:
    """(B, 3, 3) px maps about the image's centre: turns within `angle` degrees, zooms e^(+-scale), shifts within
    `shift` px."""
    B, _, H, W = image.shape
    draw = torch.rand(B, 4, device=image.device) * 2 - 1
    turn, zoom = draw[:, 0] * math.radians(angle), torch.exp(draw[:, 1] * scale)
    a, b = zoom * turn.cos(), zoom * turn.sin()
    centre = image.new_tensor([(W - 1) / 2, (H - 1) / 2], dtype=torch.float32)
    linear = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)
    offset = centre + draw[:, 2:] * shift - (linear @ centre)
    matrix = torch.eye(3, device=image.device).repeat(B, 1, 1)
    matrix[:, :2, :2], matrix[:, :2, 2] = linear, offset
    return matrix


def _apply(matrix: Tensor, points: Tensor) -> Tensor:
    """Affine maps (B, 3, 3) on points (B or 1, 2, H, W)."""
    return (
        torch.einsum("bij,bjhw->bihw", matrix[:, :2, :2], points.expand(matrix.shape[0], -1, -1, -1))
        + matrix[:, :2, 2, None, None]
    )


def transform_pair(target: Tensor, source: Tensor, flow: Tensor, visible: Tensor, a: Tensor, b: Tensor) -> Analogy:
    """The pair T(a(p)), S(b(p)) with its exact flow, given that of (target, source); weight 0 where it leaves either
    image."""
    H, W = target.shape[2:]
    grid = pixel_grid(H, W, target.device)
    looked_up = _apply(a, grid)
    carried = sample(torch.cat([target, flow, visible], 1), looked_up, padding="zeros")
    image, moved, seen = carried[:, :1], carried[:, 1:3], carried[:, 3:]
    reached = _apply(torch.linalg.inv(b), looked_up + moved)
    bound = reached.new_tensor([W - 1, H - 1]).view(1, 2, 1, 1)
    inside = ((reached >= 0) & (reached <= bound) & (looked_up >= 0) & (looked_up <= bound)).all(1, keepdim=True)
    return Analogy(
        image, sample(source, _apply(b, grid), padding="zeros"), reached - grid, (seen > 0.99).float() * inside
    )


def draw_style(image: Tensor) -> Tensor:
    """(B, 4) drawn gamma, gain, blur in [0, 1] and noise level."""
    draw = torch.rand(image.shape[0], 4, device=image.device)
    gamma, gain = torch.exp((draw[:, 0] - 0.5) * 0.8), 0.7 + 0.6 * draw[:, 1]
    return torch.stack([gamma, gain, draw[:, 2].square(), 0.05 * draw[:, 3]], 1)


def recolour(image: Tensor, style: Tensor) -> Tensor:
    """Gamma, gain, blur and noise as `style` (B, 4) says; the image stays in [0, 1]."""
    gamma, gain, blur, noise = (v[:, None, None, None] for v in style.unbind(1))
    image = image + blur * (F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1) - image)
    image = gain * image.clamp_min(1e-4) ** gamma
    return (image + noise * torch.randn_like(image)).clamp(0, 1)


def hide(image: Tensor, blobs: int = 4) -> Tensor:
    """Cover the image with up to `blobs` ellipses of noise, 3-11 px in radius: what they hide has no counterpart."""
    B, _, H, W = image.shape
    draw = torch.rand(B, 6, blobs, 1, 1, device=image.device)
    grid = pixel_grid(H, W, image.device)
    size = 0.03 + 0.07 * draw[:, 2:4]
    dx, dy = (grid[:, :1] / W - draw[:, 0]) / size[:, 0], (grid[:, 1:] / H - draw[:, 1]) / size[:, 1]
    covered = ((dx.square() + dy.square() < 1) & (draw[:, 4] < 0.75)).any(1, keepdim=True)
    noise = (image.mean((1, 2, 3), keepdim=True) * 2 * torch.rand_like(image)).clamp(0, 1)
    return torch.where(covered, noise, image)
