"""Training pairs from simulators, cached on disk: heart phantoms with labels, procedural images with flow alone.

Every data set here is map-style over keys (step, i): what it returns depends on (seed, step, i) alone.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.errors import ConfigError
from echokdm.core.seeding import derive_seed
from echokdm.core.types import A4C_BLOODPOOL_40, KeypointSchema, luma
from echokdm.data.store import ArrayStore, Layout
from echokdm.ops.fill import warp_inside
from echokdm.ops.flow import compose
from echokdm.ops.warp import pixel_grid, sample_points

if TYPE_CHECKING:
    from echokdm.networks.pwc_lite import PWCLite

FRAMES = 6  # cached a phantom patient: ED, ES, then drawn phases
PAIRS = 8  # cached flows a patient: every frame from ED, then drawn pairs
UNTOLD = 0.15  # share of hearts whose valves' opening is withheld, as it is where a single outline is drawn by hand
ALONE = torch.tensor([0.0, 1.0])  # of a segmenter's error: none is common to moments of a beat, which look different
TRIES = 12  # for a pair in which the valves open or shut


def procedural_store(folder: Path, count: int, size: int = 112, seed: int = 0, workers: int = 0) -> ArrayStore:
    """`count` procedural pairs: source, target uint8, flow float16 (px, backward), sector bool. workers: see
    `ArrayStore.fill`."""
    from echokdm.phantom.procedural import procedural_pairs

    layout = {
        "source": ((size, size), "uint8"),
        "target": ((size, size), "uint8"),
        "flow": ((2, size, size), "float16"),
        "sector": ((size, size), "bool"),
    }

    def produce(rows: range) -> dict[str, np.ndarray]:
        pairs = procedural_pairs(seed, rows, size)
        return {
            "source": to_bytes(pairs.source[:, 0]),
            "target": to_bytes(pairs.target[:, 0]),
            "flow": pairs.flow.numpy().astype(np.float16),
            "sector": pairs.sector[:, 0].numpy(),
        }

    return ArrayStore(folder, count, layout, {"procedural": seed, "size": size}).fill(
        produce, 16, "procedural pairs", workers
    )


def phantom_store(folder: Path, count: int, size: int = 112, first_seed: int = 0, workers: int = 0) -> ArrayStore:
    """`count` heart-phantom patients, FRAMES frames each: images, labels, key-points, volumes, PAIRS exact flows,
    sector.

    `pair` holds (target frame, source frame) of each flow; `spacing` mm a pixel; `opening` of the valves in each frame.
    workers: see `ArrayStore.fill`.
    """
    from echokdm.phantom.a4c import A4CPhantom
    from echokdm.phantom.anatomy import RANGES

    layout = {
        "image": ((FRAMES, size, size), "uint8"),
        "label": ((FRAMES, size, size), "uint8"),
        "sector": ((size, size), "bool"),
        "keypoints": ((FRAMES, 40, 2), "float32"),
        "flow": ((PAIRS, 2, size, size), "float16"),
        "pair": ((PAIRS, 2), "int64"),
        "opening": ((FRAMES,), "float32"),
        "spacing": ((), "float32"),
        "ejection_fraction": ((), "float32"),
    }

    def produce(rows: range) -> dict[str, np.ndarray]:
        seeds = [first_seed + r for r in rows]
        phantom = A4CPhantom(seeds, size)
        phases = torch.stack([_phases(s, float(e)) for s, e in zip(seeds, phantom.end_systole, strict=True)])
        pairs = torch.stack([frame_pairs(torch.Generator().manual_seed(derive_seed(s, 2))) for s in seeds])
        flows = [
            phantom.flow(phases.gather(1, pairs[:, k, :1])[:, 0], phases.gather(1, pairs[:, k, 1:])[:, 0])
            for k in range(PAIRS)
        ]
        return {
            "image": to_bytes(phantom.frames(phases)[:, :, 0]),
            "label": phantom.masks(phases).numpy(),
            "sector": phantom.sector.numpy(),
            "keypoints": phantom.keypoints(phases).numpy(),
            "flow": torch.stack(flows, 1).numpy().astype(np.float16),
            "pair": pairs.numpy(),
            "opening": phantom.valve_opening(phases).numpy(),
            "spacing": phantom.mm_per_px.numpy(),
            "ejection_fraction": phantom.ejection_fraction.numpy(),
        }

    origin = {"phantom": first_seed, "size": size, "ranges": RANGES}
    return ArrayStore(folder, count, layout, origin).fill(produce, 8, "phantom patients", workers)


def estimated_flows(folder: Path, phantoms: ArrayStore, of_net: "PWCLite") -> ArrayStore:
    """OF-net's flows of the cached pairs (KDM, section 3.1: what K2F-net learns from where no truth is known),
    cached."""
    size = phantoms["image"].shape[-1]
    digest = hashlib.sha256(
        b"".join(v.detach().cpu().numpy().tobytes() for v in of_net.state_dict().values())
    ).hexdigest()

    @torch.no_grad()
    def produce(rows: range) -> dict[str, np.ndarray]:
        images = torch.from_numpy(phantoms["image"][rows.start : rows.stop].astype(np.float32)) / 255
        pairs = torch.from_numpy(phantoms["pair"][rows.start : rows.stop])
        each = torch.arange(len(images))[:, None]
        target, source = (
            luma(images[each, pairs[..., k]].reshape(len(images) * PAIRS, -1, size, size)) for k in (0, 1)
        )
        return {"flow": of_net.flow(target, source).reshape(-1, PAIRS, 2, size, size).numpy().astype(np.float16)}

    layout: Layout = {"flow": ((PAIRS, 2, size, size), "float16")}
    return ArrayStore(folder, phantoms.count, layout, {"of_net": digest}).fill(produce, 4, "estimated flows")


def _phases(seed: int, end_systole: float) -> Tensor:
    drawn = torch.rand(FRAMES - 2, generator=torch.Generator().manual_seed(derive_seed(seed, 1)))
    return torch.cat([torch.tensor([0.0, end_systole]), drawn])


def frame_pairs(g: torch.Generator, frames: int = FRAMES) -> Tensor:
    """(PAIRS, 2) of (target frame, source frame), never the same: every frame from end-diastole, frame 0, then drawn
    ones."""
    from_ed = torch.tensor([[t, 0] for t in range(1, frames)])
    drawn = [torch.randperm(frames, generator=g)[:2] for _ in range(PAIRS - len(from_ed))]
    return torch.cat([from_ed, torch.stack(drawn)])


def to_bytes(images: Tensor) -> np.ndarray:
    """[0, 1] -> uint8 of the same shape."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def from_bytes(row: np.ndarray) -> Tensor:
    """uint8 (S, S) -> (1, S, S) in [0, 1]; colours or frames, (C, S, S), as they are."""
    return torch.from_numpy(row.astype(np.float32)).reshape(-1, *row.shape[-2:]) / 255


