"""MIDM at inference: a picture that has a condition's content and an exemplar's looks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor

from echokdm.core.errors import GeometryError
from echokdm.core.precision import fast_arithmetic
from echokdm.core.schemas import schema as schema_named
from echokdm.core.seeding import seeded_randn
from echokdm.engine.sampling import build_scheduler
from echokdm.methods.midm.config import Exemplar, Kind, MatchingConfig
from echokdm.methods.midm.interleave import Networks, interleave
from echokdm.methods.pipeline import MethodPipeline
from echokdm.networks.codec import decode, encode
from echokdm.networks.domain_matcher import DomainMatcher
from echokdm.ops.flow import resize_flow

if TYPE_CHECKING:
    from echokdm.engine.sampling import Scheduler

CHUNK = 8  # pictures a network call; fixed, so that no batch size can change a byte


@dataclass
class MIDMOutput:
    """frames (T, 3, H, W) in [0, 1]; warped (T, 3, H, W): the exemplar by the first matching alone.

    flow (T, 2, H, W): backward px, of the last matching. confidence (T, 1, H, W): the share of re-matchings that a
    place was confident in, 1 where there was none.
    """

    frames: Tensor
    warped: Tensor
    flow: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class Changes:
    """What one call changes of the matching that a bundle was trained with; None: nothing.

    steps: network calls. strength: noise level of the start (Table 4). rematch: False for one-time matching; masked:
    False to rewarp everywhere; diffuse: False for the first warp decoded (Table 3).
    """

    steps: int | None = None
    strength: float | None = None
    rematch: bool | None = None
    masked: bool | None = None
    diffuse: bool = True

    def of(self, matching: MatchingConfig) -> MatchingConfig:
        """The matching with these changes."""
        given = {"calls": self.steps, "strength": self.strength, "rematch": self.rematch, "masked": self.masked}
        return matching.model_copy(update={name: value for name, value in given.items() if value is not None})


class MIDMPipeline(MethodPipeline):
    """Matching Interleaved Diffusion Models.

    Components: the image codec, the matching network, the denoiser, a DDIM scheduler that holds the noise schedule.
    condition: what the condition picture is; schema: the name of the key-points drawn in it, "" for none. exemplar:
    what it was trained with, see `config.Exemplar`. The rest as in `MatchingConfig`.

    A trained one is had by `MIDMPipeline.from_pretrained(folder)`; this one knows nothing yet:

    >>> from echokdm.networks.codec import build_codec
    >>> unet = UNet2DModel(in_channels=3, out_channels=3, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=8,
    ...                    down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, add_attention=False)
    >>> pipe = MIDMPipeline(build_codec(3, (8, 8), 3, 16), unet, DomainMatcher(3, 8, (8, 8)), build_scheduler("ddim", "epsilon"), calls=2)
    >>> exemplar, conditions = torch.rand(1, 3, 32, 32), torch.rand(2, 3, 32, 32)
    >>> pipe(exemplar, conditions, seed=0).frames.shape
    torch.Size([2, 3, 32, 32])
    """

    COMPONENTS = {"image_codec": VQModel, "unet": UNet2DModel, "matcher": DomainMatcher}

    def __init__(
        self,
        image_codec: VQModel,
        unet: UNet2DModel,
        matcher: DomainMatcher,
        scheduler: "Scheduler",
        condition: Kind = "keypoints",
        schema: str = "",
        temperature: float = 0.01,
        centred: bool = False,
        threshold: float = 0.02,
        pool: int = 1,
        strength: float = 0.25,
        calls: int = 4,
        rematch: bool = True,
        masked: bool = True,
        exemplar: Exemplar = "same",
    ) -> None:
        super().__init__()
        how: dict[str, Any] = {
            "temperature": temperature,
            "centred": centred,
            "threshold": threshold,
            "pool": pool,
            "strength": strength,
            "calls": calls,
            "rematch": rematch,
            "masked": masked,
        }
        self.register_to_config(condition=condition, schema=schema, exemplar=exemplar, **how)
        self.matching, self.condition_kind, self.exemplar = MatchingConfig(**how), condition, exemplar
        self.schema = schema_named(schema) if schema else None
        self.register_modules(image_codec=image_codec, unet=unet, matcher=matcher, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        exemplar: Tensor,
        condition: Tensor,
        changes: Changes = Changes(),
        *,
        seed: int = 0,
        quantize: bool = False,
    ) -> MIDMOutput:
        """Give the content of each condition the looks of its exemplar.

        exemplar: (T or 1, 3, H, W), condition: (T, 3, H, W), in [0, 1]. changes: of the matching that the bundle was
        trained with. seed: one noise, shared by all. quantize: latents pass the codebook on decoding.
        Raises GeometryError where the pictures' sizes differ.
        """
        total = len(condition)
        if exemplar.shape[1:] != condition.shape[1:] or len(exemplar) not in (1, total):
            raise GeometryError(
                f"Exemplar {tuple(exemplar.shape)} and condition {tuple(condition.shape)} must be of one size and number."
            )
        how = changes.of(self.matching)
        device, size = self.unet.device, condition.shape[2:]
        scheduler = build_scheduler(
            "ddim", self.scheduler.config.prediction_type, self.scheduler.config.num_train_timesteps
        )
        networks = Networks(self.matcher, self.unet, scheduler, lambda: fast_arithmetic(device))
        exemplar = exemplar.expand(total, -1, -1, -1)
        parts = []
        for first in range(0, total, CHUNK):
            count = min(CHUNK, total - first)
            # a full chunk: the same kernels whatever the number
            rows = torch.arange(first, first + CHUNK).clamp(max=total - 1)
            with fast_arithmetic(device):
                known = encode(
                    self.image_codec, torch.cat([condition[rows], exemplar[rows]]).to(device) * 2 - 1
                ).float()
            noise = seeded_randn(tuple(known.shape[1:]), seed, [0]).to(device).expand(CHUNK, -1, -1, -1)
            content, looks = known.chunk(2)
            course = interleave(networks, content, looks, noise, how, diffuse=changes.diffuse)
            with fast_arithmetic(device):
                pictures = (
                    decode(self.image_codec, torch.cat([course.latent, course.warps[0]]), quantize).float() + 1
                ) / 2
            sure = (
                torch.stack(course.confidences).mean(0) if course.confidences else torch.ones_like(course.latent[:, :1])
            )
            values = (
                *pictures.clamp(0, 1).chunk(2),
                resize_flow(course.flow(how.temperature), *size),
                F.interpolate(sure, size),
            )
            parts.append([v[:count].cpu() for v in values])
        return MIDMOutput(*(torch.cat(part) for part in zip(*parts, strict=True)))
