"""Which target pixels have no counterpart in the source, from the flows of both directions."""

import torch
from torch import Tensor

from echokdm.ops.warp import pixel_grid, warp


def splat_density(flow: Tensor) -> Tensor:
    """How much of the image lands on each pixel when every pixel p is pushed to p + flow(p), bilinearly -> (B, 1, H,
    W).

    flow: (B, 2, H, W) px. 1 under a translation by whole pixels, 0 where nothing arrives; what leaves the image is
    lost.
    """
    B, _, H, W = flow.shape
    points = (pixel_grid(H, W, flow.device) + flow.float()).nan_to_num(-9, -9, -9).clamp(-9, max(H, W) + 9)
    corner = points.floor()
    fraction = points - corner
    density = flow.new_zeros(B, H * W, dtype=torch.float32)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = corner[:, 0] + dx, corner[:, 1] + dy
        weight = (fraction[:, 0] if dx else 1 - fraction[:, 0]) * (fraction[:, 1] if dy else 1 - fraction[:, 1])
        weight = weight * ((x >= 0) & (x < W) & (y >= 0) & (y < H))
        index = y.clamp(0, H - 1).long() * W + x.clamp(0, W - 1).long()
        density.scatter_add_(1, index.flatten(1), weight.flatten(1))
    return density.view(B, 1, H, W)


def splat_occlusion(reverse_flow: Tensor, threshold: float = 0.2) -> Tensor:
    """Target pixels on which (almost) no source pixel lands, (B, 1, H, W), 1 = occluded (Wang et al. 2018).

    reverse_flow: the flow of (source, target), which pushes each source pixel to its place in the target.
    """
    return (splat_density(reverse_flow) < threshold).float()


def forward_backward_occlusion(flow: Tensor, reverse_flow: Tensor, scale: float = 0.01, bias: float = 0.5) -> Tensor:
    """Target pixels where the two flows do not cancel, (B, 1, H, W), 1 = occluded (UnFlow, Meister et al. 2018).

    |flow + reverse_flow(p + flow)|^2 > scale (|flow|^2 + |reverse_flow(p + flow)|^2) + bias, all in px.
    """
    back = warp(reverse_flow, flow)
    mismatch = (flow + back).square().sum(1, keepdim=True)
    size = flow.square().sum(1, keepdim=True) + back.square().sum(1, keepdim=True)
    return (mismatch > scale * size + bias).float()
