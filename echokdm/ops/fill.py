"""Filling what a picture does not show: outside the sector, so that a warp never drags its black edge in, and behind
what moved away."""

import torch
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

    Bicubic, since bilinear weights blur speckle where the flow is a fraction of a pixel. image (1 or B, C, H, W) in [0,
    1], flow (B, 2, H, W) backward px, sector (1 or B, 1, H, W) -> (B, C, H, W) in [0, 1].
    """
    filled = extend_beyond(image, sector).expand(len(flow), -1, -1, -1)
    return warp(filled, flow, mode="bicubic").clamp(0, 1) * sector.to(image.dtype)


def filled_from_around(image: Tensor, unknown: Tensor, other: Tensor) -> Tensor:
    """Pictures (T, C, H, W) in [0, 1] with what is `unknown` (T, 1, H, W) bool drawn smoothly on from around it
    (biharmonic).

    other: (T, 1, H, W) bool, what is something else, as the arm before the wall that is to be filled: nothing is drawn
    on from there.
    """
    from skimage.restoration import inpaint_biharmonic

    out = []
    for picture, hole, beside in zip(image, unknown[:, 0], other[:, 0], strict=True):
        away = hole | beside
        if hole.any() and not away.all():
            drawn = inpaint_biharmonic(picture.movedim(0, -1).numpy(), away.numpy(), channel_axis=-1)
            picture = torch.where(hole, torch.from_numpy(drawn).to(picture).movedim(-1, 0).clamp(0, 1), picture)
        out.append(picture)
    return torch.stack(out)
