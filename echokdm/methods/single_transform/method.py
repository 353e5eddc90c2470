"""The single spatial transformation as a method: its stages, and what is asked of a bundle."""

from pathlib import Path
from typing import Any

from torch import Tensor

from echokdm.core.errors import ConfigError, DataError
from echokdm.core.seeding import derive_seed
from echokdm.core.types import KeypointSchema
from echokdm.data.frames import FrameSource
from echokdm.engine.stage import Stage
from echokdm.methods.base import Generated, Method, Request
from echokdm.methods.single_transform.config import SingleTransformConfig
from echokdm.methods.single_transform.pipeline import SingleTransformPipeline
from echokdm.methods.single_transform.scores import held_out_tables
from echokdm.methods.single_transform.stages import JointStage, WarpingStage
from echokdm.methods.train import load_component
from echokdm.metrics.tables import Table
from echokdm.networks.matching import MatchingFlow
from echokdm.networks.warped_refinement import RefinementNet


class SingleTransform(Method):
    """One flow a pose, from the correlation of the poses."""

    name = "single-transform"
    title = "Pose transfer by a single spatial transformation"
    paper = "Anonymous: Pose transfer using a single spatial transformation (under double-blind review)"
    takes = frozenset({"keypoints", "driving", "drag", "gamma"})
    config, pipeline = SingleTransformConfig, SingleTransformPipeline

    def stages(self, config: SingleTransformConfig) -> tuple[str, ...]:
        """ "warping" and, where there is a refinement network to judge, "joint"."""
        return ("warping", "joint") if config.warping.refine else ("warping",)

    def build_stage(
        self, name: str, config: SingleTransformConfig, data: FrameSource, bundle: Path, start: bool
    ) -> Stage:
        """See `Method`. Raises DataError where the data has no key-points, BundleError where "joint" comes before
        "warping"."""
        if data.schema is None:
            raise DataError(
                f"{config.data.adapter} has no key-points, which poses are made of; choose a data set that has them."
            )
        settings = getattr(config, name)
        pairs = data.train(2, derive_seed(config.seed, 61))
        if name == "joint":
            matching, refinement = (
                load_component(bundle, "matching", MatchingFlow),
                load_component(bundle, "refinement", RefinementNet),
            )
            return JointStage(settings, pairs, matching, refinement, config.pose_sigma, data.schema)
        if start and (bundle / "matching").is_dir():
            matching = load_component(bundle, "matching", MatchingFlow)
        else:
            matching = MatchingFlow(joints=len(data.schema), **config.matching.model_dump())
        refinement = None
        if settings.refine and start and (bundle / "refinement").is_dir():
            refinement = load_component(bundle, "refinement", RefinementNet)
        elif settings.refine:
            refinement = RefinementNet(**config.refinement.model_dump())
        return WarpingStage(settings, pairs, matching, refinement, config.pose_sigma, data.schema)

    def assemble(self, config: SingleTransformConfig, parts: dict[str, Any]) -> SingleTransformPipeline:
        """With the schema of the data's joints."""
        return SingleTransformPipeline(**parts, schema=self.data(config).schema.name, sigma=config.pose_sigma)

    def schema(self, pipeline: SingleTransformPipeline) -> KeypointSchema:
        """Of the bundle's joints."""
        return pipeline.schema

    def generate(self, pipeline: SingleTransformPipeline, request: Request) -> Generated:
        """Show the first source in the target poses, relative: by their motion alone; gammas: shares of the way to the
        last one."""
        if request.source_keypoints is None:
            raise ConfigError("Pose transfer needs the joints of the source; this method can't find them itself.")
        targets = request.target_keypoints
        if targets is None:
            raise ConfigError(
                "Pose transfer needs the joints of the target poses: give --keypoints, with or without the --driving clip "
                "they are of, or --drag."
            )
        source, begin = request.sources[:1], request.source_keypoints[0]
        gamma: float | Tensor = 1.0
        if request.relative:
            targets = begin + targets - targets[:1]
        if request.gammas is not None:
            targets, gamma = targets[-1:].expand(len(request.gammas), -1, -1), request.gammas
        out = pipeline(source, begin, targets, refine=pipeline.refinement is not None, gamma=gamma)
        return Generated(out.frames, out.flow, {"moved by the flow alone": out.warped})

    def evaluate(self, pipeline: SingleTransformPipeline, data: FrameSource) -> list[Table]:
        """Tables 1 and 3 in form, with the behaviour of the flow; 2 and 4 are of models trained otherwise, see the
        benchmark."""
        return held_out_tables(pipeline, data)


METHOD = SingleTransform()
