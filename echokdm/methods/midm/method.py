"""MIDM as `echokdm train`, `generate` and `evaluate` know it."""

from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor

from echokdm.core.errors import ConfigError
from echokdm.core.seeding import derive_seed
from echokdm.core.types import KeypointSchema
from echokdm.data.frames import FrameSource
from echokdm.engine.sampling import build_scheduler
from echokdm.engine.stage import Stage
from echokdm.methods.base import Generated, Method, Request
from echokdm.methods.kdm.codec import CodecStage
from echokdm.methods.midm.conditions import edge_images, keypoint_images
from echokdm.methods.midm.config import STAGES, MIDMConfig
from echokdm.methods.midm.pipeline import Changes, MIDMPipeline
from echokdm.methods.midm.prior import CodecPairs, PriorStage
from echokdm.methods.midm.stages import TranslationStage
from echokdm.methods.midm.tables import tables
from echokdm.methods.train import load_component
from echokdm.metrics.tables import Table
from echokdm.networks.domain_matcher import DomainMatcher


class MIDM(Method):
    """Exemplar-based image translation by matching interleaved with latent diffusion."""

    name = "midm"
    title = "Matching Interleaved Diffusion Models"
    paper = "Seo, Lee, Cho, Lee and Kim, MIDMs: Matching Interleaved Diffusion Models for Exemplar-Based Image Translation, AAAI 2023"
    takes = frozenset({"condition", "keypoints", "driving"})
    config = MIDMConfig
    pipeline = MIDMPipeline

    def stages(self, config: MIDMConfig) -> tuple[str, ...]:
        """Codec, the denoiser that the paper takes pre-trained, the matching network, then both together."""
        return STAGES

    def build_stage(self, name: str, config: MIDMConfig, data: FrameSource, bundle: Path, start: bool) -> Stage:
        """See `Method`. Raises BundleError where a stage before this one is not trained yet, ConfigError where a loss
        has no truth."""
        if config.exemplar == "other" and max(config.correspondence.weights.warp, config.joint.weights.warp) > 0:
            raise ConfigError(
                "weights.warp compares warped exemplars with the truth, so it needs another picture of its subject: set "
                "exemplar: same, or weights.warp to 0."
            )
        seed = derive_seed(config.seed, STAGES.index(name))
        sets = data.train(2, seed) if config.exemplar == "same" else data.train(1, seed, others=1)

        def part(component: str, kind: type) -> Any:
            return load_component(bundle, component, kind)

        def before(component: str, kind: type) -> Any:
            return part(component, kind) if start and (bundle / component).is_dir() else None

        if name == "image_codec":
            return CodecStage(
                config.image_codec, CodecPairs(sets), "image", image_channels=data.channels, codec=before(name, VQModel)
            )
        codec = part("image_codec", VQModel)
        if name == "unet":
            return PriorStage(config.unet, sets, codec, before(name, UNet2DModel))
        if name == "joint":
            matcher = part("matcher", DomainMatcher)
        else:
            settings = config.correspondence
            matcher = before("matcher", DomainMatcher) or DomainMatcher(
                codec.config["latent_channels"], settings.features, settings.channels
            )
        return TranslationStage(name, config, sets, codec, part("unet", UNet2DModel), matcher, data.schema)

    def assemble(self, config: MIDMConfig, parts: dict[str, Any]) -> MIDMPipeline:
        """With the matching as it was trained, and the key-points that conditions are drawn from."""
        schema = FrameSource(config.data, config.size, config.seed).schema if config.condition == "keypoints" else None
        return MIDMPipeline(
            **parts,
            scheduler=build_scheduler("ddim", "epsilon"),
            condition=config.condition,
            exemplar=config.exemplar,
            schema=schema.name if schema is not None else "",
            **config.matching.model_dump(),
        )

    def schema(self, pipeline: MIDMPipeline) -> KeypointSchema | None:
        """Of the key-points drawn in the condition, None where it is another picture."""
        return pipeline.schema

    def generate(self, pipeline: MIDMPipeline, request: Request) -> Generated:
        """The looks of the first source under each condition asked for."""
        condition = self._condition(pipeline, request)
        out = pipeline(request.sources[:1], condition, Changes(steps=request.steps), seed=request.seed)
        return Generated(
            out.frames,
            out.flow,
            {"condition": condition, "first warp": out.warped, "confidence": out.confidence.expand(-1, 3, -1, -1)},
        )

    def _condition(self, pipeline: MIDMPipeline, request: Request) -> Tensor:
        """(T, 3, S, S): the picture given, or made from key-points or a driving clip. Raises ConfigError where none of
        these will do."""
        if request.condition is not None:
            return request.condition.expand(-1, 3, -1, -1)
        kind = pipeline.condition_kind
        if kind == "keypoints":
            if request.target_keypoints is None:
                raise ConfigError("This MIDM draws key-points: give target key-points, or a condition picture.")
            assert pipeline.schema is not None  # of the key-points that it draws
            return keypoint_images(request.target_keypoints, pipeline.schema, request.sources.shape[-1])
        if kind == "edges":
            if request.driving is None:
                raise ConfigError(
                    "This MIDM follows edges: give a driving clip whose edges are found, or a condition picture."
                )
            return edge_images(request.driving)
        raise ConfigError("This MIDM follows its data set's condition pictures: give a condition picture.")

    def evaluate(self, pipeline: MIDMPipeline, data: FrameSource) -> list[Table]:
        """Tables 1 to 4 in form, on held-out sequences."""
        return tables(pipeline, data)


METHOD = MIDM()
