"""Training of the matching network, first before a frozen denoiser, then with it (MIDM, Eq. 12-17)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.types import KeypointSchema
from echokdm.engine.sampling import build_scheduler
from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.losses.contextual import contextual_loss
from echokdm.losses.features import Features
from echokdm.losses.style import feature_distance
from echokdm.methods.midm.conditions import pair_images
from echokdm.methods.midm.config import CorrespondenceConfig, JointConfig, LossWeights, MIDMConfig
from echokdm.methods.midm.interleave import Course, Networks, interleave
from echokdm.networks.codec import decode, encode
from echokdm.networks.domain_matcher import DomainMatcher
from echokdm.ops.matching import correlation, soft_warp


def domain_loss(of_condition: Tensor, of_truth: Tensor) -> Tensor:
    """Eq. 12: mean |S_X - S'_X| of features (B, C, h, w), of unit length at each place, as Eq. 5 compares them.

    Without that the loss is least where the features are least, which no correlation sees.
    """
    return F.l1_loss(F.normalize(of_condition.float(), dim=1), F.normalize(of_truth.float(), dim=1))


def warp_loss(warps: list[Tensor], wanted: Tensor) -> Tensor:
    """Sum over the warps of mean |R - wanted|, latents (B, L, h, w); Eq. 13 where R was taken back and D_Y is
    wanted."""
    return torch.stack([F.l1_loss(warped, wanted) for warped in warps]).sum()


def noise_loss(noises: list[Tensor], noise: Tensor) -> Tensor:
    """Eq. 17: sum over the calls of the mean squared difference of the estimate from the noise that the course began
    with."""
    return torch.stack([F.mse_loss(estimate, noise) for estimate in noises]).sum()


@dataclass
class _Scene:
    """A batch as latents: D_X, D_Y, D'_X; and the truth as a picture."""

    condition: Tensor
    exemplar: Tensor
    ideal: Tensor
    truth: Tensor
    exemplar_image: Tensor


class TranslationStage(Stage):
    """Run the course of matching and denoising on pairs of frames of one subject, and bring its result to the truth.

    name: "correspondence", where the denoiser is frozen, or "joint". schema: of the data's key-points.
    """

    def __init__(
        self,
        name: str,
        config: MIDMConfig,
        dataset: Dataset,
        codec: VQModel,
        unet: UNet2DModel,
        matcher: DomainMatcher,
        schema: KeypointSchema | None,
    ) -> None:
        settings: CorrespondenceConfig | JointConfig = getattr(config, name)
        self.name, self.config, self.settings, self.dataset, self.schema = name, config, settings, dataset, schema
        self.batch_size = settings.batch
        masked = config.matching.masked and (settings.masked if isinstance(settings, CorrespondenceConfig) else True)
        self.how = config.matching.model_copy(update={"calls": settings.calls, "masked": masked})
        self.codec, self.unet = codec, unet
        self.features = Features(config.backbone, config.layers)
        self.modules = {"matcher": matcher}
        self.frozen = {"image_codec": codec, "features": self.features}
        self.optimizers = {"matcher": torch.optim.AdamW(matcher.parameters(), settings.lr, weight_decay=1e-4)}
        self.rates = {"matcher": settings.lr}
        if isinstance(settings, JointConfig):
            self.modules["unet"] = unet
            self.optimizers["unet"] = torch.optim.AdamW(unet.parameters(), settings.unet_lr, weight_decay=1e-4)
            self.rates["unet"] = settings.unet_lr
        else:
            self.frozen["unet"] = unet
        self.ema_of, self.ema_decay = tuple(self.modules), settings.ema_decay
        self.scheduler = build_scheduler("ddim", "epsilon")

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One course on a batch and one AdamW step a network; logs each loss and the share of places trusted."""
        for name, optimizer in self.optimizers.items():
            cosine_with_warmup(optimizer, self.rates[name], run)
        scene, matcher = self._scene(batch, run), self.modules["matcher"]
        noise = torch.randn_like(scene.exemplar)
        with run.autocast():
            found = matcher("condition", scene.condition), matcher("exemplar", scene.exemplar)
            ideal = matcher("exemplar", scene.ideal)
        networks = Networks(matcher, self.modules.get("unet", self.unet), self.scheduler, run.autocast)
        course = interleave(networks, scene.condition, scene.exemplar, noise, self.how, features=found, gradients=True)
        losses = self._losses(scene, course, noise, found[0], ideal, run)
        weights: LossWeights = self.settings.weights
        total = torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        run.backward(total)
        for name, optimizer in self.optimizers.items():
            torch.nn.utils.clip_grad_norm_(self.modules[name].parameters(), 1.0)
            optimizer.step()
        logged = {name: value.detach() for name, value in losses.items()}
        if course.confidences:
            logged["confident"] = torch.cat(course.confidences).mean()
        return logged

    def _scene(self, batch: dict[str, Tensor], run: Run) -> _Scene:
        condition, exemplar, truth = pair_images(batch, self.config.condition, self.schema)
        with torch.no_grad(), run.autocast():
            latents = encode(self.codec, torch.cat([condition, exemplar, truth]) * 2 - 1).float()
        content, looks, ideal = latents.chunk(3)
        return _Scene(content, looks, ideal, truth, exemplar)

    def _losses(
        self, scene: _Scene, course: Course, noise: Tensor, of_condition: Tensor, of_truth: Tensor, run: Run
    ) -> dict[str, Tensor]:
        """Those of Eq. 12-17 that have a weight."""
        weights: LossWeights = self.settings.weights
        scores = correlation(of_condition, of_truth, self.how.centred)
        # R_{X<-X'}
        own = soft_warp(scores, scene.ideal, self.how.temperature, (scene.ideal.shape[2], scene.ideal.shape[3]))
        with run.autocast():
            pictures = (decode(self.codec, torch.cat([course.latent, own]), quantize=False).float() + 1) / 2
            made, rebuilt = (list(part) for part in zip(*(f.chunk(2) for f in self.features(pictures)), strict=True))
            with torch.no_grad():
                truth, exemplar = (
                    list(part)
                    for part in zip(
                        *(f.chunk(2) for f in self.features(torch.cat([scene.truth, scene.exemplar_image]))),
                        strict=True,
                    )
                )
        values = {
            "dom": lambda: domain_loss(of_condition, of_truth),
            "cycle": lambda: warp_loss(course.cycles, scene.exemplar),
            "src": lambda: feature_distance([f.float() for f in rebuilt], [f.float() for f in truth]),
            "perc": lambda: feature_distance([f.float() for f in made], [f.float() for f in truth]),
            # not of the first layer, which knows little but colour
            "style": lambda: contextual_loss(made[1:], exemplar[1:]),
            "diff": lambda: noise_loss(course.noises, noise),
            "warp": lambda: warp_loss(course.warps, scene.ideal),
        }
        return {name: value() for name, value in values.items() if getattr(weights, name) > 0}
