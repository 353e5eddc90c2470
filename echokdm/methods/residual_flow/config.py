"""What can be chosen. The defaults are the paper's; what the paper leaves open is as in its reference, Ren et al., CVPR
2020."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from echokdm.losses.features import Backbone
from echokdm.methods.base import MethodConfig, StageConfig


class NetworkConfig(BaseModel):
    """Both networks. residual, attention, occlusion: off for the paper's ablations, all three off for its baseline
    (Table 4)."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    strides: tuple[int, ...] = (8, 4)  # of the levels at which sources are warped and fused, coarsest first
    flow_stem: int = 1  # the stride at which F's backbone starts, by folding pixels into channels
    flow_widths: tuple[int, ...] = (32, 64, 128, 256, 256)
    widths: tuple[int, ...] = (64, 128, 256, 256)  # of features at strides 1, 2, 4...
    residual: bool = True
    attention: bool = True
    occlusion: bool = True
    # F sees the key-points' motion spread out, and its flow is added to it; not in the paper
    motion_prior: bool = False


class LossConfig(BaseModel):
    """Weights of Eq. 7 and 8, and the layers of the frozen network that Eq. 7, 9 and 10 compare."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    backbone: Backbone = "vgg19"
    correctness: float = 5.0
    regularity: float = 0.0025
    l1: float = 5.0  # of pictures in [-1, 1]
    perceptual: float = 0.5
    style: float = 500.0
    adversarial: float = 2.0
    adversarial_kind: Literal["minimax", "lsgan"] = "minimax"  # Eq. 11; the reference code has the other
    correctness_layers: tuple[str, ...] = ("relu3_1", "relu4_1")
    perceptual_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    style_layers: tuple[str, ...] = ("relu2_2", "relu3_4", "relu4_4", "relu5_2")
    neighbourhoods: tuple[int, ...] = (3, 5)  # px a side, a level each: where its flow should be affine


class FlowConfig(StageConfig):
    """Warm-up of the flow (Eq. 7)."""

    steps: int = 100_000
    batch: int = 5
    lr: float = 1e-4


class JointConfig(StageConfig):
    """All parts together (Eq. 8)."""

    steps: int = 300_000
    batch: int = 5
    lr: float = 1e-4
    discriminator_lr: float = 1e-4
    discriminator_width: int = 64
    ema_decay: float = 0.999  # of the weights that are kept; not in the paper


class ResidualFlowConfig(MethodConfig):
    """sources: at most so many a step in training, a number drawn anew each step; at inference any number does."""

    sources: int = Field(default=3, ge=1)
    network: NetworkConfig = NetworkConfig()
    losses: LossConfig = LossConfig()
    flow: FlowConfig = FlowConfig()
    joint: JointConfig = JointConfig()
