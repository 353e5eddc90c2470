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
MOST_EDITED = 3  # of a pose's parameters
_PHANTOMS: dict[str, type[PosedPhantom]] = {"face": FacePhantom, "body": BodyPhantom}


def schema_of(kind: Kind) -> KeypointSchema:
    """The key-points of this kind of phantom."""
    return _PHANTOMS[kind].schema


def posed_store(
    folder: Path, kind: Kind, count: int, size: int = 64, first_seed: int = 0, workers: int = 0, edits: bool = False
) -> ArrayStore:
    """`count` identities, FRAMES frames each at drawn phases: images, key-points (px, nan where hidden), PAIRS exact
    flows.

    `pair` holds (target frame, source frame) of each flow; the sector is the whole picture. workers: see
    `ArrayStore.fill`. edits: the later half of the frames are those of the first half with few of the pose's parameters
    changed, as somebody asks who opens a mouth or lifts an arm; half of the pairs are of such frames.
    """
    names = schema_of(kind).names
    layout = {
        "image": ((FRAMES, 3, size, size), "uint8"),
        "sector": ((size, size), "bool"),
        "keypoints": ((FRAMES, len(names), 2), "float32"),
        "flow": ((PAIRS, 2, size, size), "float16"),
        "pair": ((PAIRS, 2), "int64"),
    }

    def produce(rows: range) -> dict[str, np.ndarray]:
        seeds = [first_seed + r for r in rows]
        phantom = _PHANTOMS[kind](seeds, size)
        poses = phantom.poses(torch.stack([torch.rand(FRAMES, generator=generator(s, 81)) for s in seeds]))
        if edits:
            poses = torch.stack([_edited(pose, generator(s, 83)) for pose, s in zip(poses, seeds, strict=True)])
        pairs = torch.stack([_pairs(generator(s, 82), edits) for s in seeds])
        each = torch.arange(len(seeds))
        flows = [phantom.flow(poses[each, pairs[:, k, 0]], poses[each, pairs[:, k, 1]]) for k in range(PAIRS)]
        points = torch.where(phantom.keypoints_visible(poses)[..., None], phantom.keypoints(poses), torch.nan)
        return {
            "image": (phantom.frames(poses) * 255).round().byte().numpy(),
            "sector": np.ones((len(seeds), size, size), bool),
            "keypoints": points.numpy(),
            "flow": torch.stack(flows, 1).numpy().astype(np.float16),
            "pair": pairs.numpy(),
        }

    origin = {"phantom": kind, "seed": first_seed, "size": size} | ({"edits": True} if edits else {})
    return ArrayStore(folder, count, layout, origin).fill(produce, 8, f"{kind} phantoms", workers)


def _pairs(g: torch.Generator, edits: bool) -> Tensor:
    """(PAIRS, 2) of (target frame, source frame); with `edits` every other is of a frame and its edit, either way."""
    pairs = [torch.randperm(FRAMES, generator=g)[:2] for _ in range(PAIRS)]
    if edits:
        half = FRAMES // 2
        pairs[::2] = [(pair[0] % half + torch.tensor([0, half])).roll(int(pair[0]) // half) for pair in pairs[::2]]
    return torch.stack(pairs)


def _edited(poses: Tensor, g: torch.Generator) -> Tensor:
    """Poses (FRAMES, P): the first half as they are, then those again with one to MOST_EDITED parameters of the later
    half's."""
    half, changed = FRAMES // 2, torch.zeros(FRAMES - FRAMES // 2, poses.shape[1], dtype=torch.bool)
    for row in changed:
        row[torch.randperm(len(row), generator=g)[: int(torch.randint(1, MOST_EDITED + 1, (), generator=g))]] = True
    return torch.cat([poses[:half], torch.where(changed, poses[half:], poses[:half])])
