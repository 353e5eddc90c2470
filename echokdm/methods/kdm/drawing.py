"""How KDM's networks are run, as one value."""

from dataclasses import dataclass
from typing import Literal

from echokdm.core import defaults

Ablation = Literal["f2i", "k2f"]


@dataclass(frozen=True)
class Drawing:
    """How KDM's networks are run, by default as its figures are measured. The paper's own way: `core.samplers`.

    steps: network calls of F2I a frame. strength: k / T, the noise level at which F2I starts from the warped source;
    F2I sees that source at any k. flow_steps: network calls of K2F for each of `samples`. seed: one noise, shared by
    all frames.

    samples: the flow is the mean of two, from one noise and from its negative: what a sample owes to its noise is
    nearly odd in it, so that seeds differ little; or one, as the paper has it. exact: the flow is made to carry the
    target outline onto the source's, the rest spread smoothly; else as it is drawn. gamma: scales the flow (KDM,
    appendix B).

    without: "f2i" gives the warp alone, "k2f" the one-step net. scheduler: "ddim", or diffusers' "dpm++". carry_detail:
    adds back what the codec loses of the warped source, where it isn't redrawn. quantize: latents pass the codebook on
    decoding.
    """

    steps: int = defaults.STEPS
    strength: float = defaults.STRENGTH
    flow_steps: int = defaults.FLOW_STEPS
    seed: int = defaults.SEED
    samples: Literal[1, 2] = 2
    exact: bool = True
    gamma: float = 1.0
    without: Ablation | None = None
    scheduler: Literal["ddim", "dpm++"] = "ddim"
    carry_detail: bool = True
    quantize: bool = False
