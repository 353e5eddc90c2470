"""KDM as a method: which stages it has, what they need, and what is asked of a bundle."""

from pathlib import Path
from typing import Any

from torch import Tensor

from echokdm.core import defaults
from echokdm.core.errors import ConfigError, GeometryError
from echokdm.core.schemas import IBUG_68
from echokdm.core.seeding import derive_seed
from echokdm.core.types import KeypointSchema, luma
from echokdm.data.adapters.camus import LICENCE as CAMUS_LICENCE
from echokdm.data.face_finder import find_faces, predictor_file
from echokdm.data.frames import FrameSource, three_channels
from echokdm.data.pairs import FlowPairs, PhantomClips, Variety, estimated_flows
from echokdm.data.store import ArrayStore
from echokdm.engine.sampling import build_scheduler
from echokdm.engine.stage import Stage
from echokdm.methods.base import Carried, Generated, Method, Request
from echokdm.methods.kdm.card import card
from echokdm.methods.kdm.codec import CodecStage
from echokdm.methods.kdm.config import STAGES, KDMConfig
from echokdm.methods.kdm.data import KDMData
from echokdm.methods.kdm.denoiser import F2IStage, K2FStage, K2IStage
from echokdm.methods.kdm.detection import detector, search
from echokdm.methods.kdm.editing import move
from echokdm.methods.kdm.landmarks import LandmarkStage
from echokdm.methods.kdm.of_net import OFNetStage
from echokdm.methods.kdm.pipeline import KDMPipeline
from echokdm.methods.kdm.scores import score_pairs
from echokdm.methods.kdm.segmentation import AugmentedClips, EmptyClips, JudgeStage, SegmenterStage
from echokdm.methods.train import load_component
from echokdm.metrics.tables import Table
from echokdm.networks.segmenter import CLASSES, FINDS_AT

DRAWS = 5  # at most of each held-out patient that a stage is validated by