@dataclass(frozen=True)
class Variety:
    """What pairs are drawn, and how they are varied.

    procedural: the fraction of items drawn from the procedural store. gray_jitter: standard deviation of log gamma, and
    half of it of log gain, the same for both frames. drift: the fraction of hearts that also swing as a whole. valves:
    the fraction of hearts that are looked for until the valves open or shut by more than half from source to target.
    """

    procedural: float = 0.0
    gray_jitter: float = 0.3
    drift: float = 0.0
    valves: float = 0.0


class FlowPairs(Dataset):
    """Pairs with flow from both stores: source, target, flow, sector, key-points (nan: there is no heart),
    has_keypoints, keypoint_error, valve_opening.

    keypoint_error: (2,) how far a segmenter errs in both frames alike and in the target alone, as shares of a stage's
    `keypoint_jitter`. valve_opening: of the target's heart, 0 shut to 1 wide open; 0.5 where it is not known, as it is
    made of some hearts too.

    flows: stands in for the exact flows. schema: of the phantoms' key-points; ConfigError where the store has another
    number of them. Half the items are mirrored left-right; a mirrored heart keeps its key-point order (first ends on
    the image's left) by exchanging the schema's left-right pairs. Where there is one store alone, every item is drawn
    from it.
    """

    def __init__(
        self,
        phantoms: ArrayStore | None,
        procedural: ArrayStore | None,
        seed: int,
        variety: Variety = Variety(),
        *,
        flows: ArrayStore | None = None,
        schema: KeypointSchema = A4C_BLOODPOOL_40,
    ) -> None:
        if phantoms is not None and phantoms["keypoints"].shape[2] != len(schema):
            raise ConfigError(
                f"The phantoms have {phantoms['keypoints'].shape[2]} key-points, {schema.name} has {len(schema)}."
            )
        self.schema = schema
        self.phantoms, self.procedural, self.seed, self.variety = phantoms, procedural, seed, variety
        self.channels = 3 if phantoms is not None and phantoms["image"].ndim == 5 else 1
        self.flows = phantoms if flows is None else flows
        self.share = 1.0 if phantoms is None else 0.0 if procedural is None else variety.procedural

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        rng = np.random.default_rng(derive_seed(self.seed, *key))
        heart = rng.random() >= self.share
        item = self._heart(rng) if heart else self._leaves(rng)
        if heart and rng.random() < self.variety.drift:
            item = swing(item, float(rng.normal(0, 3.0)), float(rng.normal(0, 2.0)), float(rng.normal(0, 0.06)))
        if rng.random() < 0.5:
            item = mirror(item, self.schema)
        gamma, gain = np.exp(rng.normal(0, self.variety.gray_jitter, 2) * (1.0, 0.5))
        for name in ("source", "target"):
            item[name] = (item[name] * float(gain)).clamp(0, 1) ** float(gamma)
        return item

    def _heart(self, rng: np.random.Generator) -> dict[str, Tensor]:
        assert self.phantoms is not None and self.flows is not None  # else the share of leaves is all
        store, p, k = self.phantoms, int(rng.integers(self.phantoms.count)), int(rng.integers(PAIRS))
        if self.schema.valves and rng.random() < self.variety.valves:
            for _ in range(TRIES):
                target, source = store["opening"][p][store["pair"][p, k]]
                if abs(target - source) > 0.5:
                    break
                p, k = int(rng.integers(store.count)), int(rng.integers(PAIRS))
        target, source = (int(v) for v in store["pair"][p, k])
        points = torch.from_numpy(store["keypoints"][p].copy())
        return {
            "source": from_bytes(store["image"][p, source]),
            "target": from_bytes(store["image"][p, target]),
            "flow": torch.from_numpy(self.flows["flow"][p, k].astype(np.float32)),
            "sector": torch.from_numpy(store["sector"][p].astype(np.float32))[None],
            "source_keypoints": points[source],
            "target_keypoints": points[target],
            "has_keypoints": torch.ones(()),
            "keypoint_error": ALONE,
            "valve_opening": self._opening(store, p, target, rng),
        }

    def _opening(self, store: ArrayStore, p: int, frame: int, rng: np.random.Generator) -> Tensor:
        if not self.schema.valves or rng.random() < UNTOLD:
            return torch.tensor(0.5)
        return torch.tensor(float(store["opening"][p, frame]))

    def _leaves(self, rng: np.random.Generator) -> dict[str, Tensor]:
        assert self.procedural is not None  # else the share of leaves is 0
        store, p = self.procedural, int(rng.integers(self.procedural.count))
        source, target = (from_bytes(store[k][p]).expand(self.channels, -1, -1) for k in ("source", "target"))
        return {
            "source": source,
            "target": target,
            "flow": torch.from_numpy(store["flow"][p].astype(np.float32)),
            "sector": torch.from_numpy(store["sector"][p].astype(np.float32))[None],
            "source_keypoints": _no_points(self.schema),
            "target_keypoints": _no_points(self.schema),
            "has_keypoints": torch.zeros(()),
            "keypoint_error": ALONE,
            "valve_opening": torch.tensor(0.5),
        }


