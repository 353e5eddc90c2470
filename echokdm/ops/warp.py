"""Grids and the package's one `grid_sample`.

Convention everywhere: flow (B, 2, H, W), channel 0 = dx, 1 = dy, in pixels of its own resolution, backward:
target(p) ~ source(p + flow(p)); pixel centres at integers, `align_corners=True`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_grid(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """(1, 2, H, W) float32 pixel coordinates, x first; the top-left pixel's centre is (0, 0)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=torch.float32),
        torch.arange(width, device=device, dtype=torch.float32),
        indexing="ij",
    )
    return torch.stack([x, y])[None]


def sample(image: Tensor, points: Tensor, padding: str = "border", mode: str = "bilinear") -> Tensor:
    """Values of `image` (B, C, H, W) at pixel positions `points` (B, 2, h, w), x first -> (B, C, h, w).

    padding: "border" or "zeros", what lies outside the image. mode: "bilinear", "nearest" or "bicubic".
    """
    _, _, h, w = image.shape
    scale = points.new_tensor([2 / max(w - 1, 1), 2 / max(h - 1, 1)]).view(1, 2, 1, 1)
    grid = (points * scale - 1).permute(0, 2, 3, 1).to(image.dtype)
    return F.grid_sample(image, grid, mode=mode, padding_mode=padding, align_corners=True)


def warp(image: Tensor, flow: Tensor, padding: str = "border", mode: str = "bilinear") -> Tensor:
    """Backward warp: out(p) = image(p + flow(p)). image (B, C, H, W), flow (B, 2, H, W) in pixels -> (B, C, H, W)."""
    return sample(image, pixel_grid(flow.shape[2], flow.shape[3], flow.device) + flow, padding, mode)


def sample_points(field: Tensor, points: Tensor) -> Tensor:
    """Values of `field` (B, C, H, W) at key-points (B, N, 2) in (x, y) pixels -> (B, N, C), bilinear."""
    return sample(field, points.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
