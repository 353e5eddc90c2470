"""The configuration of the single spatial transformation; defaults are the paper's where it prints them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from echokdm.data.frames import FrameData
from echokdm.losses.features import Backbone
from echokdm.methods.base import MethodConfig, StageConfig
from echokdm.methods.single_transform.affine import AffineRange


class MatchingConfig(BaseModel):
    """Of `networks.matching.MatchingFlow`, whose docstring says what each option is."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    grid: int = 64
    width: int = 64  # not printed in the paper
    features: int = 35
    layers: int = 11
    strides: tuple[int, ...] = (2, 2)
    channels: tuple[int, ...] = (128, 128, 96, 64, 32)  # and 2
    kernel: int = 3
    mutual: bool = True
    eps: float = 1e-5
    source_pool: int = 1
    guided: bool = False
    chunk_rows: int | None = 8


class RefinementConfig(BaseModel):
    """Of `networks.warped_refinement.RefinementNet`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    channels: tuple[int, ...] = (128, 256)
    blocks: int = 6
    residual: bool = False


class WarpingConfig(StageConfig):
    """The first stage: W and R without the generative loss (appendix B)."""

    steps: int = 1_456_657  # 100 epochs of DeepFashion's 101,966 pairs
    batch: int = 7
    lr: float = 1e-6
    affine: bool = True  # task 1; False is Table 4's ablation
    affine_weight: float = 0.001  # lambda_2, of px
    affine_first: float = 0.0  # share of the steps that are task 1 alone before the two alternate; 0 in the paper
    affine_reach: float | None = None  # px from the target's limbs within which task 1 counts; everywhere in the paper
    ranges: AffineRange = AffineRange()
    refine: bool = True  # False is Table 3's ablation: W learns from the warped image itself, and there is no R
    backbone: Backbone = "vgg19"
    # not printed; those of Siarohin et al. 2019
    layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    scales: tuple[float, ...] = (1, 0.5, 0.25, 0.125)
    warp_weight: float = 0.0  # of the same losses on the image warped directly; 0 in the paper
    pixel_weight: float = 0.0  # of the mean absolute difference of pixels; 0 in the paper


class JointConfig(WarpingConfig):
    """The second stage: the generative loss joins."""

    steps: int = 2_913_314  # 200 epochs
    lr: float = 1e-4  # of the refinement's decoder
    rest_lr: float = 1e-8  # of W and of the encoder
    discriminator_lr: float = 1e-4  # not printed
    discriminator_width: int = 32
    adversarial: Literal["linear", "hinge", "lsgan"] = "linear"  # Eq. 6 as printed is linear in the probabilities
    adversarial_weight: float = 0.1  # lambda_1


class SingleTransformConfig(MethodConfig):
    """One file under configs/."""

    method: Literal["single-transform"] = "single-transform"
    size: int = 256
    data: FrameData = FrameData(adapter="deepfashion", root="data/deepfashion")
    pose_sigma: float = 6.0  # px, of a joint's envelope; not printed, that of Ren et al. 2020 at 256 px
    matching: MatchingConfig = MatchingConfig()
    refinement: RefinementConfig = RefinementConfig()
    warping: WarpingConfig = WarpingConfig()
    joint: JointConfig = JointConfig()
