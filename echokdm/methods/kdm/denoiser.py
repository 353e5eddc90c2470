"""Training of K2F-net, F2I-net and the one-step ablation K2I (KDM, Eq. 2, Eq. 3 and Table 3)."""

from abc import abstractmethod
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vq_model import VQModel
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.labels import Label
from echokdm.core.types import A4C_BLOODPOOL_40, KeypointSchema
from echokdm.engine.sampling import build_scheduler, sample, timesteps_from
from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.losses.perceptual import Perceptual, PerceptualNet
from echokdm.methods.kdm.conditions import f2i_channels, f2i_condition, k2f_channels, k2f_condition, warp_source
from echokdm.methods.kdm.valves import valve_weights
from echokdm.networks.codec import decode, encode, encode_flow, with_detail
from echokdm.networks.conditioned_unet import ConditionedUNet
from echokdm.networks.segmenter import Segmenter, as_seen
from echokdm.ops.reach import outlines
from echokdm.ops.render import FAR, fill_polygon


class DenoiserConfig(BaseModel):
    """One denoiser."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = 6000
    batch: int = 8
    lr: float = 4e-4
    block_out_channels: tuple[int, ...] = (64, 96, 128)
    layers_per_block: int = 1
    attention_from: int = 99  # first resolution level with self-attention; none by default
    condition_channels: int = 16
    prediction: Literal["epsilon", "v_prediction", "sample"] = "epsilon"  # Eq. 2 and 3 predict the noise
    loss: Literal["l1", "l2"] = "l1"
    ema_decay: float = 0.9999
    # of the weights a run starts --from, averaged in at its end (Wortsman et al. 2022)
    start_share: float = Field(default=0.0, ge=0, le=1)
    early_share: float = 0.0  # share of draws confined to noise levels below early_limit, where a warm start begins
    early_limit: float = 0.6  # of T
    # of draws at the levels of a picture made in two calls, as the call meets it
    two_call_share: float = Field(default=0.0, ge=0, le=1)
    procedural_share: float = 0.0  # of the pairs
    perceptual: PerceptualNet = "own"
    # of that distance between the decoded x0 prediction and the target; not in the paper
    perceptual_weight: float = 0.0
    squared_weight: float = 0.0  # of the squared error of the same picture; nothing where perceptual_weight is 0
    perceptual_crop: int = 32  # latent pixels a side of the window that is decoded for both
    # F2I: of how far the frozen segmenter, shown the decoded x0 prediction, is from the asked outline
    label_weight: float = 0.0
    label_items: int = 2  # hearts of a batch that are decoded whole for it
    valve_weight: float = 0.0  # by how much more errors count where a heart's valve leaflets may be
    opening_weight: float = 0.0  # the same within a face's eyes and mouth, where their key-points are
    # of hearts whose valves are made to open or shut from source to target
    valve_share: float = Field(default=0.0, ge=0, le=1)
    # K2F and F2I: of hearts that are twins, of unlike pumping, see `data.twins`
    twin_share: float = Field(default=0.0, ge=0, le=1)
    # px; F2I's flows get a smooth error of a standard deviation drawn from 0 to this, as K2F's will have one
    flow_jitter: float = 0.0
    # px; the same for the target key-points that K2F is shown, as a segmenter's will have one
    keypoint_jitter: float = 0.0


class DenoiserStage(Stage):
    """Predict the noise of a latent under image conditions; subclasses say which latent and which conditions.

    schema: of the data set's key-points. image_channels: of its images. network: trained weights to go on from.
    segmenter: that judges the pictures where `config.label_weight` is not 0.
    """

    latent_conditions: ClassVar[int]
    codec_name: ClassVar[str]

    def __init__(
        self,
        config: DenoiserConfig,
        dataset: Dataset,
        codecs: dict[str, VQModel],
        *,
        schema: KeypointSchema = A4C_BLOODPOOL_40,
        image_channels: int = 1,
        network: ConditionedUNet | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.config, self.dataset, self.batch_size, self.codecs, self.schema = (
            config,
            dataset,
            config.batch,
            codecs,
            schema,
        )
        codec = codecs[self.codec_name]
        levels = len(codec.config["block_out_channels"])
        self.network = (
            network
            if network is not None
            else ConditionedUNet(
                latent_channels=codec.config["latent_channels"],
                pixel_channels=self.pixel_channels(schema, image_channels),
                latent_condition_channels=self.latent_conditions * codec.config["latent_channels"],
                condition_channels=config.condition_channels,
                strides=psi_strides(2 ** (levels - 1)),
                block_out_channels=config.block_out_channels,
                layers_per_block=config.layers_per_block,
                attention_from=config.attention_from,
            )
        )
        self.modules = {self.name: self.network}
        self.frozen = dict(codecs)
        self.perceptual = Perceptual(config.perceptual) if config.perceptual_weight > 0 else None
        if self.perceptual is not None:
            self.frozen["perceptual"] = self.perceptual
        self.segmenter = segmenter if config.label_weight > 0 else None
        if self.segmenter is not None:
            self.frozen["segmenter"] = self.segmenter
        self.optimizers = {"adamw": torch.optim.AdamW(self.network.parameters(), config.lr, weight_decay=1e-4)}
        self.ema_of, self.ema_decay = (self.name,), config.ema_decay
        self.scheduler = build_scheduler("ddim", config.prediction)

    @staticmethod
    @abstractmethod
    def pixel_channels(schema: KeypointSchema, image_channels: int) -> int:
        """Channels of the conditions at image size."""

    @abstractmethod
    def clean_latent(self, batch: dict[str, Tensor]) -> Tensor:
        """The latent that is diffused."""

    @abstractmethod
    def condition(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Spatial conditions at image size, latent ones, and the warped source where it is one of them."""

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        config, optimizer = self.config, self.optimizers["adamw"]
        cosine_with_warmup(optimizer, config.lr, run)
        with torch.no_grad(), run.autocast():
            latent = self.clean_latent(batch).float()
            pixels, latents, warped = self.condition(batch)
        with run.autocast():
            condition = self.network.encode_condition(pixels, latents)
        noisy, t, noise = self.draw_noisy(latent, condition, latents if warped is not None else None, run)
        target = {
            "epsilon": lambda: noise,
            "sample": lambda: latent,
            "v_prediction": lambda: self.scheduler.get_velocity(latent, noise, t),  # type: ignore[arg-type]  # t is int64
        }[config.prediction]()
        output = self.predict(condition, run, noisy, t)
        error = (F.l1_loss if config.loss == "l1" else F.mse_loss)(output, target, reduction="none")
        height, width = batch["target"].shape[2:]
        weight = valve_weights(batch["target_keypoints"], self.schema, height, width, config.valve_weight)
        if config.opening_weight > 0:
            for outline in outlines(batch["target_keypoints"], self.schema):
                weight = weight + config.opening_weight * fill_polygon(outline.nan_to_num(FAR), height, width)
        loss = (error * F.adaptive_avg_pool2d(weight, (error.shape[2], error.shape[3]))).mean()
        logged = {"loss": loss.detach()}
        if self.perceptual is not None or self.segmenter is not None:
            with run.autocast():
                clean = predicted_clean(self.scheduler.alphas_cumprod.to(noisy)[t], noisy, output, config.prediction)
        if self.perceptual is not None:
            with run.autocast():
                distance, squared = self.picture_losses(clean, batch["target"], weight, latents, warped)
            logged |= {"perceptual": distance.detach(), "squared": squared.detach()}
            loss = loss + config.perceptual_weight * distance + config.squared_weight * squared
        if self.segmenter is not None and latents is not None and warped is not None:
            with run.autocast():
                label = self.label_loss(clean, batch, latents, warped)
            logged["label"] = label.detach()
            loss = loss + config.label_weight * label
        optimizer.zero_grad()
        run.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        optimizer.step()
        return logged

    def predict(self, condition: Tensor, run: Run, noisy: Tensor, t: Tensor) -> Tensor:
        """The network's output (B, L, h, w) in float32 for noisy (B, L, h, w) at timesteps t, (B,) or one, and an
        encoded condition."""
        with run.autocast():
            return self.modules[self.name](noisy, t, condition).float()

    def draw_noisy(
        self, latent: Tensor, condition: Tensor, start: Tensor | None, run: Run
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, their timesteps (B,) and the noise they hold besides `latent`; all but t as latent (B, L, h,
        w).

        `config.two_call_share` of them are what a call meets when a picture is made in two: pure noise or, with
        `start`, whose first L channels are the warp's latents, that under noise; and what the network as it is makes of
        it for the second call.
        """
        config, total = self.config, self.scheduler.config["num_train_timesteps"]
        rows = len(latent)
        early = torch.rand(rows, device=latent.device) < config.early_share
        share = torch.rand(rows, device=latent.device) * torch.where(early, config.early_limit, 1.0)
        t = (share * total).long().clamp(0, total - 1)
        noise = torch.randn_like(latent)
        noisy = self.scheduler.add_noise(latent, noise, t)
        if config.two_call_share == 0:
            return noisy, t, noise
        chosen = torch.rand(rows, device=latent.device) < config.two_call_share
        second = chosen & (torch.rand(rows, device=latent.device) < 0.5)
        levels = timesteps_from(self.scheduler, 2, 1.0).to(t)
        for calls, drawn in enumerate((chosen & ~second, second)):
            if drawn.any():
                t[drawn] = levels[calls]
                warp = None if start is None else start[drawn, : latent.shape[1]].float()
                with torch.no_grad():
                    noisy[drawn] = sample(
                        partial(self.predict, condition[drawn], run),
                        noise[drawn],
                        self.scheduler,
                        calls=2,
                        start=warp,
                        only=calls,
                    )
        alpha = self.scheduler.alphas_cumprod.to(latent)[t].view(-1, 1, 1, 1)
        return noisy, t, (noisy - alpha.sqrt() * latent) / (1 - alpha).sqrt()

    def picture_losses(
        self, clean: Tensor, target: Tensor, weight: Tensor, latents: Tensor | None, warped: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """LPIPS and squared error, means over the batch, of a random window of the decoded x0 prediction to target (B,
        1, H, W).

        weight: (B, 1, H, W), of squared errors. With a warped source, its latents come first in `latents`.
        """
        side = self.config.perceptual_crop
        factor = target.shape[2] // clean.shape[2]
        y, x = (int(torch.randint(n - side + 1, ())) for n in clean.shape[2:])

        def window(values: Tensor, scale: int = 1) -> Tensor:
            return values[:, :, y * scale : (y + side) * scale, x * scale : (x + side) * scale]

        start = (window(latents), window(warped, factor)) if warped is not None and latents is not None else ()
        made, real = self.picture(window(clean), *start), window(target, factor)
        assert self.perceptual is not None  # `step` asks where there is one
        return self.perceptual(made, real).float().mean(), (
            (made.float() - real).square() * window(weight, factor)
        ).mean()

    def picture(self, clean: Tensor, latents: Tensor | None = None, warped: Tensor | None = None) -> Tensor:
        """Latents (B, L, h, w) decoded to (B, C, H, W) in [0, 1], with what the codec loses of the warped source added
        back.

        As at inference; the warp's latents come first in `latents`. Nothing is added back where there is no warp.
        """
        codec = self.codecs[self.codec_name]
        made = (decode(codec, clean, quantize=False) + 1) / 2
        if warped is not None and latents is not None:
            with torch.no_grad():
                start = decode(codec, latents[:, : clean.shape[1]], quantize=False)
            made = with_detail(made, warped, (start + 1) / 2)
        return made.clamp(0, 1)

    def label_loss(self, clean: Tensor, batch: dict[str, Tensor], latents: Tensor, warped: Tensor) -> Tensor:
        """Cross-entropy of the frozen segmenter's ventricle, in the first hearts' pictures, with the outlines asked
        for.

        A scalar, the mean over the sectors' pixels: so that a picture shows its ventricle where its key-points say it
        is. clean (B, L, h, w), latents (B, 2L, h, w), warped (B, 1, H, W) in [0, 1].
        """
        rows = batch["has_keypoints"].nonzero()[: self.config.label_items, 0]
        if len(rows) == 0:
            return clean.new_zeros(())
        whole = batch["sector"][rows]
        made, sector = as_seen(self.picture(clean[rows], latents[rows], warped[rows]) * whole, whole)
        assert self.segmenter is not None  # `step` asks where there is one
        probability = self.segmenter(made, sector).float().softmax(1)[:, Label.LV : Label.LV + 1].clamp(1e-4, 1 - 1e-4)
        asked = as_seen(fill_polygon(batch["target_keypoints"][rows], *whole.shape[2:]) * whole, whole)[0]
        entropy = asked * probability.log() + (1 - asked) * (1 - probability).log()
        return -(entropy * sector).sum() / sector.sum()


def predicted_clean(alpha: Tensor, noisy: Tensor, output: Tensor, prediction: str) -> Tensor:
    """x0 from a network's output at cumulative alpha (B,), for each prediction type (Salimans and Ho 2022, appendix
    D)."""
    signal, noise = alpha.sqrt().view(-1, 1, 1, 1), (1 - alpha).sqrt().view(-1, 1, 1, 1)
    if prediction == "sample":
        return output
    return signal * noisy - noise * output if prediction == "v_prediction" else (noisy - noise * output) / signal


def psi_strides(compression: int) -> tuple[int, int, int]:
    """Strides of Psi's three convolutions whose product is the codec's compression: 2 -> 2,1,1; 4 -> 2,2,1; 8 ->
    2,2,2."""
    return {2: (2, 1, 1), 4: (2, 2, 1), 8: (2, 2, 2)}[compression]


class K2FStage(DenoiserStage):
    """K2F-net: flow latents from I_src, x_K,src, x_K,tgt (Eq. 2)."""

    name, latent_conditions, codec_name = "k2f", 0, "flow_codec"
    pixel_channels = staticmethod(k2f_channels)

    def clean_latent(self, batch: dict[str, Tensor]) -> Tensor:
        return encode_flow(self.codecs["flow_codec"], batch["flow"])

    def condition(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        source, target = batch["source_keypoints"], batch["target_keypoints"]
        if self.config.keypoint_jitter > 0:
            coarse = torch.randn(2, len(target), 2, 8, device=target.device) * torch.rand(
                len(target), 1, 1, device=target.device
            )
            coarse = self.config.keypoint_jitter * batch["keypoint_error"].T[..., None, None] * coarse
            both, alone = (
                F.interpolate(error, target.shape[1], mode="linear", align_corners=True).transpose(1, 2)
                for error in coarse
            )
            source, target = source + both, target + both + alone
        return k2f_condition(batch["source"], source, target, batch["sector"], self.schema), None, None


class F2IStage(DenoiserStage):
    """F2I-net: image latents from I_src, x_K and F (Eq. 3), and from the latents of I_src and of its warp."""

    name, latent_conditions, codec_name = "f2i", 2, "image_codec"
    pixel_channels = staticmethod(f2i_channels)

    def clean_latent(self, batch: dict[str, Tensor]) -> Tensor:
        return encode(self.codecs["image_codec"], batch["target"] * 2 - 1)

    def condition(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        codec, source = self.codecs["image_codec"], batch["source"]
        flow = batch["flow"]
        if self.config.flow_jitter > 0:
            coarse = torch.randn(len(flow), 2, 8, 8, device=flow.device) * torch.rand(
                len(flow), 1, 1, 1, device=flow.device
            )
            error = F.interpolate(coarse, flow.shape[2:], mode="bicubic", align_corners=True)
            flow = flow + self.config.flow_jitter * error * batch["has_keypoints"].view(-1, 1, 1, 1)
        warped = warp_source(source, flow, batch["sector"])
        pixels = f2i_condition(
            source, warped, batch["target_keypoints"], flow, batch["sector"], self.schema, batch["valve_opening"]
        )
        return pixels, torch.cat([encode(codec, warped * 2 - 1), encode(codec, source * 2 - 1)], 1), warped


class K2IStage(DenoiserStage):
    """The ablation without K2F-net: image latents straight from I_src, x_K,src, x_K,tgt."""

    name, latent_conditions, codec_name = "k2i", 1, "image_codec"
    pixel_channels = staticmethod(k2f_channels)

    def clean_latent(self, batch: dict[str, Tensor]) -> Tensor:
        return encode(self.codecs["image_codec"], batch["target"] * 2 - 1)

    def condition(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        pixels = k2f_condition(
            batch["source"], batch["source_keypoints"], batch["target_keypoints"], batch["sector"], self.schema
        )
        return pixels, encode(self.codecs["image_codec"], batch["source"] * 2 - 1), None
