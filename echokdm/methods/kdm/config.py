"""The configuration of a KDM training: data, then one block a stage, in training order."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from echokdm.core import defaults
from echokdm.methods.base import MethodConfig
from echokdm.methods.bundle import LARGEST, SMALLEST
from echokdm.methods.kdm.codec import CodecConfig
from echokdm.methods.kdm.denoiser import DenoiserConfig
from echokdm.methods.kdm.landmarks import LandmarksConfig
from echokdm.methods.kdm.of_net import OFNetConfig


class DataConfig(BaseModel):
    """Training data, cached on disk: simulated, or real clips in place of the simulated hearts."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    phantom: Literal["heart", "face", "body"] = "heart"  # what is simulated; the segmenter's stage is the heart's alone
    clips: str = ""  # a folder of real clips with key-points, as the stage `keypoints` of a pipeline writes it
    patients: int = 2000  # phantoms, six frames each
    procedural: int = 5000  # pairs without anatomy
    twins: int = 0  # phantoms made twice, with another ejection fraction, for the stages' `twin_share`
    edits: bool = False  # of faces and people: half of the pairs differ in few of a pose's parameters
    held_out: int = 40  # further patients, for validation
    cache: str = "runs/cache"
    drift_share: float = 0.03  # of the hearts, for the flows' stages, that swing as a whole too, as a breath moves them
    workers: int = 0  # processes that simulate and load


class SegmenterConfig(BaseModel):
    """The LV segmenter."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = 2500
    batch: int = 16
    lr: float = 2e-3
    warped_share: float = 0.35  # of the clips in which ED's picture is moved, as synthetic clips are
    outlined: str = ""  # outlined frames of patients beside the phantoms, as "adapter:FOLDER"
    # of CAMUS: those patients alone, see `data.adapters.camus.camus_split`
    outlined_part: Literal["", "teach", "judge"] = ""
    outlined_share: float = Field(default=0.6, ge=0, le=1)  # of the items
    widths: tuple[int, ...] | None = None  # of the network's levels; None for those it starts from, or its own
    # of the hearts that are shown filled or emptied further than they were
    pumped_share: float = Field(default=0.0, ge=0, le=1)


class KDMConfig(MethodConfig):
    """Everything `echokdm train` needs."""

    method: Literal["kdm"] = "kdm"
    size: int = Field(default=defaults.FRAME_SIZE, ge=SMALLEST, le=LARGEST)  # px a side
    # px a side at which flows are learned and found; None for size
    flow_size: int | None = Field(default=None, ge=SMALLEST, le=LARGEST)
    precision: Literal["no", "bf16", "fp16"] = "bf16"
    # what an edit of a picture starts from: K2F-net's flow, or that of limbs that move alone
    edit_flow: Literal["k2f", "limbs"] = "k2f"
    flow_target: Literal["of_net", "truth"] = "of_net"  # whose flows K2F-net learns; phantoms know the truth
    data: DataConfig = DataConfig()  # type: ignore[assignment]  # in place of FrameData, which has no simulators
    segmenter: SegmenterConfig = SegmenterConfig()
    # of other phantoms, and of other patients; none where it is not asked for
    judge: SegmenterConfig = SegmenterConfig(steps=0)
    landmarks: LandmarksConfig = LandmarksConfig()
    of_net: OFNetConfig = OFNetConfig()
    image_codec: CodecConfig = CodecConfig()
    flow_codec: CodecConfig = CodecConfig(block_out_channels=(24, 32, 48), latent_channels=4, codes=1024)
    k2f: DenoiserConfig = DenoiserConfig()
    f2i: DenoiserConfig = DenoiserConfig()
    k2i: DenoiserConfig = DenoiserConfig()


# The judge comes last: a stage's seeds follow from its place.
STAGES = ("segmenter", "of_net", "image_codec", "flow_codec", "k2f", "f2i", "k2i", "landmarks", "judge")
