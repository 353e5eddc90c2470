"""A flow should be affine nearby (Ren et al., "Deep image spatial transformation for person image generation", CVPR
2020, Eq. 6)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def affine_residual(side: int, device: torch.device | str | None = None) -> Tensor:
    """A (A^T A)^-1 A^T - I, (side^2, side^2): takes values on a side x side neighbourhood to minus what no affine map
    explains.

    A (side^2, 3): x, y and 1 of each place, row by row. Computed in float64, returned in float32.
    """
    line = torch.arange(side, dtype=torch.float64, device=device) - (side - 1) / 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    a = torch.stack([x.flatten(), y.flatten(), torch.ones(side * side, dtype=torch.float64, device=device)], 1)
    identity = torch.eye(side * side, dtype=torch.float64, device=device)
    return (a @ torch.linalg.inv(a.T @ a) @ a.T - identity).float()


def affine_regulariser(flow: Tensor, side: int) -> Tensor:
    """Mean over places of the squared residual of the best affine map on their side x side neighbourhoods; a scalar,
    px^2.

    flow (B, 2, H, W) px; summed over a neighbourhood and over dx and dy, as || T A - S ||^2 is. Where one looks, p +
    flow(p), and flow(p) have the same residual, since p itself is affine.
    """
    kernel = affine_residual(side, flow.device).view(side * side, 1, side, side).to(flow.dtype)
    residual = F.conv2d(flow.flatten(0, 1)[:, None], kernel)
    return 2 * residual.square().sum(1).mean()
