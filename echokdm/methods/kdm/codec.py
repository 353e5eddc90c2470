"""Training of the two VQ-GANs, of images and of flows (KDM, section 3.2; Esser et al., VQ-GAN)."""

from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vq_model import VQModel
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.losses.adversarial import adaptive_weight, discriminator_hinge, generator_hinge
from echokdm.losses.perceptual import Perceptual, PerceptualNet
from echokdm.networks.codec import FLOW_UNIT, FlowCodec, build_codec, fit_codebook, fit_scale
from echokdm.networks.discriminator import PatchDiscriminator


class CodecConfig(BaseModel):
    """One codec. steps and batch as everywhere; a batch of n pairs gives 2n images."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = 4000
    batch: int = 4
    crop: int | None = None  # px; train on random square crops, cheaper and more varied; the codec is convolutional
    lr: float = 6e-4
    block_out_channels: tuple[int, ...] = (32, 64)  # compression 2 ** (levels - 1)
    layers_per_block: int = 1
    latent_channels: int = 3
    codes: int = 2048
    quantize_from: float = 0.5  # share of the steps after which half of each batch is quantised
    latent_noise: float = 0.05  # before that, so that the latents keep a scale
    perceptual: PerceptualNet | None = "own"
    perceptual_weight: float = 1.0
    squared_weight: float = 0.0  # a flow is mostly zero, which L1 alone is content with
    discriminator_weight: float = 0.75  # times the adaptive weight; 0 for none
    discriminator_from: float = 0.7  # share of the steps
    procedural_share: float = 0.5  # of the pairs
    freeze_encoder: bool = False  # go on with the decoder alone: what was trained on the latents stays valid


class CodecStage(Stage):
    """Autoencode, then quantise on a codebook fitted to the latents, then sharpen against a discriminator.

    Codes are placed by k-means when quantisation starts; from then on half of each batch passes unquantised, so the
    decoder serves both. field: "image" or "flow". codec: trained weights to go on from.
    """

    def __init__(
        self,
        config: CodecConfig,
        dataset: Dataset,
        field: Literal["image", "flow"],
        *,
        image_channels: int = 1,
        codec: VQModel | None = None,
    ) -> None:
        self.name = f"{field}_codec"
        self.config, self.dataset, self.field, self.batch_size = config, dataset, field, config.batch
        if codec is None:
            form = (config.block_out_channels, config.latent_channels, config.codes, config.layers_per_block)
            codec = build_codec(image_channels, *form) if field == "image" else FlowCodec(*form)
        self.codec = codec
        if config.freeze_encoder:
            for part in (self.codec.encoder, self.codec.quant_conv, self.codec.quantize):
                part.requires_grad_(False)
        self.modules = {self.name: self.codec}
        self.frozen = {}
        trained = [p for p in self.codec.parameters() if p.requires_grad]
        self.optimizers = {"codec": torch.optim.AdamW(trained, config.lr, betas=(0.5, 0.95), weight_decay=1e-4)}
        self.perceptual = Perceptual(config.perceptual) if field == "image" and config.perceptual else None
        if self.perceptual is not None:
            self.frozen["perceptual"] = self.perceptual
        self.adversarial = config.discriminator_weight > 0 and config.discriminator_from < 1
        if self.adversarial:
            discriminator = PatchDiscriminator(image_channels if field == "image" else 2)
            self.modules["discriminator"] = discriminator
            self.optimizers["discriminator"] = torch.optim.AdamW(
                discriminator.parameters(), config.lr, betas=(0.5, 0.95)
            )
        self.ema_of = (self.name,)
        self.ema_decay = 0.999

    def values(self, batch: dict[str, Tensor]) -> Tensor:
        """What is encoded, (2B or B, C, H, W): images in [-1, 1], flows in FLOW_UNIT px."""
        if self.field == "image":
            return torch.cat([batch["source"], batch["target"]]) * 2 - 1
        return batch["flow"] / FLOW_UNIT

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        codec, config = self.codec, self.config
        values, progress = self.values(batch), run.step / run.total_steps
        if config.crop is not None:
            values = random_crops(values, config.crop)
        for optimizer in self.optimizers.values():
            cosine_with_warmup(optimizer, config.lr, run)
        with run.autocast():
            latents = codec.encode(values).latents
        quantize_step = int(config.quantize_from * run.total_steps)
        if run.step == quantize_step and not config.freeze_encoder:
            with torch.no_grad():
                fit_codebook(codec, latents)
        if run.step < quantize_step:
            latents = latents + config.latent_noise * torch.randn_like(latents)
            commitment = 1e-3 * latents.square().mean()
        else:
            quantized, commitment, _ = codec.quantize(latents.float())
            alternate = (torch.arange(len(latents), device=latents.device) % 2 == 0).view(-1, 1, 1, 1)
            latents = torch.where(alternate, quantized, latents.float())
        with run.autocast():
            decoded = codec.decode(latents, force_not_quantize=True).sample
        decoded = decoded.float()
        reconstruction = F.l1_loss(decoded, values) + config.squared_weight * F.mse_loss(decoded, values)
        logged = {"l1": reconstruction.detach(), "commitment": commitment.detach()}
        if self.field == "flow":
            reconstruction = (
                reconstruction
                + F.l1_loss(decoded.diff(dim=-1), values.diff(dim=-1))
                + F.l1_loss(decoded.diff(dim=-2), values.diff(dim=-2))
            )
        if self.perceptual is not None:
            with run.autocast():
                distance = self.perceptual((decoded + 1) / 2, (values + 1) / 2).float().mean()
            logged["perceptual"] = distance.detach()
            reconstruction = reconstruction + config.perceptual_weight * distance
        loss = reconstruction + commitment
        against = self.adversarial and progress >= config.discriminator_from
        if against:
            with run.autocast():
                adversarial = generator_hinge(self.modules["discriminator"](decoded))
            weight = adaptive_weight(reconstruction, adversarial, codec.decoder.conv_out.weight)
            loss = loss + config.discriminator_weight * weight * adversarial
            logged["adversarial"] = adversarial.detach()
        self.optimizers["codec"].zero_grad()
        run.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.codec.parameters(), 1.0)
        self.optimizers["codec"].step()
        if against:
            with run.autocast():
                loss = discriminator_hinge(
                    self.modules["discriminator"](values), self.modules["discriminator"](decoded.detach())
                )
            self.optimizers["discriminator"].zero_grad()
            run.backward(loss)
            self.optimizers["discriminator"].step()
            logged["discriminator"] = loss.detach()
        return logged

    def finish(self) -> None:
        """Store the factor that brings the latents to unit spread, on a fixed draw of eight batches; a frozen encoder
        keeps its own."""
        if self.config.freeze_encoder:
            return
        items = [self.dataset[(0, i)] for i in range(8 * self.batch_size)]
        batch = {k: torch.stack([item[k] for item in items]) for k in items[0]}
        device = next(self.codec.parameters()).device
        fit_scale(self.codec, self.values({k: v.to(device) for k, v in batch.items()}))


def random_crops(values: Tensor, size: int) -> Tensor:
    """One random (size, size) window of every item (B, C, H, W)."""
    room = torch.tensor([values.shape[2] - size + 1, values.shape[3] - size + 1])
    corners = (torch.rand(len(values), 2) * room).long().tolist()
    return torch.stack([v[:, y : y + size, x : x + size] for v, (y, x) in zip(values, corners, strict=True)])
