"""The codec's training pairs, and the unconditional latent diffusion model that MIDM starts from (Rombach et al.
2022)."""

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.engine.sampling import build_scheduler
from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.methods.midm.conditions import truth_and_exemplar
from echokdm.methods.midm.config import PriorConfig
from echokdm.networks.codec import encode


class CodecPairs(Dataset):
    """Two frames of each item of `sets`, or its frame and its exemplar, under the names that `CodecStage` reads."""

    def __init__(self, sets: Dataset) -> None:
        self.sets = sets

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        truth, exemplar = truth_and_exemplar(self.sets[key])
        return {"source": truth, "target": exemplar}


def build_unet(config: PriorConfig, latent_channels: int) -> UNet2DModel:
    """epsilon_theta of latents (B, latent_channels, h, w)."""
    attends = [i >= config.attention_from for i in range(len(config.block_out_channels))]
    return UNet2DModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=8,
        attention_head_dim=32,
        add_attention=any(attends),
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
    )


class PriorStage(Stage):
    """Predict the noise of an image's latent: LDM's loss, the mean squared error. unet: trained weights to go on
    from."""

    name = "unet"

    def __init__(self, config: PriorConfig, dataset: Dataset, codec: VQModel, unet: UNet2DModel | None = None) -> None:
        self.config, self.dataset, self.batch_size, self.codec = config, dataset, config.batch, codec
        self.unet = unet if unet is not None else build_unet(config, codec.config["latent_channels"])
        self.modules, self.frozen = {"unet": self.unet}, {"image_codec": codec}
        self.optimizers = {"adamw": torch.optim.AdamW(self.unet.parameters(), config.lr, weight_decay=1e-4)}
        self.ema_of, self.ema_decay = ("unet",), config.ema_decay
        self.scheduler = build_scheduler("ddim", "epsilon")

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One AdamW step on noised latents of the items' first frames; logs the loss."""
        optimizer = self.optimizers["adamw"]
        cosine_with_warmup(optimizer, self.config.lr, run)
        with torch.no_grad(), run.autocast():
            latent = encode(self.codec, batch["frames"][:, 0] * 2 - 1).float()
        share = torch.rand(len(latent), device=latent.device) * self.config.highest_noise
        total = self.scheduler.config["num_train_timesteps"]
        t = (share * total).long().clamp(0, total - 1)
        noise = torch.randn_like(latent)
        noisy = self.scheduler.add_noise(latent, noise, t)
        with run.autocast():
            output = self.modules["unet"](noisy.contiguous(memory_format=torch.channels_last), t).sample
        loss = F.mse_loss(output.float(), noise)
        optimizer.zero_grad()
        run.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        optimizer.step()
        return {"loss": loss.detach()}
