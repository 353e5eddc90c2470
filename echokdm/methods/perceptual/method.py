"""The feature net as a registered method, so that it is trained and scored by the same two commands as everything
else."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from echokdm.core.errors import ConfigError
from echokdm.data.frames import FrameSource
from echokdm.losses.feature_net import FeatureNet
from echokdm.methods.base import Generated, Method, MethodConfig, Request
from echokdm.methods.perceptual.data import PerceptualData, Pictures
from echokdm.methods.perceptual.pipeline import PerceptualPipeline
from echokdm.methods.perceptual.scores import distance_table
from echokdm.methods.perceptual.stage import EDGE, FeaturesConfig, FeaturesStage
from echokdm.methods.train import load_component
from echokdm.metrics.tables import Table

CARD = """---
library_name: diffusers
tags: [perceptual-loss, synthetic]
---
# {name}

A perceptual distance in the form of LPIPS, for teaching. Load it with `echokdm.losses.perceptual.Perceptual("own")`.

**Data.** Pictures of {size} x {size} px: {hearts} simulated hearts, {posed} faces and {posed} people, six each, and {procedural} procedural
pictures, drawn from seeds. No photograph, no patient, no label, no weights of others.

**Training.** Seed {seed}. Two strengths of one distortion and two distortions more are to lie in the order of how much they change what a
picture looks like, set by hand; places are to be found again in a picture that was moved. The distance compares the first {compared} of
its five stages.

| stage | steps | minutes | hardware | last figures |
|---|---|---|---|---|
{rows}

**Limits.** It teaches; LPIPS over ImageNet's networks, taught by other data, judges. `benchmarks/perceptual.py` compares the two.
"""


class PerceptualConfig(MethodConfig):
    """Everything `echokdm train` needs."""

    method: Literal["perceptual"] = "perceptual"
    size: int = 112
    data: PerceptualData = PerceptualData()  # type: ignore[assignment]  # in place of FrameData
    features: FeaturesConfig = FeaturesConfig()


class PerceptualDistance(Method):
    """A distance between pictures; it generates nothing."""

    name: ClassVar[str] = "perceptual"
    title: ClassVar[str] = "Perceptual distance that the methods learn by, taught on simulators alone"
    paper: ClassVar[str] = (
        "in the form of Zhang, Isola, Efros, Shechtman, Wang: The Unreasonable Effectiveness of Deep Features, CVPR 2018"
    )
    takes: ClassVar[frozenset[str]] = frozenset()
    config: ClassVar[type[PerceptualConfig]] = PerceptualConfig
    pipeline: ClassVar[type[PerceptualPipeline]] = PerceptualPipeline

    def stages(self, config: PerceptualConfig) -> tuple[str, ...]:
        """One."""
        return ("features",)

    def data(self, config: PerceptualConfig) -> Pictures:
        """Pictures with room around what is compared."""
        return Pictures(config.data, config.size, config.seed, config.features.crop + 2 * EDGE)

    def build_stage(
        self, name: str, config: PerceptualConfig, data: Pictures, bundle: Path, start: bool
    ) -> FeaturesStage:
        """See `Method`."""
        before = load_component(bundle, name, FeatureNet) if start and (bundle / name).is_dir() else None
        return FeaturesStage(config.features, data, before)

    def assemble(self, config: PerceptualConfig, parts: dict[str, Any]) -> PerceptualPipeline:
        """Of the one net."""
        return PerceptualPipeline(**parts)

    def card(self, config: PerceptualConfig, rows: str) -> str:
        """The model card."""
        data = config.data
        return CARD.format(
            name=config.name,
            size=config.size,
            hearts=data.hearts,
            procedural=data.procedural,
            posed=data.posed,
            seed=config.seed,
            compared=config.features.compared,
            rows=rows,
        )

    def generate(self, pipeline: PerceptualPipeline, request: Request) -> Generated:
        """Raises ConfigError."""
        raise ConfigError("This bundle measures how alike pictures look and makes none; choose another with --bundle.")

    def evaluate(self, pipeline: PerceptualPipeline, data: FrameSource) -> list[Table]:
        """Order of distortions, and agreement with each LPIPS that is at hand, on 60 held-out pictures of the data."""
        import torch

        held_out = data.held_out(1, 0)
        count = min(60, len(held_out))
        return [distance_table(pipeline.features, torch.cat([held_out[(0, i)]["frames"] for i in range(count)]))]


METHOD = PerceptualDistance()
