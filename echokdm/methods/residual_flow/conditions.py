"""What the networks see of sources, their key-points and the target's."""

from typing import NamedTuple

import torch
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.ops.flow import resize_flow
from echokdm.ops.render import render_keypoints, spread_motion

_MOTION_PX = 8.0  # px that stand for 1 where motion is an input
_REACH_PX = 10.0  # from a key-point, of the motion that is spread out


class Conditions(NamedTuple):
    """seen (B K, C, H, W): what F takes; start (B K, 2, H, W) px or None: what its flow is added to; structure (B, S,
    H, W): P_t."""

    seen: Tensor
    start: Tensor | None
    structure: Tensor


def structure_channels(schema: KeypointSchema) -> int:
    """Of key-points drawn as a picture."""
    return 4 if schema.closed else 3


def flow_channels(schema: KeypointSchema, image_channels: int, motion_prior: bool) -> int:
    """Of what F takes: the source, its structure, the target's, and the prior."""
    return image_channels + 2 * structure_channels(schema) + 2 * motion_prior


def conditions(
    sources: Tensor, source_keypoints: Tensor, target_keypoints: Tensor, schema: KeypointSchema, motion_prior: bool
) -> Conditions:
    """Eq. 2's I_s, P_s and P_t as pictures.

    sources (B, K, 3, H, W) in [-1, 1], source_keypoints (B, K, N, 2) and target_keypoints (B, N, 2) px, nan where not
    seen. motion_prior: with `spread_motion` of the key-points, as an input and as the flow to start from.
    """
    batch, count, _, height, width = sources.shape
    points = source_keypoints.flatten(0, 1)
    own = render_keypoints(points, schema, height, width)
    structure = render_keypoints(target_keypoints, schema, height, width)
    seen = [sources.flatten(0, 1), own, structure.repeat_interleave(count, 0)]
    start = None
    if motion_prior:
        start = prior_flow(points, target_keypoints.repeat_interleave(count, 0), height, width)
        seen.append(start / _MOTION_PX)
    return Conditions(torch.cat(seen, 1), start, structure)


def prior_flow(source: Tensor, target: Tensor, height: int, width: int) -> Tensor:
    """`spread_motion` of key-points (B, N, 2) px -> (B, 2, height, width) px; at half the size and enlarged, since it
    is smooth."""
    scale = source.new_tensor([(width // 2 - 1) / (width - 1), (height // 2 - 1) / (height - 1)])
    return resize_flow(
        spread_motion(source * scale, target * scale, height // 2, width // 2, _REACH_PX / 2), height, width
    )