class KDM(Method):
    """Key-points to flow, flow to image."""

    name = "kdm"
    title = "Key-point guided deformable image manipulation"
    paper = (
        "Oh, Jung, Kim, Kim, Kim, Lee, Kwon, Bae: Key-point Guided Deformable Image Manipulation Using Diffusion Model"
    )
    takes = frozenset({"driving", "keypoints", "drag", "gamma"})
    config, pipeline = KDMConfig, KDMPipeline

    def stages(self, config: KDMConfig) -> tuple[str, ...]:
        """All of the configuration's, but of the two that find key-points the one for this kind of picture."""
        others = ("landmarks",) if config.data.phantom == "heart" else ("segmenter", "judge")
        return tuple(name for name in STAGES if name not in others)

    def data(self, config: KDMConfig) -> KDMData:
        """Stores of pairs with flow."""
        return KDMData(config)

    def build_stage(self, name: str, config: KDMConfig, data: KDMData, bundle: Path, start: bool) -> Stage:
        """See `Method`. Raises BundleError where a stage before this one is not trained yet, ConfigError where clips
        can't teach it."""
        settings = getattr(config, name)
        if config.data.clips and config.flow_size is not None:
            raise ConfigError(
                "Real clips are kept at one size, so their flows can't be learned at another: leave flow_size out."
            )
        if config.data.clips and name in ("segmenter", "judge", "of_net"):
            raise ConfigError(
                f"Real clips have no truth to teach {name} by: set {name}.steps=0, and start --from a bundle that has it."
            )
        before = load(bundle, name) if start and (bundle / name).is_dir() else None
        draws = DRAWS * config.data.held_out
        if config.flow_size is not None and config.flow_size < config.size and name in ("of_net", "flow_codec", "k2f"):
            data = KDMData(config.model_copy(update={"size": config.flow_size}))
        if name in ("segmenter", "judge"):
            data = KDMData(config.model_copy(update={"size": min(config.size, FINDS_AT)}))
            kind, hearts = (SegmenterStage, data.patients()) if name == "segmenter" else (JudgeStage, data.others())
            network = before if settings.widths is None else kind.kind(len(CLASSES), settings.widths)
            clips = AugmentedClips(
                PhantomClips(hearts, config.seed, settings.warped_share),
                derive_seed(config.seed, STAGES.index(name)),
                EmptyClips(data.procedural(), config.seed),
                outlined=data.outlined(settings),
                outlined_share=settings.outlined_share,
                pumped_share=settings.pumped_share,
            )
            return kind(
                clips,
                held_out=PhantomClips(data.held_out(), 1),
                validated=min(100, draws),
                batch_size=settings.batch,
                learning_rate=settings.lr,
                network=network,
            )
        if name in ("of_net", "landmarks"):
            held_out = FlowPairs(data.held_out(), None, 1, Variety(gray_jitter=0.0), schema=data.schema)
            if name == "of_net":
                return OFNetStage(
                    settings, data.pairs(name, 0.0), held_out=held_out, validated=min(200, draws), network=before
                )
            return LandmarkStage(
                settings,
                data.pairs(name, 0.0),
                len(data.schema),
                held_out=held_out,
                validated=min(100, draws),
                network=before,
            )
        if name in ("image_codec", "flow_codec"):
            return CodecStage(
                settings,
                data.pairs(name, settings.procedural_share, _flows(config, data, bundle, False)),
                "image" if name == "image_codec" else "flow",
                image_channels=data.image_channels,
                codec=before,
            )
        needed = {"k2f": ("flow_codec",), "f2i": ("image_codec",), "k2i": ("image_codec",)}[name]
        codecs = {n: load(bundle, n) for n in needed}
        flows = _flows(config, data, bundle, name == "k2f" and config.flow_target == "of_net")
        judge = load(bundle, "segmenter") if settings.label_weight > 0 else None
        denoisers: dict[str, type[K2FStage | F2IStage | K2IStage]] = {"k2f": K2FStage, "f2i": F2IStage, "k2i": K2IStage}
        pairs = data.pairs(name, settings.procedural_share, flows, settings.valve_share, settings.twin_share)
        return denoisers[name](
            settings,
            pairs,
            codecs,
            schema=data.schema,
            image_channels=data.image_channels,
            network=before,
            segmenter=judge,
        )

    def assemble(self, config: KDMConfig, parts: dict[str, Any]) -> KDMPipeline:
        """With a DDIM scheduler that holds the noise schedule."""
        return KDMPipeline(
            **parts,
            scheduler=build_scheduler("ddim", config.f2i.prediction),
            schema=KDMData(config).schema.name,
            size=config.size,
            flow_size=config.flow_size,
            edit_flow=config.edit_flow,
        )

    def licence(self, config: KDMConfig) -> str:
        """The data's where the segmenter learned from CAMUS."""
        taught = any(stage.outlined.startswith("camus:") and stage.steps for stage in (config.segmenter, config.judge))
        return CAMUS_LICENCE if taught else "MIT"

    def card(self, config: KDMConfig, rows: str) -> str:
        """The model card."""
        return card(config, rows)

    def schema(self, pipeline: KDMPipeline) -> KeypointSchema:
        """Of the bundle's key-points."""
        return pipeline.schema

    def find_keypoints(self, pipeline: KDMPipeline, images: Tensor, size: int) -> Tensor:
        """Of faces by dlib where it is installed, in each picture; else by the bundle's landmark detector in the first,
        see `search`.

        Raises GeometryError where neither finds any, ConfigError where there is neither.
        """
        if pipeline.schema == IBUG_68 and (pipeline.landmarks is None or predictor_file() is not None):
            try:
                return find_faces(images)
            except GeometryError:
                if pipeline.landmarks is None:
                    raise
        return search(detector(pipeline), images[:1], size)

    def generate(self, pipeline: KDMPipeline, request: Request) -> Generated:
        """Move the first source's key-points to the targets, or to those of the driving clip; gammas: shares of the
        last one's flow."""
        gray = pipeline.image_codec.config.in_channels == 1
        source = luma(request.sources[:1]) if gray else request.sources[:1]
        begin, targets = request.source_keypoints, request.target_keypoints
        begin = detector(pipeline).detect(source)[0][0] if begin is None else begin[0]
        if targets is None:
            if request.driving is None:
                raise ConfigError("KDM moves key-points: give --driving, --keypoints or --drag.")
            targets = detector(pipeline).detect(request.driving)[0]
        if request.relative:
            targets = begin + targets - targets[:1]
        steps = defaults.STEPS if request.steps is None else request.steps
        moved = move(pipeline, source, begin, targets, gammas=request.gammas, steps=steps, seed=request.seed)
        frames, drawn, hidden = (three_channels(part) for part in (moved.frames, moved.drawn, moved.hidden))
        shown = {"drawn anew": drawn, "where it is taken": hidden} if bool(hidden.any()) else {}
        return Generated(frames, moved.flow, shown, Carried(moved.fine, moved.hidden, drawn))

    def evaluate(self, pipeline: KDMPipeline, data: FrameSource) -> list[Table]:
        """Tables 1-3 in form: pairs of frames of held-out identities, against no edit, a spline and both ablations."""
        return score_pairs(pipeline, data)


def _flows(config: KDMConfig, data: KDMData, bundle: Path, estimated: bool) -> ArrayStore | None:
    """OF-net's flows of the cached pairs where they are asked for or, of real clips, nothing else is known; else
    None."""
    if not estimated and not config.data.clips:
        return None
    store = data.patients()
    return estimated_flows(store.folder / "of_net", store, load(bundle, "of_net"))


def load(bundle: Path, name: str) -> Any:
    """A component of a KDM bundle. Raises BundleError where it is not trained yet."""
    return load_component(bundle, name, KDMPipeline.COMPONENTS[name])


METHOD = KDM()
