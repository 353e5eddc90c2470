"""The configuration of a MIDM training: data and condition, the matching, then one block a stage, in training order."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from echokdm.losses.features import Backbone
from echokdm.methods.base import MethodConfig, StageConfig
from echokdm.methods.kdm.codec import CodecConfig

Kind = Literal["keypoints", "edges", "data"]
# other: listed for the picture or, where none is, of another subject. same: another of its subject
Exemplar = Literal["other", "same"]


class MatchingConfig(BaseModel):
    """How matching and denoising are interleaved, in training and by default at inference."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    temperature: float = 0.01  # tau of Eq. 6
    centred: bool = False  # features lose their mean over channels before they are compared; Eq. 5 does without
    threshold: float = 0.02  # gamma of Eq. 10, of a squared distance in a map of side 2
    pool: int = 1  # side of the window that averages that distance; 1 is the paper's
    strength: float = Field(default=0.25, gt=0, le=1)  # noise level of the start, N of T; Table 4
    calls: int = Field(default=4, ge=1)  # network calls from there to the result
    rematch: bool = True  # Eq. 9; False is one-time matching, Table 3
    masked: bool = True  # Eq. 11; False rewarps everywhere, Table 3


class LossWeights(BaseModel):
    """Weights of Eq. 12-17, 0 for none. The paper gives none; of its own the figures are means, so that 1 is a fair
    start."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    dom: float = 1.0  # Eq. 12
    cycle: float = 1.0  # Eq. 13
    src: float = 1.0  # Eq. 14
    perc: float = 1.0  # Eq. 15
    style: float = 1.0  # Eq. 16
    diff: float = 1.0  # Eq. 17
    # mean |R - D'_X| of every warp, between latents, where the exemplar is of the truth's subject; not in the paper
    warp: float = 0.0


class WarmUpWeights(LossWeights):
    """Those before the denoiser is trained, which the diffusion loss does not reach, and before style is."""

    style: float = 0.0
    diff: float = 0.0


class PriorConfig(StageConfig):
    """The latent diffusion model that the paper takes pre-trained (Rombach et al. 2022): unconditional, of images
    alone."""

    steps: int = 6000
    lr: float = 4e-4
    block_out_channels: tuple[int, ...] = (64, 96, 128)
    layers_per_block: int = 1
    attention_from: int = 99  # first resolution level with self-attention; none by default
    highest_noise: float = 1.0  # share of T that is learnt; the start's strength is all that is ever asked
    ema_decay: float = 0.9999


class CorrespondenceConfig(StageConfig):
    """Warm-up of the matching network before a frozen denoiser; no style loss yet."""

    steps: int = 3000
    lr: float = 3e-6
    features: int = 64
    channels: tuple[int, ...] = (64, 128, 128)
    calls: int = Field(default=2, ge=1)  # of a training step's course
    masked: bool = True  # Eq. 11 in training; where few matches are trusted yet, F_Y^iter learns by False
    weights: WarmUpWeights = WarmUpWeights()
    ema_decay: float = 0.9999


class JointConfig(StageConfig):
    """Matching network and denoiser together."""

    steps: int = 3000
    lr: float = 3e-6  # of the matching network
    unet_lr: float = 1.5e-7
    calls: int = Field(default=2, ge=1)
    weights: LossWeights = LossWeights()
    ema_decay: float = 0.9999


class MIDMConfig(MethodConfig):
    """Everything `echokdm train` needs."""

    method: Literal["midm"] = "midm"
    condition: Kind = "keypoints"
    exemplar: Exemplar = "other"  # of training, and of the tables that compare with the truth
    backbone: Backbone = "vgg19"  # of the losses' features
    # style is of all but the first
    layers: tuple[str, ...] = Field(default=("relu1_2", "relu2_2", "relu3_2", "relu4_2"), min_length=2)
    matching: MatchingConfig = MatchingConfig()
    image_codec: CodecConfig = CodecConfig(block_out_channels=(64, 128, 128), codes=8192)
    unet: PriorConfig = PriorConfig()
    correspondence: CorrespondenceConfig = CorrespondenceConfig()
    joint: JointConfig = JointConfig()


STAGES = ("image_codec", "unet", "correspondence", "joint")
