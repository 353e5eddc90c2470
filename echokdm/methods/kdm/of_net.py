"""Unsupervised training of the OF-net (KDM, section 3.1, "details as in ARFlow"): no flow is ever shown to it."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.types import luma
from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.losses.occlusion import forward_backward_occlusion, splat_occlusion
from echokdm.losses.photometric import census_distance, l1_distance, masked_mean, ssim_distance
from echokdm.losses.smoothness import smoothness
from echokdm.methods.kdm.analogy import make_analogy
from echokdm.networks.pwc_lite import PWCLite
from echokdm.ops.warp import warp


class OFNetConfig(BaseModel):
    """The flow network and its recipe. The network's channels are half of the published ones, for a CPU."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = 3000
    batch: int = 8
    lr: float = 1e-3  # ARFlow: 1e-4, over far more steps
    pyramid: tuple[int, ...] = (16, 32, 48, 64, 96, 128)
    estimator: tuple[int, ...] = (64, 64, 48, 32, 32)
    context: tuple[int, ...] = (64, 64, 64, 48, 32, 32)
    radius: int = 4  # of the cost volume, px of each level
    normalized_cost: bool = True  # not in ARFlow; without it, nothing was learned in a first 150 steps
    level_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 0.0)  # finest first
    census_radius: int = 1  # px
    # gray levels of 255; the usual 0.9 leaves speckle, whose neighbours differ by more, no gradient
    census_softness: float = 8.0
    brightness_from: float = 0.25  # share of the steps after which L1 and SSIM take the census' place
    l1_weight: float = 0.15
    ssim_weight: float = 0.85
    smoothness_weight: float = 0.1  # a px of flow
    smoothness_order: Literal[1, 2] = 1
    edge_alpha: float = 10.0
    # share of the steps; before that, occlusion by splatting, since flows are still wild
    forward_backward_from: float = 0.5
    analogy_weight: float = 0.01
    analogy_from: float = 0.5  # share of the steps


class OFNetStage(Stage):
    """ARFlow on pairs {"source", "target", "sector"}, images in [0, 1] by their luma; losses count inside the sector
    (B, 1, H, W).

    held_out: items with "flow" as well, (2, H, W) px, of which `validate` scores `validated`. network: weights to go on
    from.
    """

    name = "of_net"
    ema_of = ("of_net",)
    ema_decay = 0.999

    def __init__(
        self,
        config: OFNetConfig,
        dataset: Dataset,
        *,
        held_out: Dataset | None = None,
        validated: int = 200,
        network: PWCLite | None = None,
    ) -> None:
        self.config, self.dataset, self.batch_size = config, dataset, config.batch
        self.held_out, self.validated = held_out, validated
        self.network = (
            network
            if network is not None
            else PWCLite(
                pyramid=config.pyramid,
                estimator=config.estimator,
                context=config.context,
                radius=config.radius,
                normalized_cost=config.normalized_cost,
            )
        )
        # A fifth faster on a CPU; diffusers' `to` wraps torch's in a way that no type tells.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-arg]
        self.modules = {"of_net": self.network}
        self.frozen = {}
        self.optimizers = {"of_net": torch.optim.Adam(self.network.parameters(), config.lr)}

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One Adam step on both directions of every pair; logs the parts of the loss."""
        config, network, optimizer = self.config, self.modules["of_net"], self.optimizers["of_net"]
        cosine_with_warmup(optimizer, config.lr, run)
        progress = run.step / max(run.total_steps, 1)
        target, source, sector = luma(batch["target"]), luma(batch["source"]), batch["sector"].float()
        with run.autocast():
            flows = network(target, source, both_ways=True)
        first, second = torch.cat([target, source]), torch.cat([source, target])
        inside = torch.cat([sector, sector])
        visible = self.visibility(flows[0].detach().float(), inside, progress >= config.forward_backward_from)
        photometric = self.photometric(flows, first, second, visible, progress >= config.brightness_from)
        smooth = smoothness(flows[0].float(), first, inside, config.edge_alpha, config.smoothness_order)
        loss = photometric + config.smoothness_weight * smooth
        logged = {
            "photometric": photometric.detach(),
            "smoothness": smooth.detach(),
            "visible": visible.sum().detach() / inside.sum().clamp_min(1),
        }
        if progress >= config.analogy_from and config.analogy_weight > 0:
            n = len(target)
            with torch.no_grad():
                changed = make_analogy(target, source, flows[0][:n].float(), visible[:n])
            with run.autocast():
                again = network(changed.target, changed.source)[0]
            analogy = masked_mean((again.float() - changed.flow).abs(), changed.weight)
            loss = loss + config.analogy_weight * analogy
            logged["analogy"] = analogy.detach()
        optimizer.zero_grad()
        run.backward(loss)
        optimizer.step()
        return logged

    @torch.no_grad()
    def visibility(self, flow: Tensor, sector: Tensor, forward_backward: bool) -> Tensor:
        """Where target pixels have a counterpart inside the sector, (2B, 1, H, W); flow (2B, 2, H, W) holds both
        directions."""
        reverse = flow.roll(len(flow) // 2, 0)
        occluded = forward_backward_occlusion(flow, reverse) if forward_backward else splat_occlusion(reverse)
        return sector * (1 - occluded) * (warp(sector, flow, padding="zeros") > 0.5)

    def photometric(
        self, flows: list[Tensor], target: Tensor, source: Tensor, visible: Tensor, brightness: bool
    ) -> Tensor:
        """Weighted sum over levels of the distance between target and warped source, mean over visible pixels."""
        config = self.config
        total = target.new_zeros(())
        for level, (flow, weight) in enumerate(zip(flows, config.level_weights, strict=True)):
            if level:
                target, source, visible = halve(target), halve(source), visible[:, :, ::2, ::2]
            if weight == 0:
                continue
            warped = warp(source, flow.float())
            if brightness:
                distance = config.l1_weight * l1_distance(warped, target) + config.ssim_weight * ssim_distance(
                    warped, target
                )
            else:
                distance = census_distance(warped, target, config.census_radius, config.census_softness)
            total = total + weight * masked_mean(distance, visible)
        return total

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean end-point error in px inside the sector, of the network and of zero flow, on held-out pairs."""
        if self.held_out is None:
            return {}
        network = self.network.eval()
        device = next(network.parameters()).device
        errors, zero = [], []
        for i in range(self.validated):
            item = {k: self.held_out[(0, i)][k].to(device)[None] for k in ("target", "source", "flow", "sector")}
            inside = item["sector"].float()
            inside = inside * (warp(inside, item["flow"], padding="zeros") > 0.5)
            errors.append(
                end_point_error(network.flow(luma(item["target"]), luma(item["source"])), item["flow"], inside)
            )
            zero.append(end_point_error(torch.zeros_like(item["flow"]), item["flow"], inside))
        return {
            "of_net/end_point_error": float(torch.stack(errors).mean()),
            "of_net/zero_flow_error": float(torch.stack(zero).mean()),
        }


def halve(image: Tensor) -> Tensor:
    """Every second pixel of an image (B, C, H, W) after a binomial blur: pixel i shows place 2 i, as the network's
    levels do."""
    kernel = image.new_tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16).expand(image.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernel, stride=2, groups=image.shape[1])


def end_point_error(flow: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean Euclidean distance in px of two flows (B, 2, H, W) where `mask` (B, 1, H, W) holds; a scalar."""
    return masked_mean((flow - truth).square().sum(1, keepdim=True).sqrt(), mask)
