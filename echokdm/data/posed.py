"""Cached training pairs of the face and body phantoms, in the form that `FlowPairs` draws from."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from echokdm.core.seeding import generator
from echokdm.core.types import KeypointSchema
from echokdm.data.pairs import FRAMES, PAIRS
from echokdm.data.store import ArrayStore
from echokdm.phantom.body import BodyPhantom
from echokdm.phantom.face import FacePhantom
from echokdm.phantom.posed import PosedPhantom

Kind = Literal["face", "body"]
_PHANTOMS: dict[str, type[PosedPhantom]] = {"face": FacePhantom, "body": BodyPhantom}


def schema_of(kind: Kind) -> KeypointSchema:
    """The key-points of this kind of phantom."""
    return _PHANTOMS[kind].schema


def posed_store(folder: Path, kind: Kind, count: int, size: int = 64, first_seed: int = 0, workers: int = 0) -> ArrayStore:
    """`count` identities, FRAMES frames each at drawn phases: images, key-points (px, nan where hidden), PAIRS exact flows.

    `pair` holds (target frame, source frame) of each flow; `phase` of each frame; the sector is the whole picture.
    workers: see `ArrayStore.fill`.
    """
    names = schema_of(kind).names
    layout = {"image": ((FRAMES, 3, size, size), "uint8"), "sector": ((size, size), "bool"),
              "keypoints": ((FRAMES, len(names), 2), "float32"), "flow": ((PAIRS, 2, size, size), "float16"),
              "pair": ((PAIRS, 2), "int64"), "phase": ((FRAMES,), "float32")}

    def produce(rows: range) -> dict[str, np.ndarray]:
        seeds = [first_seed + r for r in rows]
        phantom = _PHANTOMS[kind](seeds, size)
        phases = torch.stack([torch.rand(FRAMES, generator=generator(s, 81)) for s in seeds])
        pairs = torch.stack([_pairs(generator(s, 82)) for s in seeds])
        moments = [(phases.gather(1, pairs[:, k, :1])[:, 0], phases.gather(1, pairs[:, k, 1:])[:, 0]) for k in range(PAIRS)]
        points = torch.where(phantom.keypoints_visible(phases)[..., None], phantom.keypoints(phases), torch.nan)
        return {"image": (phantom.frames(phases) * 255).round().byte().numpy(), "sector": np.ones((len(seeds), size, size), bool),
                "keypoints": points.numpy(), "flow": torch.stack([phantom.flow(*m) for m in moments], 1).numpy().astype(np.float16),
                "pair": pairs.numpy(), "phase": phases.numpy()}

    origin = {"phantom": kind, "seed": first_seed, "size": size}
    return ArrayStore(folder, count, layout, origin).fill(produce, 8, f"{kind} phantoms", workers)


def _pairs(g: torch.Generator) -> Tensor:
    return torch.stack([torch.randperm(FRAMES, generator=g)[:2] for _ in range(PAIRS)])
