"""Training of the single spatial transformation: two tasks in turn, then the generative loss (Eq. 5 to 8, appendix
B)."""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from echokdm.core.types import KeypointSchema
from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.losses.adversarial import (
    discriminator_hinge,
    discriminator_linear,
    discriminator_lsgan,
    generator_hinge,
    generator_linear,
    generator_lsgan,
)
from echokdm.losses.features import Features
from echokdm.losses.pyramid import pyramid_perceptual
from echokdm.methods.single_transform.affine import affine_preserving_loss, inverse_flow, random_affine
from echokdm.methods.single_transform.config import JointConfig, WarpingConfig
from echokdm.networks.discriminator import PatchDiscriminator
from echokdm.networks.matching import MatchingFlow
from echokdm.networks.warped_refinement import RefinementNet
from echokdm.ops.pose_maps import gaussian_maps, near_limbs
from echokdm.ops.warp import warp

_ADVERSARIAL = {
    "linear": (discriminator_linear, generator_linear),
    "hinge": (discriminator_hinge, generator_hinge),
    "lsgan": (discriminator_lsgan, generator_lsgan),
}


class WarpingStage(Stage):
    """W and R by two tasks in turn: the flow of an affine map of poses (Eq. 7), and the target from its source (Eq. 5).

    dataset: items of two frames, target and source. refinement: None for Table 3's ablation. sigma: px, of the joints'
    envelopes. schema: of the joints.
    """

    name = "warping"

    def __init__(
        self,
        config: WarpingConfig,
        dataset: Dataset,
        matching: MatchingFlow,
        refinement: RefinementNet | None,
        sigma: float,
        schema: KeypointSchema,
    ) -> None:
        self.config, self.dataset, self.batch_size, self.sigma, self.schema = (
            config,
            dataset,
            config.batch,
            sigma,
            schema,
        )
        self.modules: dict[str, nn.Module] = {"matching": matching}
        if refinement is not None:
            self.modules["refinement"] = refinement
        self.perceptual = Features(config.backbone, config.layers)
        self.frozen = {"perceptual": self.perceptual}
        self.optimizers = self.build_optimizers()
        self.rates = {"adam": config.lr}

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One for all."""
        return {"adam": torch.optim.Adam([p for m in self.modules.values() for p in m.parameters()], self.config.lr)}

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """Task 1 on even steps and task 2 on odd ones; logs that task's losses, L_aff in px."""
        for name, rate in self.rates.items():
            cosine_with_warmup(self.optimizers[name], rate, run)
        alone = run.step < self.config.affine_first * run.total_steps
        if self.config.affine and (alone or run.step % 2 == 0):
            return self.affine_task(batch, run)
        return self.reconstruction_task(batch, run)

    def maps(self, points: Tensor, like: Tensor) -> Tensor:
        """Pose maps (B, N, H, W) of points (B, N, 2), as large as the images `like`."""
        return gaussian_maps(points, like.shape[-2], like.shape[-1], self.sigma)

    def update(self, loss: Tensor, run: Run) -> None:
        """One step of the generator's optimizers."""
        own = [optimizer for name, optimizer in self.optimizers.items() if name != "discriminator"]
        for optimizer in own:
            optimizer.zero_grad()
        run.backward(loss)
        for optimizer in own:
            torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
            optimizer.step()

    def affine_task(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """Task 1: the target pose stays real, and the source pose p_st is it, moved by a random affine map."""
        target, images = batch["keypoints"][:, 0], batch["frames"]
        height, width = images.shape[-2:]
        affine = random_affine(len(target), height, self.config.ranges, target.device)
        with run.autocast():
            flow = self.modules["matching"](self.maps(affine.inverse(target), images), self.maps(target, images))
        reach = self.config.affine_reach
        mask = None if reach is None else near_limbs(target, self.schema, height, width, reach)
        loss = affine_preserving_loss(flow, inverse_flow(affine, height, width), mask)
        self.update(self.config.affine_weight * loss, run)
        return {"affine_px": loss.detach()}

    def distance(self, made: Tensor, truth: Tensor, run: Run) -> Tensor:
        """Eq. 5, and the pixels' part where it is asked for."""
        with run.autocast():
            loss = pyramid_perceptual(self.perceptual, made, truth, self.config.scales).float()
        return loss + self.config.pixel_weight * (made - truth).abs().mean()

    def generate(self, batch: dict[str, Tensor], run: Run) -> tuple[Tensor, Tensor]:
        """y_o and the image warped directly, (B, 3, H, W) both; the same where there is no R."""
        source, points = batch["frames"][:, 1], batch["keypoints"]
        with run.autocast():
            flow = self.modules["matching"](self.maps(points[:, 1], source), self.maps(points[:, 0], source))
        warped = warp(source, flow)
        if "refinement" not in self.modules:
            return warped, warped
        with run.autocast():
            return self.modules["refinement"](source, flow).float(), warped

    def reconstruction_task(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """Task 2."""
        made, warped = self.generate(batch, run)
        loss, logged = self.reconstruction_loss(made, warped, batch["frames"][:, 0], run)
        self.update(loss, run)
        return logged

    def reconstruction_loss(
        self, made: Tensor, warped: Tensor, target: Tensor, run: Run
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_per, of the warped image too where that has a weight, and what to log."""
        perceptual = self.distance(made, target, run)
        loss, logged = perceptual, {"perceptual": perceptual.detach(), "l1": (made - target).abs().mean().detach()}
        if self.config.warp_weight > 0 and made is not warped:
            direct = self.distance(warped, target, run)
            loss, logged = loss + self.config.warp_weight * direct, logged | {"perceptual_warp": direct.detach()}
        return loss, logged


class JointStage(WarpingStage):
    """W and R against a discriminator that sees the target pose beside the picture (Eq. 6 and 8); most of W is at
    rest."""

    name = "joint"
    config: JointConfig

    def __init__(
        self,
        config: JointConfig,
        dataset: Dataset,
        matching: MatchingFlow,
        refinement: RefinementNet,
        sigma: float,
        schema: KeypointSchema,
    ) -> None:
        self.discriminator = PatchDiscriminator(3 + matching.config.joints, config.discriminator_width)
        super().__init__(config, dataset, matching, refinement, sigma, schema)
        self.modules["discriminator"] = self.discriminator
        self.rates = {"decoder": config.lr, "rest": config.rest_lr, "discriminator": config.discriminator_lr}

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The decoder's, that of W and the encoder, the discriminator's."""
        matching, refinement = self.modules["matching"], self.modules["refinement"]
        assert isinstance(refinement, RefinementNet)  # which `__init__` was given
        return {
            "decoder": torch.optim.Adam(refinement.decoder.parameters(), self.config.lr),
            "rest": torch.optim.Adam([*matching.parameters(), *refinement.encoder.parameters()], self.config.rest_lr),
            "discriminator": torch.optim.Adam(
                self.discriminator.parameters(), self.config.discriminator_lr, betas=(0.5, 0.999)
            ),
        }

    def reconstruction_task(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """Task 2 with the generative loss, then one step of the discriminator."""
        judge_loss, maker_loss = _ADVERSARIAL[self.config.adversarial]
        discriminator = self.modules["discriminator"]
        target = batch["frames"][:, 0]
        pose = self.maps(batch["keypoints"][:, 0], target)
        made, warped = self.generate(batch, run)
        loss, logged = self.reconstruction_loss(made, warped, target, run)
        discriminator.requires_grad_(False)
        with run.autocast():
            adversarial = maker_loss(discriminator(torch.cat([made, pose], 1)).float())
        self.update(loss + self.config.adversarial_weight * adversarial, run)
        discriminator.requires_grad_(True)
        with run.autocast():
            judged = judge_loss(
                *(discriminator(torch.cat([image, pose], 1)).float() for image in (target, made.detach()))
            )
        self.optimizers["discriminator"].zero_grad()
        run.backward(judged)
        self.optimizers["discriminator"].step()
        return logged | {"adversarial": adversarial.detach(), "discriminator": judged.detach()}
