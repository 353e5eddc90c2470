"""The residual-flow method: its stages, what they need, and what is asked of a bundle."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echokdm.core.errors import ConfigError
from echokdm.core.types import KeypointSchema
from echokdm.data.frames import FrameSource
from echokdm.engine.stage import Stage
from echokdm.methods.base import Generated, Method, Request
from echokdm.methods.residual_flow.conditions import flow_channels, structure_channels
from echokdm.methods.residual_flow.config import ResidualFlowConfig
from echokdm.methods.residual_flow.pipeline import ResidualFlowPipeline
from echokdm.methods.residual_flow.scores import evaluation
from echokdm.methods.residual_flow.stages import FlowStage, JointStage
from echokdm.methods.train import load_component
from echokdm.metrics.tables import Table
from echokdm.networks.flow_pyramid import FlowPyramid
from echokdm.networks.residual_fusion import ResidualFusion


class ResidualFlow(Method):
    """Any number of misaligned sources, fused in one pose."""

    name = "residual-flow"
    title = "Multi-source generation by residual flow"
    paper = (
        "Lu, Wang, Shao, Yang, Zhou: Pose Guided Image Generation from Misaligned Sources via Residual Flow Based Correction, "
        "AAAI 2022"
    )
    takes = frozenset({"sources", "keypoints", "driving", "drag"})
    config, pipeline = ResidualFlowConfig, ResidualFlowPipeline

    def stages(self, config: ResidualFlowConfig) -> tuple[str, ...]:
        """The flow's warm-up, then all parts."""
        return ("flow", "joint")

    def build_stage(self, name: str, config: ResidualFlowConfig, data: FrameSource, bundle: Path, start: bool) -> Stage:
        """See `Method`. Raises ConfigError where the data has no key-points, or the networks' options don't fit
        together."""
        schema = needed_schema(data)
        frames = data.train(1 + config.sources, config.seed)
        net = config.network
        if len(config.losses.neighbourhoods) != len(net.strides):
            raise ConfigError(
                f"losses.neighbourhoods needs one side a level: {len(net.strides)}, not {len(config.losses.neighbourhoods)}."
            )
        try:
            if name == "joint" or start and (bundle / "flow_net").is_dir():
                flow_net = load_component(bundle, "flow_net", FlowPyramid)
            else:
                flow_net = FlowPyramid(
                    flow_channels(schema, data.channels, net.motion_prior), net.strides, net.flow_stem, net.flow_widths
                )
            if name == "flow":
                return FlowStage(config, frames, schema, flow_net)
            if start and (bundle / "fusion").is_dir():
                fusion = load_component(bundle, "fusion", ResidualFusion)
            else:
                fusion = ResidualFusion(
                    data.channels,
                    structure_channels(schema),
                    net.strides,
                    net.widths,
                    net.residual,
                    net.attention,
                    net.occlusion,
                )
        except ValueError as error:
            raise ConfigError(f"network: {error}") from None
        return JointStage(config, frames, schema, flow_net, fusion)

    def assemble(self, config: ResidualFlowConfig, parts: dict[str, Any]) -> ResidualFlowPipeline:
        """The pipeline of both networks."""
        schema = needed_schema(FrameSource(config.data, config.size, config.seed))
        return ResidualFlowPipeline(**parts, schema=schema.name, motion_prior=config.network.motion_prior)

    def schema(self, pipeline: ResidualFlowPipeline) -> KeypointSchema:
        """Of the bundle's key-points."""
        return pipeline.schema

    def generate(self, pipeline: ResidualFlowPipeline, request: Request) -> Generated:
        """The sources' subject in the poses of the target key-points, or of the first source moved as they move.

        Raises ConfigError where sources or key-points are missing.
        """
        if not len(request.sources):
            raise ConfigError("Residual flow needs at least one source picture: give --source.")
        if request.source_keypoints is None or request.target_keypoints is None:
            raise ConfigError(
                "Residual flow is posed by key-points: it needs those of every source and of the target or the driving clip."
            )
        targets = request.target_keypoints
        if request.relative:
            targets = request.source_keypoints[0] + targets - targets[:1]
        out = pipeline(request.sources, request.source_keypoints, targets)
        pictures: dict[str, Tensor] = {}
        for k in range(len(request.sources)):
            pictures[f"source {k + 1} moved"] = out.warped[:, k].clamp(0, 1)
            pictures[f"attention to source {k + 1}"] = out.attentions[:, k].expand(-1, 3, -1, -1)
            pictures[f"hidden in source {k + 1}"] = out.occlusions[:, k].expand(-1, 3, -1, -1)
        return Generated(out.frames, out.flows[:, 0], pictures)

    @torch.no_grad()
    def evaluate(self, pipeline: ResidualFlowPipeline, data: FrameSource) -> list[Table]:
        """Tables 1 and 4 in form, on held-out identities."""
        return evaluation(pipeline, data)


def needed_schema(data: Any) -> KeypointSchema:
    """The key-points' schema. Raises ConfigError where the data has none."""
    if data.schema is None:
        raise ConfigError("Residual flow is posed by key-points, and this data set has none.")
    return data.schema


METHOD = ResidualFlow()
