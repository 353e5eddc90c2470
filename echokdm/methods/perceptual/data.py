"""Pictures of every simulator here, cut and coloured at random: what the feature net learns from."""

from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.seeding import derive_seed
from echokdm.data.adapters.phantoms import HELD_OUT
from echokdm.data.pairs import phantom_store, procedural_store
from echokdm.data.posed import posed_store

SHARES = (0.3, 0.3, 0.2, 0.2)  # hearts, procedural pictures, faces, bodies


class PerceptualData(BaseModel):
    """How many simulated subjects, six pictures each; of procedural pictures there is one each."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    phantom: str = "heart"  # the kind that `echokdm evaluate` scores the bundle on
    hearts: int = 250
    procedural: int = 1200
    posed: int = 150  # faces, and as many bodies
    cache: str = "runs/cache"
    workers: int = 0  # processes that simulate and load


class Pictures(Dataset):
    """Item (step, i), of (seed, step, i) alone: `picture` (3, crop, crop) in [0, 1], mirrored, recoloured and of a
    drawn gain."""

    def __init__(self, data: PerceptualData, size: int, seed: int, crop: int) -> None:
        folder = Path(data.cache)
        hearts = phantom_store(folder / f"phantoms-{size}-{data.hearts}", data.hearts, size, workers=data.workers)
        leaves = procedural_store(
            folder / f"procedural-{size}-{data.procedural}", data.procedural, size, workers=data.workers
        )
        posed = [
            posed_store(folder / f"{kind}-{size}-{data.posed}", kind, data.posed, size, workers=data.workers)
            for kind in ("face", "body")
        ]
        self.sources = [hearts["image"], leaves["source"], *(store["image"] for store in posed)]
        self.seed, self.crop = seed, crop

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        rng = np.random.default_rng(derive_seed(self.seed, *key))
        picture = one_of(self.sources[rng.choice(len(SHARES), p=SHARES)], rng)
        top, left = (int(rng.integers(n - self.crop + 1)) for n in picture.shape[1:])
        picture = picture[rng.permutation(3), top : top + self.crop, left : left + self.crop]
        if rng.random() < 0.5:
            picture = picture.flip(-1)
        return {"picture": (picture * float(np.exp(rng.normal(0, 0.3)))).clamp(0, 1)}


def one_of(store: np.ndarray, rng: np.random.Generator) -> Tensor:
    """A drawn picture of a store (n, [frames,] [3,] S, S) uint8 -> (3, S, S) in [0, 1]."""
    picture = store[int(rng.integers(len(store)))]
    if picture.shape[0] not in (3, picture.shape[-1]):
        picture = picture[int(rng.integers(len(picture)))]
    return torch.from_numpy(picture.astype(np.float32) / 255).expand(3, -1, -1)


def stated_set(size: int = 112, seed: int = HELD_OUT) -> Tensor:
    """The 60 held-out pictures that distances are compared on: 16 hearts, 20 procedural pictures, 12 faces, 12 bodies;
    (60, 3, S, S)."""
    from echokdm.phantom.a4c import A4CPhantom
    from echokdm.phantom.body import BodyPhantom
    from echokdm.phantom.face import FacePhantom
    from echokdm.phantom.procedural import procedural_pairs

    phases = torch.linspace(0, 0.9, 12)[:, None]
    hearts = A4CPhantom(range(seed, seed + 16), size).frames(torch.linspace(0, 0.9, 16)[:, None])[:, 0]
    pictures = [hearts, procedural_pairs(seed, range(20), size).source]
    pictures += [kind(list(range(seed, seed + 12)), size).frames(phases)[:, 0] for kind in (FacePhantom, BodyPhantom)]
    return torch.cat([p.float().expand(-1, 3, -1, -1) for p in pictures])
