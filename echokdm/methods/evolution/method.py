"""The motion transfer as a registered method."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from echokdm.core.errors import ConfigError
from echokdm.data.frames import FrameSource
from echokdm.methods.base import Generated, Method, Request
from echokdm.methods.evolution.config import EvolutionConfig
from echokdm.methods.evolution.evaluation import evaluation_tables, finder
from echokdm.methods.evolution.pipeline import EvolutionOutput, EvolutionPipeline
from echokdm.methods.evolution.stage import AnimatorStage, build_networks
from echokdm.methods.train import load_component
from echokdm.metrics.tables import Table
from echokdm.ops.flow import flow_to_color
from echokdm.ops.render import render_keypoints


class Evolution(Method):
    """Motion transfer with unsupervised key-points, a neural ODE of flows and self-appearance flow."""

    name: ClassVar[str] = "evolution"
    title: ClassVar[str] = "Self-appearance-aided differential evolution for motion transfer"
    paper: ClassVar[str] = (
        "Liu, Wang, Cao, Zhou, Shah, Oquab, Couprie, Lim: Self-appearance-aided Differential Evolution for Motion "
        "Transfer, arXiv 2110.04658"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"driving", "sources"})
    config: ClassVar[type[EvolutionConfig]] = EvolutionConfig
    pipeline: ClassVar[type[EvolutionPipeline]] = EvolutionPipeline

    def stages(self, config: EvolutionConfig) -> tuple[str, ...]:
        """One: all networks at once."""
        return ("animator",)

    def build_stage(
        self, name: str, config: EvolutionConfig, data: FrameSource, bundle: Path, start: bool
    ) -> AnimatorStage:
        """See `Method`."""
        parts = build_networks(config.animator)
        if start:  # from a bundle that may hold landmarks alone
            parts |= {
                n: load_component(bundle, n, EvolutionPipeline.COMPONENTS[n]) for n in parts if (bundle / n).is_dir()
            }
        return AnimatorStage(config.animator, data.train(2 + config.animator.references, config.seed), parts)

    def assemble(self, config: EvolutionConfig, parts: dict[str, Any]) -> EvolutionPipeline:
        """Of the networks, and of a landmark detector where the bundle was given one."""
        return EvolutionPipeline(**parts)

    def generate(self, pipeline: EvolutionPipeline, request: Request) -> Generated:
        """The first source in the poses of the driving clip; further sources are references."""
        if request.driving is None:
            raise ConfigError("This method takes its motion from a driving clip: give one with --driving.")
        out = pipeline(request.sources, request.driving, relative=request.relative)
        return Generated(out.frames, out.flow, pictures(pipeline, request.sources, request.driving, out))

    def evaluate(self, pipeline: EvolutionPipeline, data: FrameSource) -> list[Table]:
        """Tables 1, 3 and 4 in form, on held-out sequences; AKD where there is a landmark detector."""
        return evaluation_tables(pipeline, data, finder(pipeline.landmarks))


def pictures(pipeline: EvolutionPipeline, views: Tensor, driving: Tensor, out: EvolutionOutput) -> dict[str, Tensor]:
    """What the networks saw and did: key-points on views and driving frames, flows T(0), T(1), T_App, each view's
    share."""
    found = pipeline.find_keypoints(driving)
    schema, size = pipeline.schema, (views.shape[2], views.shape[3])
    longest = float(out.flow.square().sum(1).max().sqrt()) + 1e-6
    shown = {
        "views": _with_points(views, render_keypoints(out.source_keypoints, schema, *size)),
        "driving": _with_points(driving, render_keypoints(found, schema, *size)),
        "coarse_flow": flow_to_color(out.coarse, longest),
        "flow": flow_to_color(out.flow, longest),
        "confidence": torch.cat(list(out.confidence.expand(-1, -1, 3, -1, -1).unbind(1)), -1),
    }
    if out.appearance is not None:
        shown["appearance_flow"] = flow_to_color(out.appearance)
    return shown


def _with_points(images: Tensor, dots: Tensor) -> Tensor:
    drawn = dots.amax(1, keepdim=True)
    return images * (1 - drawn) + dots


METHOD = Evolution()