def _no_points(schema: KeypointSchema) -> Tensor:
    return torch.full((len(schema), 2), torch.nan)


def mirror(item: dict[str, Tensor], schema: KeypointSchema) -> dict[str, Tensor]:
    """Left-right mirror of an item of `FlowPairs`: images, flow (dx changes sign) and key-points alike."""
    out = dict(item)
    for name in ("source", "target", "sector"):
        out[name] = item[name].flip(-1)
    out["flow"] = item["flow"].flip(-1) * torch.tensor([-1.0, 1.0]).view(2, 1, 1)
    for name in ("source_keypoints", "target_keypoints"):
        out[name] = schema.mirror(item[name], item["source"].shape[-1])
    return out


def swing(item: dict[str, Tensor], dx: float, dy: float, turn: float, margin: float = 12.0) -> dict[str, Tensor]:
    """Let the target's heart shift by (dx, dy) px and turn by `turn` radians, as breathing and a moving probe do.

    The motion fades over `margin` px to the sector's edge. Target image, target key-points and flow follow.
    """
    size = item["source"].shape[-2:]
    edge = torch.from_numpy(distance_transform_edt(item["sector"][0].numpy()).astype(np.float32))
    offset = pixel_grid(*size)[0] - item["target_keypoints"].mean(0).view(2, 1, 1)
    back = torch.stack([turn * offset[1] - dx, -turn * offset[0] - dy]) * (edge / margin).clamp(0, 1)
    points = item["target_keypoints"]
    for _ in range(8):  # where the old point lies now: q + back(q) = p
        points = item["target_keypoints"] - sample_points(back[None], points[None])[0]
    return {
        **item,
        "target": warp_inside(item["target"][None], back[None], item["sector"][None])[0],
        "target_keypoints": points,
        "flow": compose(back[None], item["flow"][None])[0],
    }


class PhantomClips(Dataset):
    """Labelled phantom patients, ED and ES first: image, label int64 (FRAMES, S, S), sector (1, S, S); no augmentation.

    warped_share: of the items in which every frame is ED's picture moved by the exact flow, as the frames of synthetic
    clips are.
    """

    def __init__(self, phantoms: ArrayStore, seed: int, warped_share: float = 0.0) -> None:
        self.phantoms, self.seed, self.warped_share = phantoms, seed, warped_share

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        rng = np.random.default_rng(derive_seed(self.seed, *key))
        p = int(rng.integers(self.phantoms.count))
        item = self.row(p)
        if rng.random() < self.warped_share:
            # the pairs from ED come first
            flow = torch.from_numpy(self.phantoms["flow"][p, : FRAMES - 1].astype(np.float32))
            moved = warp_inside(item["image"][None, :1], flow, item["sector"][None])
            item["image"] = torch.cat([item["image"][:1], moved[:, 0]])
        return item

    def row(self, row: int) -> dict[str, Tensor]:
        """One patient, as an item that is not warped."""
        store = self.phantoms
        return {
            "image": from_bytes(store["image"][row]),
            "label": torch.from_numpy(store["label"][row].astype(np.int64)),
            "sector": torch.from_numpy(store["sector"][row].astype(np.float32))[None],
        }
