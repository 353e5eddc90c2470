"""Twins: heart phantoms made twice with another ejection fraction, cached on disk, for edits of a frame within its
phase of the beat."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from echokdm.core.seeding import generator
from echokdm.data.pairs import FlowPairs, from_bytes, to_bytes
from echokdm.data.store import ArrayStore

FRAMES = 4  # cached a twin: ES, then one phase of each third of the beat; ED is the same in both twins
SAME = 0.08  # of the twins drawn: a frame with itself, so that no wish is known to be no motion
# a segmenter errs by some 2 px in both twins alike, who look alike, and by a third of it apart
ERROR = torch.tensor([2.0, 0.25])


def twin_store(folder: Path, count: int, size: int = 112, first_seed: int = 0, workers: int = 0) -> ArrayStore:
    """`count` heart phantoms with a twin each, FRAMES phases: images, key-points (px), exact flows, sector, valves'
    opening.

    Of the two hearts, the fields' second axis, the first pumps as it was drawn, the second with an ejection fraction
    drawn evenly from all there are. `flow` leads to the frame of each from that of the other at the same phase,
    backward, px. workers: see `ArrayStore.fill`.
    """
    from echokdm.phantom.a4c import A4CPhantom
    from echokdm.phantom.anatomy import RANGES

    layout = {
        "image": ((2, FRAMES, size, size), "uint8"),
        "sector": ((size, size), "bool"),
        "keypoints": ((2, FRAMES, 40, 2), "float32"),
        "flow": ((2, FRAMES, 2, size, size), "float16"),
        "opening": ((FRAMES,), "float32"),
        "ejection_fraction": ((2,), "float32"),
    }
    low, high = (100 * share for share in RANGES["ef"])

    def produce(rows: range) -> dict[str, np.ndarray]:
        seeds = [first_seed + r for r in rows]
        drawn = torch.stack([torch.rand(FRAMES, generator=generator(s, 61)) for s in seeds])
        hearts = [
            A4CPhantom(seeds, size),
            A4CPhantom(seeds, size, ejection_fraction=(low + (high - low) * drawn[:, 0]).tolist()),
        ]
        phases = torch.cat(
            [hearts[0].end_systole[:, None], (torch.arange(FRAMES - 1) + drawn[:, 1:]) / (FRAMES - 1)], 1
        )
        flows = [
            torch.stack([heart.flow(p, p, other) for p in phases.unbind(1)], 1)
            for heart, other in (hearts, hearts[::-1])
        ]
        return {
            "image": to_bytes(torch.stack([heart.frames(phases)[:, :, 0] for heart in hearts], 1)),
            "sector": hearts[0].sector.numpy(),
            "keypoints": torch.stack([heart.keypoints(phases) for heart in hearts], 1).numpy(),
            "flow": torch.stack(flows, 1).numpy().astype(np.float16),
            "opening": hearts[0].valve_opening(phases).numpy(),
            "ejection_fraction": torch.stack([heart.ejection_fraction for heart in hearts], 1).numpy(),
        }

    return ArrayStore(folder, count, layout, {"twins": first_seed, "size": size, "ranges": RANGES}).fill(
        produce, 8, "twins", workers
    )


class TwinPairs(FlowPairs):
    """`FlowPairs` whose hearts are twins at times: an item's source and target are two hearts' frames at one phase,
    either way round.

    twin_share: of the hearts. SAME of those are a frame with itself, whose key-points have one error. All else is
    given as to `FlowPairs`.
    """

    def __init__(self, twins: ArrayStore, twin_share: float, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.twins, self.twin_share = twins, twin_share

    def _heart(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if rng.random() >= self.twin_share:
            return super()._heart(rng)
        store, p, k, target = (
            self.twins,
            int(rng.integers(self.twins.count)),
            int(rng.integers(FRAMES)),
            int(rng.integers(2)),
        )
        same = rng.random() < SAME
        source = target if same else 1 - target
        points, flow = (
            torch.from_numpy(store["keypoints"][p].copy()),
            torch.from_numpy(store["flow"][p, target, k].astype(np.float32)),
        )
        return {
            "source": from_bytes(store["image"][p, source, k]),
            "target": from_bytes(store["image"][p, target, k]),
            "flow": flow * (not same),
            "sector": torch.from_numpy(store["sector"][p].astype(np.float32))[None],
            "source_keypoints": points[source, k],
            "target_keypoints": points[target, k],
            "has_keypoints": torch.ones(()),
            "keypoint_error": ERROR * torch.tensor([1.0, not same]),
            "valve_opening": self._opening(store, p, k, rng),
        }
