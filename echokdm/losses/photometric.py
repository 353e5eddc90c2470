"""How unlike two images are, pixel by pixel: census, L1, SSIM. Each returns a map, and `masked_mean` takes it to a
number."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (B, C, H, W) weighted by `mask` (B, 1, H, W) in [0, 1]; 0 where the mask is empty."""
    return (values * mask).sum() / (mask.sum() * values.shape[1]).clamp_min(1e-6)


def census(image: Tensor, radius: int = 1, softness: float = 0.9) -> Tensor:
    """Soft ternary census transform (B, (2r+1)^2 - 1, H, W): each neighbour's difference d from the centre as d /
    sqrt(s^2 + d^2).

    image: (B, 1, H, W) in [0, 1]; softness s in gray levels of 255 (UnFlow, Meister et al. 2018). Blind to gain and
    offset.
    """
    side = 2 * radius + 1
    H, W = image.shape[2:]
    padded = F.pad(image * 255, (radius, radius, radius, radius), mode="replicate")
    shifts = [(i, j) for i in range(side) for j in range(side) if (i, j) != (radius, radius)]
    neighbours = torch.cat([padded[:, :, i : i + H, j : j + W] for i, j in shifts], 1)
    difference = neighbours - image * 255
    return difference * torch.rsqrt(softness**2 + difference.square())


def census_distance(first: Tensor, second: Tensor, radius: int = 1, softness: float = 0.9) -> Tensor:
    """Soft Hamming distance of two census transforms, (B, 1, H, W) in [0, 1): mean of d^2 / (0.1 + d^2) over the
    neighbours."""
    d2 = (census(first, radius, softness) - census(second, radius, softness)).square()
    return (d2 / (0.1 + d2)).mean(1, keepdim=True)


def ssim_distance(first: Tensor, second: Tensor, radius: int = 1) -> Tensor:
    """(1 - SSIM) / 2, clamped to [0, 1], (B, C, H, W): means over a (2r+1)^2 window, images in [0, 1] (Godard et al.
    2017)."""
    n = first.shape[1]
    side = 2 * radius + 1
    stack = torch.cat([first, second, first * first, second * second, first * second], 1)
    stack = F.avg_pool2d(F.pad(stack, (radius, radius, radius, radius), mode="replicate"), side, stride=1)
    a, b, aa, bb, ab = stack.split(n, 1)
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * a * b + c1) * (2 * (ab - a * b) + c2) / ((a * a + b * b + c1) * (aa - a * a + bb - b * b + c2))
    return ((1 - ssim) / 2).clamp(0, 1)


def l1_distance(first: Tensor, second: Tensor) -> Tensor:
    """|first - second|, (B, C, H, W)."""
    return (first - second).abs()
