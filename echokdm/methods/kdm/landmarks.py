"""Training of the network that finds key-points in pictures of faces and bodies, as the segmenter does in hearts."""

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.networks.landmarks import LandmarkNet, spread


class LandmarksConfig(BaseModel):
    """The detector of key-points; hearts have the segmenter instead."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = 1500
    batch: int = 16
    lr: float = 2e-3
    spread: float = 1.0  # px; standard deviation that heat maps are drawn towards
    spread_weight: float = 0.05


class LandmarkStage(Stage):
    """L1 of the places in px, and the heat maps' spread held near `spread` px; points that are not seen (nan) teach
    nothing.

    dataset: gives `source` and `source_keypoints`. held_out: other identities, of which `validate` scores the mean
    distance in `validated` pictures.
    """

    name = "landmarks"
    ema_of = ("landmarks",)
    ema_decay = 0.999

    def __init__(
        self,
        config: LandmarksConfig,
        dataset: Dataset,
        points: int,
        *,
        held_out: Dataset | None = None,
        validated: int = 100,
        network: LandmarkNet | None = None,
    ) -> None:
        self.config, self.dataset, self.batch_size = config, dataset, config.batch
        self.held_out, self.validated = held_out, validated
        self.network = network if network is not None else LandmarkNet(points)
        self.modules, self.frozen = {self.name: self.network}, {}
        self.optimizers = {"adamw": torch.optim.AdamW(self.network.parameters(), config.lr, weight_decay=1e-4)}

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One AdamW step on drawn gains, colours and noise; logs the distance in px."""
        optimizer = self.optimizers["adamw"]
        cosine_with_warmup(optimizer, self.config.lr, run)
        images, truth = _varied(batch["source"]), batch["source_keypoints"]
        with run.autocast():
            found, heat = self.modules[self.name](images)
        seen = torch.isfinite(truth).all(-1)
        distance = (found - truth.nan_to_num(0.0)).abs().sum(-1)
        losses = distance + self.config.spread_weight * (spread(found, heat) - self.config.spread).square()
        loss = losses[seen].mean()
        optimizer.zero_grad()
        run.backward(loss)
        optimizer.step()
        return {"loss": loss.detach(), "px": (found - truth)[seen].detach().norm(dim=-1).mean()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean distance in px over points that are seen in held-out pictures."""
        if self.held_out is None:
            return {}
        items = [self.held_out[(0, i)] for i in range(self.validated)]
        found, _ = self.network.eval().detect(torch.stack([item["source"] for item in items]))
        distance = (found - torch.stack([item["source_keypoints"] for item in items])).norm(dim=-1)
        self.network.train()
        return {"landmarks/px": float(distance[torch.isfinite(distance)].mean())}


def _varied(images: Tensor) -> Tensor:
    """Gamma, gain a channel, and noise, from torch's global generator; the images stay in [0, 1]."""
    draw = torch.rand(len(images), 5, 1, 1, device=images.device)
    images = (images.clamp_min(1e-4) ** torch.exp(draw[:, :1] - 0.5) * (0.7 + 0.6 * draw[:, 1:4])).clamp(0, 1)
    return (images + 0.08 * draw[:, 4:] * torch.randn_like(images)).clamp(0, 1)
