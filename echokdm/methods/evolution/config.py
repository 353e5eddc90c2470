"""Configuration of the motion transfer; defaults are the paper's, and FOMM's where the paper says it follows that."""

from pydantic import Field

from echokdm.losses.features import Backbone
from echokdm.methods.base import MethodConfig, StageConfig
from echokdm.networks.ode_field import Solver


class AnimatorConfig(StageConfig):
    """The one stage: all networks are trained together (Eq. 9)."""

    steps: int = 200_000
    batch: int = 8
    lr: float = 2e-4
    points: int = 10  # K
    downscale: int = 4  # of the picture, for key-points and flows
    temperature: float = 0.1  # of the soft-argmax
    keypoint_widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    motion_widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    evolution: bool = True  # False: the paper's ablation without motion evolution, T(1) = T(0)
    field_width: int = 64
    solver: Solver = "rk4"
    solver_steps: int = 4
    adjoint: bool = False  # True: the paper's; False goes back through the solver's steps, see `networks/ode_field.py`
    self_appearance: bool = True  # False: the paper's ablation without appearance assistance
    appearance_widths: tuple[int, ...] = (64, 128, 256)
    generator_width: int = 64
    generator_widest: int = 512
    generator_downs: int = 2  # the features' size is the picture's / 2 ** generator_downs
    generator_blocks: int = 6
    # let the decoder blend in the moved pictures themselves; not in the paper, see `networks/warp_generator.py`
    copy_pixels: bool = False
    references: int = Field(default=3, ge=0)  # N; 0: the paper's ablation without multi-view fusion
    fewest_references: int = Field(default=3, ge=0)  # below N, each step draws how many it shows
    backbone: Backbone = "vgg19"
    layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    scales: tuple[float, ...] = (1, 0.5, 0.25, 0.125)
    perceptual_weight: float = 10.0
    equivariance_weight: float = 10.0
    # against key-points that fall together; not in the paper, see `losses/equivariance.py`
    crowding_weight: float = 0.0
    keypoint_steps: int = 0  # at the start, that train the key-points alone, without a picture; not in the paper
    # brightness, contrast, saturation and hue change by so much at most, a clip's alike
    colour: float = Field(default=0.1, ge=0, le=0.5)
    affine: float = 0.05  # standard deviations of the equivariance loss' deformations, in half pictures
    spline: float = 0.05
    ema_decay: float = 0.999


class EvolutionConfig(MethodConfig):
    """A run of the motion transfer."""

    method: str = "evolution"
    name: str = "evolution"
    size: int = 256
    animator: AnimatorConfig = AnimatorConfig()
