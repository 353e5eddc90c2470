"""Training of all networks together by reconstruction of a driving frame from others of its sequence (Eq. 7 to 9)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.losses.equivariance import crowding, deform, equivariance, random_deformation
from echokdm.losses.features import Features
from echokdm.losses.pyramid import pyramid_perceptual
from echokdm.methods.evolution.animator import Networks, look, render
from echokdm.methods.evolution.config import AnimatorConfig
from echokdm.networks.appearance_flow import AppearanceFlow
from echokdm.networks.keypoint_detector import KeypointDetector
from echokdm.networks.keypoint_motion import KeypointMotion
from echokdm.networks.ode_field import ODEField
from echokdm.networks.warp_generator import WarpGenerator


def build_networks(config: AnimatorConfig) -> dict[str, nn.Module]:
    """Fresh networks by component name; those of an ablation are left out."""
    inputs = 2 if config.self_appearance else 1
    generator = WarpGenerator(
        config.generator_width,
        config.generator_widest,
        config.generator_downs,
        config.generator_blocks,
        inputs,
        copies=inputs if config.copy_pixels else 0,
    )
    parts: dict[str, nn.Module] = {
        "keypoints": KeypointDetector(config.points, config.downscale, config.keypoint_widths, config.temperature),
        "motion": KeypointMotion(config.points, config.downscale, config.motion_widths),
        "generator": generator,
    }
    if config.evolution:
        parts["field"] = ODEField(
            config.field_width, solver=config.solver, steps=config.solver_steps, adjoint=config.adjoint
        )
    if config.self_appearance:
        parts["appearance"] = AppearanceFlow(generator.channels, config.appearance_widths)
    return parts


def recolour(frames: Tensor, most: float) -> Tensor:
    """Frames (B, n, 3, S, S) in [0, 1] with brightness, contrast, saturation and hue changed by `most` at most, alike
    in all n of an item.

    As FOMM trains, whose strategy the paper follows; its reversal of time is in an item's drawn order. Drawn by torch's
    generator.
    """
    if most == 0:
        return frames
    from torchvision.transforms import ColorJitter

    change = ColorJitter(most, most, most, most)
    return torch.stack([change(item) for item in frames])


class AnimatorStage(Stage):
    """Reconstruct the first frame of an item, the driving one, from the second, its source, and from the rest, its
    references.

    dataset: items with `frames` (2 + references, 3, S, S) in [0, 1]. parts: the networks, as of `build_networks`.
    """

    name = "animator"

    def __init__(self, config: AnimatorConfig, dataset: Dataset, parts: dict[str, Any]) -> None:
        self.config, self.dataset, self.batch_size = config, dataset, config.batch
        self.modules = dict(parts)
        self.features = Features(config.backbone, config.layers)
        self.frozen = {"features": self.features}
        self.parameters = [p for module in self.modules.values() for p in module.parameters()]
        self.optimizers = {"adam": torch.optim.Adam(self.parameters, config.lr, betas=(0.5, 0.999))}
        self.ema_of, self.ema_decay = tuple(self.modules), config.ema_decay

    def networks(self) -> Networks:
        """The networks as they are now."""
        parts: dict[str, Any] = {name: self.modules.get(name) for name in Networks._fields}
        return Networks(**parts)

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One step on `frames` (B, 2 + N, 3, S, S)."""
        config, networks = self.config, self.networks()
        frames = recolour(batch["frames"], config.colour)
        cosine_with_warmup(self.optimizers["adam"], config.lr, run)
        points, loss, logged = self.keypoint_losses(frames[:, :2])
        if run.step >= config.keypoint_steps:
            fewest = min(config.fewest_references, config.references)
            shown = int(torch.randint(fewest, config.references + 1, ()))
            driving, chosen = frames[:, 0], frames[:, 1 : 2 + shown]
            with run.autocast():
                made = render(networks, look(networks, chosen), points[:, 0])
                perceptual = pyramid_perceptual(self.features, made.image, driving, config.scales)
            loss = loss + config.perceptual_weight * perceptual
            logged |= {
                "perceptual": perceptual.detach(),
                "l1": (made.image - driving).abs().mean().detach(),
                "evolved": (made.motion - made.coarse).abs().mean().detach(),
            }
        self.optimizers["adam"].zero_grad()
        run.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.parameters, 10.0)
        self.optimizers["adam"].step()
        return {"loss": loss.detach()} | logged

    def keypoint_losses(self, frames: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Key-points (B, 2, K, 2) px of frames (B, 2, 3, S, S), the weighted losses on them alone (Eq. 8), and what to
        log."""
        config, images = self.config, frames.flatten(0, 1)
        size = images.shape[2], images.shape[3]
        bent = random_deformation(len(images), *size, config.affine, config.spline)
        found, moved = self.networks().keypoints(torch.cat([images, deform(images, bent)])).chunk(2)
        follow, crowd = equivariance(found, moved, bent, *size), crowding(found, *size)
        loss = config.equivariance_weight * follow + config.crowding_weight * crowd
        return found.unflatten(0, frames.shape[:2]), loss, {"equivariance": follow.detach(), "crowding": crowd.detach()}
