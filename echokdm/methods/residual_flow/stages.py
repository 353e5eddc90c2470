"""Training: F warmed up alone (Eq. 7), then all parts together (Eq. 8)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.types import KeypointSchema
from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.losses.adversarial import discriminator_lsgan, discriminator_minimax, generator_lsgan, generator_minimax
from echokdm.methods.residual_flow.conditions import conditions
from echokdm.methods.residual_flow.config import FlowConfig, JointConfig, ResidualFlowConfig
from echokdm.methods.residual_flow.objective import Objective
from echokdm.networks.discriminator import PatchDiscriminator
from echokdm.networks.flow_pyramid import FlowLevel, FlowPyramid
from echokdm.networks.residual_fusion import ResidualFusion

_ADVERSARIAL = {"minimax": (discriminator_minimax, generator_minimax), "lsgan": (discriminator_lsgan, generator_lsgan)}


class Drawn(NamedTuple):
    """target (B, 3, H, W) and sources (B, K, 3, H, W) in [0, 1]; target_keypoints (B, N, 2), source_keypoints (B, K, N,
    2) px."""

    target: Tensor
    sources: Tensor
    target_keypoints: Tensor
    source_keypoints: Tensor


def draw_sources(batch: dict[str, Tensor], most: int) -> Drawn:
    """The first frame is the target; the next K, drawn from 1 to `most` by torch's generator, are its sources."""
    frames, points = batch["frames"], batch["keypoints"]
    count = int(torch.randint(1, most + 1, ()))
    return Drawn(frames[:, 0], frames[:, 1 : 1 + count], points[:, 0], points[:, 1 : 1 + count])


class _ResidualFlowStage(Stage):
    """What both stages share."""

    def __init__(
        self,
        config: ResidualFlowConfig,
        settings: FlowConfig | JointConfig,
        dataset: Dataset,
        schema: KeypointSchema,
        flow_net: FlowPyramid,
    ) -> None:
        self.config, self.settings, self.dataset, self.batch_size, self.schema = (
            config,
            settings,
            dataset,
            settings.batch,
            schema,
        )
        self.objective = Objective(config.losses)
        self.frozen = dict(self.objective.networks)
        self.modules = {"flow_net": flow_net}

    def levels(self, drawn: Drawn) -> tuple[list[FlowLevel], Tensor]:
        """F's answer for all sources, and the target's structure (B, S, H, W)."""
        seen, start, structure = conditions(
            drawn.sources * 2 - 1,
            drawn.source_keypoints,
            drawn.target_keypoints,
            self.schema,
            self.config.network.motion_prior,
        )
        return self.modules["flow_net"](seen, start), structure


class FlowStage(_ResidualFlowStage):
    """Warm-up of F: its flows must fetch what looks like the target, and bend little (Eq. 7)."""

    name = "flow"

    def __init__(
        self, config: ResidualFlowConfig, dataset: Dataset, schema: KeypointSchema, flow_net: FlowPyramid
    ) -> None:
        super().__init__(config, config.flow, dataset, schema, flow_net)
        self.optimizers = {"adam": torch.optim.Adam(flow_net.parameters(), config.flow.lr)}

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One step of Eq. 7."""
        optimizer = self.optimizers["adam"]
        cosine_with_warmup(optimizer, self.settings.lr, run)
        drawn = draw_sources(batch, self.config.sources)
        with run.autocast():
            levels, _ = self.levels(drawn)
        terms = self.objective.flow_loss(
            drawn.sources, drawn.target, [FlowLevel(*(v.float() for v in level)) for level in levels]
        )
        loss = self.objective.weighted(terms)
        optimizer.zero_grad()
        run.backward(loss)
        optimizer.step()
        return {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}}


class JointStage(_ResidualFlowStage):
    """F, the fusing network and a discriminator (Eq. 8)."""

    name = "joint"

    def __init__(
        self,
        config: ResidualFlowConfig,
        dataset: Dataset,
        schema: KeypointSchema,
        flow_net: FlowPyramid,
        fusion: ResidualFusion,
    ) -> None:
        settings = config.joint
        super().__init__(config, settings, dataset, schema, flow_net)
        self.modules["fusion"] = fusion
        self.optimizers = {"adam": torch.optim.Adam([*flow_net.parameters(), *fusion.parameters()], settings.lr)}
        if config.losses.adversarial > 0:
            judge = PatchDiscriminator(fusion.config.image_channels, settings.discriminator_width)
            self.modules["discriminator"] = judge
            self.optimizers["discriminator"] = torch.optim.Adam(
                judge.parameters(), settings.discriminator_lr, betas=(0.5, 0.999)
            )
        self.ema_of, self.ema_decay = ("flow_net", "fusion"), settings.ema_decay

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One step of Eq. 8: the networks, then the discriminator."""
        optimizer, judge = self.optimizers["adam"], self.modules.get("discriminator")
        judge_loss, fool_loss = _ADVERSARIAL[self.config.losses.adversarial_kind]
        cosine_with_warmup(optimizer, self.settings.lr, run)
        drawn = draw_sources(batch, self.config.sources)
        target = drawn.target * 2 - 1
        with run.autocast():
            levels, structure = self.levels(drawn)
        # half precision can't hold a place in a picture
        levels = [FlowLevel(*(v.float() for v in level)) for level in levels]
        with run.autocast():
            made = self.modules["fusion"](drawn.sources * 2 - 1, structure, levels).image.float()
        terms = self.objective.flow_loss(drawn.sources, drawn.target, levels) | self.objective.content_loss(
            made, target
        )
        if judge is not None:
            judge.requires_grad_(False)
            terms["adversarial"] = fool_loss(judge(made).float())
            judge.requires_grad_(True)
        loss = self.objective.weighted(terms)
        optimizer.zero_grad()
        run.backward(loss)
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        logged = {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}}
        if judge is not None:
            other = self.optimizers["discriminator"]
            judged = judge_loss(judge(target).float(), judge(made.detach()).float())
            other.zero_grad()
            run.backward(judged)
            other.step()
            logged["discriminator"] = judged.detach()
        return logged
