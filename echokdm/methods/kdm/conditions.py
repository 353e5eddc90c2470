"""What the KDM denoisers see: spatial images of source, key-points and flow (KDM, Eq. 2 and 3)."""

import torch
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.ops.fill import warp_inside
from echokdm.ops.render import render_keypoints, spread_motion
from echokdm.ops.warp import pixel_grid, sample

FLOW_RANGE = 16.0  # px that are 1 in a condition, at the model's own size


def k2f_channels(schema: KeypointSchema, image_channels: int = 1) -> int:
    """Of `k2f_condition`: I_src, x_K,src and x_K,tgt drawn, their motion spread out (2), the sector."""
    return image_channels + 2 * _drawn_channels(schema) + 3


def f2i_channels(schema: KeypointSchema, image_channels: int = 1) -> int:
    """Of `f2i_condition`: I_src, its warp, x_K,tgt drawn, F (2), the sector, where the warp's source is inside, the
    valves."""
    return 2 * image_channels + _drawn_channels(schema) + 4 + schema.valves


def _drawn_channels(schema: KeypointSchema) -> int:
    return 4 if schema.closed else 3


def outline(points: Tensor, schema: KeypointSchema, parts: int = 6) -> Tensor:
    """Key-points (B, N, 2) with parts - 1 more along the schema's plane, where it has one: (B, N + parts - 1, 2).

    So that the outline is closed by points that tell how the plane moves, as its ends alone don't.
    """
    if schema.plane is None:
        return points
    first, last = schema.edges[schema.plane]
    share = torch.arange(1, parts, device=points.device).view(1, -1, 1) / parts
    plane = points[:, first, None] * (1 - share) + points[:, last, None] * share
    return torch.cat([points[:, : first + 1], plane, points[:, first + 1 :]], 1)


def k2f_condition(
    source: Tensor, source_keypoints: Tensor, target_keypoints: Tensor, sector: Tensor, schema: KeypointSchema
) -> Tensor:
    """I_src (B, C, H, W) in [0, 1], key-points (B, N, 2) px, nan where not seen, sector (B, 1, H, W) -> (B,
    k2f_channels, H, W)."""
    size = source.shape[2], source.shape[3]
    drawn = [render_keypoints(points, schema, *size) for points in (source_keypoints, target_keypoints)]
    motion = spread_motion(source_keypoints, target_keypoints, *size) / FLOW_RANGE
    return torch.cat([source * 2 - 1, *drawn, motion, sector], 1)


def f2i_condition(
    source: Tensor,
    warped: Tensor,
    target_keypoints: Tensor,
    flow: Tensor,
    sector: Tensor,
    schema: KeypointSchema,
    valve_opening: Tensor | None = None,
) -> Tensor:
    """I_src and its warp (B, C, H, W) in [0, 1], x_K,tgt (B, N, 2), F (B, 2, H, W) px, sector -> (B, f2i_channels, H,
    W).

    valve_opening: (B,) of the target's heart, 0 shut to 1 wide open; 0.5, the default, where it is not known.
    """
    size = source.shape[2], source.shape[3]
    origin = sample(sector, pixel_grid(*size, device=flow.device) + flow, padding="zeros")
    drawn = render_keypoints(target_keypoints, schema, *size)
    return torch.cat(
        [
            source * 2 - 1,
            warped * 2 - 1,
            drawn,
            flow / FLOW_RANGE,
            sector,
            origin,
            *_valves(sector, schema, valve_opening),
        ],
        1,
    )


def _valves(sector: Tensor, schema: KeypointSchema, opening: Tensor | None) -> list[Tensor]:
    if not schema.valves:
        return []
    return [torch.zeros_like(sector) if opening is None else sector * (2 * opening.to(sector) - 1).view(-1, 1, 1, 1)]


def warp_source(source: Tensor, flow: Tensor, sector: Tensor) -> Tensor:
    """x^_recon = I_src(I + F) inside the sector (KDM, section 3.4): (B, C, H, W) in [0, 1]."""
    return warp_inside(source, flow, sector)
