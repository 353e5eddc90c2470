"""The preview's flow: from the outlines alone, without a network, so that it is there while the mouse moves."""

from typing import Any

import torch
from torch import Tensor

from echokdm.core.types import A4C_BLOODPOOL_40
from echokdm.methods.kdm.conditions import outline, warp_source
from echokdm.methods.kdm.pipeline import KDMOutput
from echokdm.ops.render import carry_keypoints


class OutlineWarp:
    """Moves frames as `KDMPipeline` does, but by a flow that is the outline's own motion, spread smoothly and fading
    away from it."""

    def __call__(
        self, source: Tensor, source_keypoints: Tensor, target_keypoints: Tensor, *, sector: Tensor, **_: Any
    ) -> KDMOutput:
        """source (T, 1, H, W) in [0, 1], key-points (T, 40, 2) px, sector (H, W) bool; how networks are run changes
        nothing."""
        inside = sector.float()[None, None]
        start, end = (outline(points, A4C_BLOODPOOL_40) for points in (source_keypoints, target_keypoints))
        flow = carry_keypoints(torch.zeros(len(end), 2, *source.shape[2:]), start, end, outline=True) * inside
        warped = warp_source(source, flow, inside)
        return KDMOutput(warped, flow, warped)
