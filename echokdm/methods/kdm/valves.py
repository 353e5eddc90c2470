"""Where a heart's valve leaflets may lie, told by the mitral plane of its key-points."""

import torch
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.ops.warp import pixel_grid

REACH = 0.6  # of the plane's length, that leaflets reach to either side of it
BEYOND = 1.6  # of its length, to which the tricuspid's plane goes on; on either side, as a heart may be mirrored
BESIDE = 0.4  # of the weight at the mitral valve, for where the tricuspid valve may be


def valve_weights(keypoints: Tensor, schema: KeypointSchema, height: int, width: int, extra: float) -> Tensor:
    """(B, 1, H, W) from key-points (B, N, 2) px: 1 + extra about the mitral plane, less along its continuation, 1
    elsewhere.

    1 throughout where the key-points are nan or the schema has no plane.
    """
    if extra == 0 or schema.plane is None:
        return torch.ones(len(keypoints), 1, height, width, device=keypoints.device)
    begin, end = (keypoints[:, i, :, None, None] for i in schema.edges[schema.plane])
    plane = end - begin
    away, square = pixel_grid(height, width, device=keypoints.device) - begin, plane.square().sum(1).clamp(min=1)
    along = (away * plane).sum(1) / square
    across = (away[:, 0] * plane[:, 1] - away[:, 1] * plane[:, 0]).abs() / square
    mitral = (along - 0.5).abs() < 0.65
    tricuspid = (along - 0.5).abs() < 0.5 + BEYOND
    weight = torch.where(mitral, 1.0, BESIDE * tricuspid) * (across < REACH)
    return 1 + extra * weight[:, None]
