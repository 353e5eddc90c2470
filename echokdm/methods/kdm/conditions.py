"""What the KDM denoisers see: spatial images of source, key-points and flow (KDM, Eq. 2 and 3)."""

import torch
from torch import Tensor

from echokdm.core.types import A4C_BLOODPOOL_40, KeypointSchema
from echokdm.ops.fill import warp_inside
from echokdm.ops.render import render_keypoints, spread_motion
from echokdm.ops.warp import pixel_grid, sample

FLOW_RANGE = 16.0  # px that are 1 in a condition, at the model's own size
K2F_CHANNELS = 12  # I_src, x_K,src and x_K,tgt drawn (4 each), their motion spread out (2), the sector
F2I_CHANNELS = 10  # I_src, its warp, x_K,tgt drawn (4), F (2), the sector, where the warp's source is inside


def draw(points: Tensor, size: tuple[int, int], schema: KeypointSchema = A4C_BLOODPOOL_40) -> Tensor:
    """Key-points (B, N, 2) as (B, 4, H, W) in [0, 1]; all-zero points (no heart in the picture) draw nothing."""
    present = points.flatten(1).abs().sum(1) > 0
    return render_keypoints(points, schema, *size) * present.view(-1, 1, 1, 1)


def with_base(points: Tensor, parts: int = 6) -> Tensor:
    """Key-points (B, 40, 2) with parts - 1 more between the basal ends, evenly along the mitral plane: (B, 39 + parts, 2).

    So that the outline is closed by points that tell how the plane moves, as its ends alone don't.
    """
    share = torch.arange(1, parts, device=points.device).view(1, -1, 1) / parts
    base = points[:, 19:20] * (1 - share) + points[:, 20:21] * share
    return torch.cat([points[:, :20], base, points[:, 20:]], 1)


def k2f_condition(source: Tensor, source_keypoints: Tensor, target_keypoints: Tensor, sector: Tensor) -> Tensor:
    """I_src (B, 1, H, W) in [0, 1], key-points (B, 40, 2) px, sector (B, 1, H, W) -> (B, 12, H, W)."""
    size = source.shape[2], source.shape[3]
    motion = spread_motion(source_keypoints, target_keypoints, *size) / FLOW_RANGE
    return torch.cat([source * 2 - 1, draw(source_keypoints, size), draw(target_keypoints, size), motion, sector], 1)


def f2i_condition(source: Tensor, warped: Tensor, target_keypoints: Tensor, flow: Tensor, sector: Tensor) -> Tensor:
    """I_src and its warp (B, 1, H, W) in [0, 1], x_K,tgt (B, 40, 2), F (B, 2, H, W) px, sector -> (B, 10, H, W)."""
    size = source.shape[2], source.shape[3]
    origin = sample(sector, pixel_grid(*size, device=flow.device) + flow, padding="zeros")
    return torch.cat([source * 2 - 1, warped * 2 - 1, draw(target_keypoints, size), flow / FLOW_RANGE, sector, origin], 1)


def warp_source(source: Tensor, flow: Tensor, sector: Tensor) -> Tensor:
    """x^_recon = I_src(I + F) inside the sector (KDM, section 3.4): (B, 1, H, W) in [0, 1]."""
    return warp_inside(source, flow, sector)
