"""Filling what lies outside the sector, so that a warp never drags its black edge into the picture."""

import torch.nn.functional as F
from torch import Tensor

from echokdm.ops.warp import warp


def extend_beyond(image: Tensor, sector: Tensor, reach: int = 14) -> Tensor:
    """Grow the picture outwards from the sector by `reach` px of its nearest inside values.

    image (B, C, H, W), sector (1 or B, 1, H, W) float or bool -> (B, C, H, W); inside the sector nothing changes.
    """
    known = sector.to(image.dtype)
    image = image * known
    for _ in range(reach):
        count = F.avg_pool2d(known, 3, 1, 1, count_include_pad=False)
        spread = F.avg_pool2d(image, 3, 1, 1, count_include_pad=False) / count.clamp_min(1e-6)
        fresh = (known == 0) & (count > 0)
        image = image + spread * fresh
        known = known + fresh.to(known.dtype)
    return image


def warp_inside(image: Tensor, flow: Tensor, sector: Tensor) -> Tensor:
    """Warp within a sector that stands still: what comes from outside is filled, what falls outside is black.

    Bicubic, since bilinear weights blur speckle where the flow is a fraction of a pixel. image (1 or B, C, H, W) in [0, 1],
    flow (B, 2, H, W) backward px, sector (1 or B, 1, H, W) -> (B, C, H, W) in [0, 1].
    """
    filled = extend_beyond(image, sector).expand(len(flow), -1, -1, -1)
    return warp(filled, flow, mode="bicubic").clamp(0, 1) * sector.to(image.dtype)
