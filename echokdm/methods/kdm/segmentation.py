"""Training of the left-ventricle segmenter on augmented phantom frames."""

from typing import ClassVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.seeding import derive_seed
from echokdm.data.intensity import RandIntensity
from echokdm.data.store import ArrayStore
from echokdm.data.transforms import RandSpatial
from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.networks.segmenter import LV, MYOCARDIUM, Segmenter


class EmptyFrames(Dataset):
    """Frames without a heart: procedural images, and in one of four noise alone; label all background, keyed by (step, i)."""

    def __init__(self, procedural: ArrayStore, seed: int) -> None:
        self.procedural, self.seed = procedural, seed

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        rng = np.random.default_rng(derive_seed(self.seed, *key))
        row = int(rng.integers(self.procedural.count))
        sector = torch.from_numpy(self.procedural["sector"][row].astype(np.float32))[None]
        if rng.random() < 0.25:
            grain = gaussian_filter(rng.standard_normal(sector.shape[1:]), rng.uniform(0.3, 6.0))
            noise = rng.uniform(0.0, 0.6) + rng.uniform(0.0, 0.3) * grain / grain.std()
            image = torch.from_numpy(noise.clip(0, 1).astype(np.float32))[None] * sector
        else:
            image = torch.from_numpy(self.procedural["source"][row].astype(np.float32))[None] / 255
        return {"image": image, "label": torch.zeros(image.shape, dtype=torch.int64), "sector": sector}


class AugmentedFrames(Dataset):
    """Item (step, i) of `frames`, changed at random; what is drawn depends on (seed, step, i) alone.

    Half the hearts are mirrored, since some laboratories show the left ventricle on the left.

    frames: keyed by (step, i), with image (1, S, S) in [0, 1], label (1, S, S) int64, sector (1, S, S) float.
    empty: of the same form without a heart, taken with probability empty_share, so that the segmenter learns to find
    nothing where there is nothing. plain_share: of items that are moved alone, their gray levels left as they are.
    """

    def __init__(self, frames: Dataset, seed: int, empty: Dataset | None = None, empty_share: float = 0.12,
                 plain_share: float = 0.4) -> None:
        self.frames, self.seed, self.empty, self.empty_share, self.plain_share = frames, seed, empty, empty_share, plain_share

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        seed = derive_seed(self.seed, *key)
        heartless = self.empty is not None and (seed >> 32) % 10_000 < 10_000 * self.empty_share
        item = (self.empty if heartless else self.frames)[key]
        moved = RandSpatial(flip=0.5).set_random_state(seed % 2**32)({k: item[k] for k in ("image", "label", "sector")})
        moved["label"] = moved["label"] * (moved["sector"] > 0)
        if (seed >> 16) % 10_000 < 10_000 * self.plain_share:
            return moved
        out = RandIntensity().set_random_state((seed + 1) % 2**32)(moved)
        # A wall that has gone would teach to see hearts in the dark.
        return out if heartless or _wall_contrast(out) > 0.03 else moved


def _wall_contrast(item: dict[str, Tensor]) -> float:
    """How much brighter the myocardium is than the ventricle, in gray; 1 where one of them is out of the picture."""
    cavity, wall = (item["image"][item["label"] == label] for label in (LV, MYOCARDIUM))
    return float(wall.mean() - cavity.mean()) if len(cavity) and len(wall) else 1.0


class SegmenterStage(Stage):
    """Dice plus cross-entropy (MONAI's DiceCELoss), no class weighted, on phantom frames under strong augmentation.

    frames: as `AugmentedFrames` takes them. empty: heartless frames, or None. held_out: frames of other patients, of
    which `validate` scores `validated` by the ventricle's Dice, unaugmented. network: trained weights to go on from.
    """

    name: ClassVar[str] = "segmenter"
    ema_of = ("segmenter",)
    ema_decay = 0.999

    def __init__(self, frames: Dataset, seed: int = 0, *, empty: Dataset | None = None, held_out: Dataset | None = None,
                 validated: int = 200, batch_size: int = 16, learning_rate: float = 2e-3, network: Segmenter | None = None) -> None:
        from monai.losses import DiceCELoss

        self.network = network if network is not None else Segmenter()
        self.modules = {"segmenter": self.network}
        self.frozen = {}
        self.learning_rate = learning_rate
        self.optimizers = {"segmenter": torch.optim.AdamW(self.network.parameters(), lr=learning_rate, weight_decay=1e-3)}
        self.dataset = AugmentedFrames(frames, seed, empty)
        self.held_out, self.validated = held_out, validated
        self.batch_size = batch_size
        self.loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One AdamW step; logs the loss and the soft Dice of the ventricle."""
        optimizer = self.optimizers["segmenter"]
        cosine_with_warmup(optimizer, self.learning_rate, run)
        self.loss.to(run.device)
        with run.autocast():
            logits = self.modules["segmenter"](batch["image"], batch["sector"])
        loss = self.loss(logits.float(), batch["label"])
        optimizer.zero_grad()
        run.backward(loss)
        optimizer.step()
        return {"loss": loss.detach(), "dice": lv_dice(logits.detach().argmax(1), batch["label"][:, 0]).mean()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean Dice of the ventricle over the held-out frames."""
        if self.held_out is None:
            return {}
        network = self.network.eval()
        device = next(network.parameters()).device
        scores = []
        for i in range(self.validated):
            item = {k: v.to(device)[None] for k, v in self.held_out[(0, i)].items()}
            logits = network(item["image"], item["sector"])
            scores.append(lv_dice(logits.argmax(1), (item["label"] * (item["sector"] > 0))[:, 0]))
        network.train()
        return {"segmenter/dice": float(torch.cat(scores).mean())}


def lv_dice(predicted: Tensor, target: Tensor) -> Tensor:
    """Dice coefficient (B,) of the ventricle between label maps (B, H, W); 1 where both have none."""
    a, b = predicted == LV, target == LV
    overlap, total = (a & b).sum((1, 2)).float(), (a.sum((1, 2)) + b.sum((1, 2))).float()
    return torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(total))
