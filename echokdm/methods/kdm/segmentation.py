"""Training of the left-ventricle segmenter on augmented phantom clips and, where there are any, outlined frames of
patients."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.labels import Label
from echokdm.core.seeding import derive_seed
from echokdm.data.intensity import RandIntensity
from echokdm.data.pump import pump
from echokdm.data.store import ArrayStore
from echokdm.data.transforms import RandSpatial
from echokdm.engine.stage import Run, Stage, cosine_with_warmup
from echokdm.losses.partial_labels import merge_untold
from echokdm.networks.segmenter import CLASSES, Judge, Segmenter

KEPT = 0.7  # of the contrast of wall and cavity, below which a change of gray levels is not used
SHOWN = 2  # frames of a clip that are learned from in one step


class EmptyClips(Dataset):
    """Two frames without a heart: procedural images, and in one of four noise alone; label all background, keyed by
    (step, i)."""

    def __init__(self, procedural: ArrayStore, seed: int) -> None:
        self.procedural, self.seed = procedural, seed

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        rng = np.random.default_rng(derive_seed(self.seed, *key))
        row = int(rng.integers(self.procedural.count))
        sector = torch.from_numpy(self.procedural["sector"][row].astype(np.float32))[None]
        if rng.random() < 0.25:
            width = rng.uniform(0.3, 6.0)
            grain = gaussian_filter(rng.standard_normal((2, *sector.shape[1:])), (0, width, width))
            noise = rng.uniform(0.0, 0.6) + rng.uniform(0.0, 0.3) * grain / grain.std()
            image = torch.from_numpy(noise.clip(0, 1).astype(np.float32)) * sector
        else:
            image = (
                torch.from_numpy(np.stack([self.procedural[k][row] for k in ("source", "target")]).astype(np.float32))
                / 255
            )
        return {"image": image, "label": torch.zeros(image.shape, dtype=torch.int64), "sector": sector}


class AugmentedClips(Dataset):
    """Item (step, i) of `clips`, changed at random; what is drawn depends on (seed, step, i) alone.

    Gives SHOWN frames of it, image and label (SHOWN, S, S), sector (1, S, S), and told (classes,): those that the
    labels tell of. Half of the items show the first frames, which are ED and ES: what is small at times is learned as
    small. Half the hearts are mirrored, since some laboratories show the left ventricle on the left.

    clips: keyed by (step, i), with image (F, S, S) in [0, 1], label (F, S, S) int64, sector (1, S, S) float, and told,
    all where it is not given. empty: of the same form without a heart, taken with probability empty_share, so that the
    segmenter learns to find nothing where there is nothing. outlined: of the same form, of patients, taken with
    probability outlined_share of the rest. plain_share: of items that are moved alone, their gray levels left as they
    are. pumped_share: of the hearts that have filled or emptied further, see `data.pump.pump`.
    """

    def __init__(
        self,
        clips: Dataset,
        seed: int,
        empty: Dataset | None = None,
        empty_share: float = 0.12,
        plain_share: float = 0.4,
        outlined: Dataset | None = None,
        outlined_share: float = 0.0,
        pumped_share: float = 0.0,
    ) -> None:
        self.pumped_share = pumped_share
        self.clips, self.seed, self.empty, self.empty_share, self.plain_share = (
            clips,
            seed,
            empty,
            empty_share,
            plain_share,
        )
        self.outlined, self.outlined_share = outlined, outlined_share

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        seed = derive_seed(self.seed, *key)
        rng = np.random.default_rng(seed)
        heartless, plain = self.empty is not None and rng.random() < self.empty_share, rng.random() < self.plain_share
        clips = self.outlined if self.outlined is not None and rng.random() < self.outlined_share else self.clips
        item = clips[key] if self.empty is None or not heartless else self.empty[key]
        if not heartless and rng.random() < self.pumped_share:
            item = pump(item, rng)
        told = item.get("told", torch.ones(len(CLASSES), dtype=torch.bool))
        spatial = RandSpatial(flip=0.5)
        spatial.set_random_state(seed % 2**32)
        out = spatial({k: item[k] for k in ("image", "label", "sector")})
        out["label"] = out["label"] * (out["sector"] > 0)
        if not plain:
            intensity = RandIntensity()
            intensity.set_random_state((seed + 1) % 2**32)
            changed = intensity(out)
            # Walls that have gone would teach to see hearts in the dark; walls that were faint from the start are real.
            out = changed if heartless or _wall_contrast(changed) >= KEPT * _wall_contrast(out) else out
        order = rng.permutation(len(out["image"])) if rng.random() < 0.5 else np.arange(len(out["image"]))
        shown = torch.from_numpy(order)[torch.arange(SHOWN) % len(order)]
        return {"image": out["image"][shown], "label": out["label"][shown], "sector": out["sector"], "told": told}


def _wall_contrast(item: dict[str, Tensor]) -> float:
    """By how many spreads of their gray the myocardium differs from the ventricle; 0 where one of them is out of the
    picture."""
    cavity, wall = (item["image"][item["label"] == label] for label in (Label.LV, Label.MYOCARDIUM))
    if len(cavity) < 2 or len(wall) < 2:
        return 0.0
    return float((wall.mean() - cavity.mean()).abs() / (0.5 * (wall.var() + cavity.var())).sqrt().clamp(min=1e-3))


class SegmenterStage(Stage):
    """Dice plus cross-entropy (MONAI's DiceCELoss), no class weighted, on phantom clips under strong augmentation.

    A batch is `batch_size` frames. held_out: clips of other patients, of which `validate` scores `validated` by the
    ventricle's Dice, unaugmented. network: trained weights to go on from.
    """

    name = "segmenter"
    kind: ClassVar[type[Segmenter | Judge]] = Segmenter
    ema_decay = 0.999

    def __init__(
        self,
        clips: AugmentedClips,
        *,
        held_out: Dataset | None = None,
        validated: int = 100,
        batch_size: int = 16,
        learning_rate: float = 2e-3,
        network: Segmenter | Judge | None = None,
    ) -> None:
        from monai.losses import DiceCELoss

        self.network = network if network is not None else self.kind()
        self.modules, self.ema_of = {self.name: self.network}, (self.name,)
        self.frozen = {}
        self.learning_rate = learning_rate
        self.optimizers = {"adamw": torch.optim.AdamW(self.network.parameters(), lr=learning_rate, weight_decay=1e-3)}
        self.dataset = clips
        self.held_out, self.validated = held_out, validated
        self.batch_size = batch_size // SHOWN
        self.loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)

    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One AdamW step; logs the loss and the soft Dice of the ventricle."""
        optimizer = self.optimizers["adamw"]
        cosine_with_warmup(optimizer, self.learning_rate, run)
        self.loss.to(run.device)
        with run.autocast():
            logits = self.modules[self.name](*frames_of(batch))
        label = batch["label"].flatten(0, 1)
        told = batch["told"].repeat_interleave(batch["image"].shape[1], 0)
        loss = self.loss(merge_untold(logits.float(), told), label[:, None])
        optimizer.zero_grad()
        run.backward(loss)
        optimizer.step()
        return {"loss": loss.detach(), "dice": lv_dice(logits.detach().argmax(1), label).mean()}

    def validate(self) -> dict[str, float]:
        """Mean Dice of the ventricle over the held-out frames."""
        if self.held_out is None:
            return {}
        scores = frame_dice(self.network, (self.held_out[(0, i)] for i in range(self.validated)))
        self.network.train()
        return {f"{self.name}/dice": float(scores.mean())}


class JudgeStage(SegmenterStage):
    """The second network's, on hearts that the segmenter never saw, so that who teaches F2I-net does not mark its
    pictures."""

    name = "judge"
    kind: ClassVar[type[Segmenter | Judge]] = Judge


@torch.no_grad()
def frame_dice(network: Segmenter | Judge, items: Iterable[dict[str, Tensor]]) -> Tensor:
    """Dice (N, F) of the ventricle, by the likeliest class, in N items of F frames as `AugmentedClips` takes them, each
    frame by itself."""
    device = next(network.eval().parameters()).device
    scores = []
    for item in items:
        clip = {k: v.to(device)[None] for k, v in item.items()}
        logits = network(*frames_of(clip))
        scores.append(lv_dice(logits.argmax(1), (clip["label"] * (clip["sector"] > 0))[0]))
    return torch.stack(scores)


def frames_of(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What the segmenter takes: image (B F, 1, S, S), sector (B F, 1, S, S) of B clips of F frames, each by itself."""
    return batch["image"].flatten(0, 1)[:, None], batch["sector"].repeat_interleave(batch["image"].shape[1], 0)


def lv_dice(predicted: Tensor, target: Tensor) -> Tensor:
    """Dice coefficient (B,) of the ventricle between label maps (B, H, W); 1 where both have none."""
    a, b = predicted == Label.LV, target == Label.LV
    overlap, total = (a & b).sum((1, 2)).float(), (a.sum((1, 2)) + b.sum((1, 2))).float()
    return torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(total))
