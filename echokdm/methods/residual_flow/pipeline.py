"""The residual-flow method at inference: any number of sources to one target after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core.errors import GeometryError
from echokdm.core.schemas import schema as schema_named
from echokdm.methods.pipeline import MethodPipeline
from echokdm.methods.residual_flow.conditions import conditions
from echokdm.networks.flow_pyramid import FlowPyramid
from echokdm.networks.residual_fusion import ResidualFusion
from echokdm.ops.flow import resize_flow
from echokdm.ops.warp import warp

Part = Literal["residual", "attention", "occlusion"]


@dataclass(frozen=True)
class ResidualFlowOutput:
    """frames (T, 3, S, S) in [0, 1]. Of the finest level, at the picture's size, for each of K sources: flows (T, K, 2,
    S, S) backward px with the residual, attentions (T, K, 1, S, S) that sum to 1, occlusions (T, K, 1, S, S), 1 where
    hidden; warped (T, K, 3, S, S), the sources moved by the flows.
    """

    frames: Tensor
    flows: Tensor
    attentions: Tensor
    occlusions: Tensor
    warped: Tensor


class ResidualFlowPipeline(MethodPipeline):
    """Pictures of one subject from any number of misaligned sources, posed by key-points.

    Components: F, which says where to fetch from, and the fusing network. schema: the name of the key-points' schema.
    motion_prior: see `NetworkConfig`.

    >>> pipe = ResidualFlowPipeline.from_pretrained("runs/residual-flow-face-64/bundle")         # doctest: +SKIP
    >>> out = pipe(sources, source_keypoints, target_keypoints)                                  # doctest: +SKIP
    """

    COMPONENTS = {"flow_net": FlowPyramid, "fusion": ResidualFusion}

    def __init__(self, flow_net: FlowPyramid, fusion: ResidualFusion, schema: str, motion_prior: bool = False) -> None:
        super().__init__()
        self.register_to_config(schema=schema, motion_prior=motion_prior)
        self.schema = schema_named(schema)
        self.register_modules(flow_net=flow_net, fusion=fusion)

    @torch.no_grad()
    def __call__(
        self, sources: Tensor, source_keypoints: Tensor, target_keypoints: Tensor, *, without: Sequence[Part] = ()
    ) -> ResidualFlowOutput:
        """sources (K, 3, S, S) in [0, 1], K >= 1; source_keypoints (K, N, 2), target_keypoints (T, N, 2) px, nan where
        not seen.

        without: parts left out now, though they were trained. One target a network call, so that no batch size changes
        a byte. Raises GeometryError where there is no source or key-points are of a wrong shape.
        """
        count = len(self.schema)
        if not len(sources):
            raise GeometryError("There is no source: one picture at least is needed.")
        if source_keypoints.shape != (len(sources), count, 2) or target_keypoints.shape[1:] != (count, 2):
            raise GeometryError(
                f"This bundle needs the {count} key-points of {self.schema.name} of each source and target, "
                f"not {tuple(source_keypoints.shape)} for {len(sources)} sources and {tuple(target_keypoints.shape)}."
            )
        made = [self._one(sources, source_keypoints.float(), points.float(), without) for points in target_keypoints]
        return ResidualFlowOutput(*(torch.stack(parts) for parts in zip(*made, strict=True)))

    def _one(
        self, sources: Tensor, source_keypoints: Tensor, target_keypoints: Tensor, without: Sequence[Part]
    ) -> tuple[Tensor, ...]:
        device, size = self.fusion.device, sources.shape[2:]
        sources = sources[None].to(device) * 2 - 1
        seen, start, structure = conditions(
            sources,
            source_keypoints[None].to(device),
            target_keypoints[None].to(device),
            self.schema,
            self.config["motion_prior"],
        )
        levels = self.flow_net(seen, start)
        if "attention" in without:
            levels = [level._replace(attention=torch.zeros_like(level.attention)) for level in levels]
        if "occlusion" in without:
            levels = [level._replace(occlusion=torch.zeros_like(level.occlusion)) for level in levels]
        fused = self.fusion(sources, structure, levels, residual="residual" not in without)
        flow = resize_flow(fused.flows[-1][0], *size)
        maps = [
            F.interpolate(m, size, mode="bilinear", align_corners=True)
            for m in (fused.attentions[-1][0], levels[-1].occlusion)
        ]
        frame = ((fused.image[0] + 1) / 2).clamp(0, 1)
        return tuple(v.cpu() for v in (frame, flow, *maps, (warp(sources[0], flow) + 1) / 2))
