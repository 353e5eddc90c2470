"""Edge-aware smoothness of a flow: it may bend where the image has an edge."""

import torch
from torch import Tensor

from echokdm.losses.photometric import masked_mean


def smoothness(flow: Tensor, image: Tensor, mask: Tensor, alpha: float = 10.0, order: int = 1) -> Tensor:
    """Mean inside `mask` of |derivative of the flow|, of first or second `order`, times exp(-alpha |image gradient|); a
    scalar.

    flow: (B, 2, H, W) px. image: (B, C, H, W) in [0, 1]. mask: (B, 1, H, W) in [0, 1]. As in ARFlow (Liu et al. 2020).
    """
    total = flow.new_zeros(())
    for axis in (2, 3):
        derivative = torch.diff(flow, n=order, dim=axis)
        edges = torch.diff(image, dim=axis).abs().mean(1, keepdim=True)
        length = derivative.shape[axis]
        weight = torch.exp(-alpha * edges.narrow(axis, order - 1, length))
        total = total + masked_mean(derivative.abs() * weight, mask.narrow(axis, order - 1, length))
    return total / 2
