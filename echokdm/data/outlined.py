"""Frames of patients with experts' outlines, from any adapter, in the model's square: what a segmenter learns from
beside phantoms."""

import zlib
from collections.abc import Sequence as Several
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.errors import DataError, EchoKDMError
from echokdm.core.folders import listing
from echokdm.core.labels import Label
from echokdm.core.seeding import derive_seed
from echokdm.data.adapters import find_adapter
from echokdm.data.store import ArrayStore
from echokdm.networks.segmenter import CLASSES

if TYPE_CHECKING:
    from echokdm.core.types import Sequence
    from echokdm.io.frame import ModelClip

TOLD = (0, 1, 2, 3)  # where tissue is outlined as CAMUS does it: background stands for the right heart too


@dataclass(frozen=True)
class OutlinedSource:
    """adapter, root: as in "camus:FOLDER". subjects: those that are taken, None for all."""

    adapter: str
    root: str
    subjects: tuple[str, ...] | None = None


def find_source(data: str | Path) -> OutlinedSource:
    """ "adapter:FOLDER", or a folder told by what is in it: EchoNet-Dynamic, EchoNet-Pediatric, CAMUS, else plain clips.

    Raises ConfigError where there is no such adapter.
    """
    adapter, colon, root = str(data).partition(":")
    if colon and not Path(data).exists():
        return OutlinedSource(find_adapter(adapter).name, root)
    inside = listing(Path(data))
    if "FileList.csv" in inside:
        return OutlinedSource("echonet-dynamic", str(data))
    if inside.get("A4C"):
        return OutlinedSource("echonet-pediatric", str(data))
    camus = inside.get("database_nifti") or any(
        file.startswith(f"{name}_4CH_") for name in inside for file in listing(Path(data) / name)
    )
    return OutlinedSource("camus" if camus else "clips", str(data))


def outlined_store(folder: Path, source: OutlinedSource, size: int) -> ArrayStore:
    """The largest and the smallest outlined ventricle of each sequence: image, label (2, S, S) uint8, sector (S, S),
    told (6,) and usable.

    told: the classes that the outlines tell of; what is none of them is labelled 0. usable: False where no sector is
    found or fewer than one frame is outlined. `subject` is a number of its own each. Raises DataError where nothing is
    usable.
    """
    adapter = find_adapter(source.adapter)
    index = adapter.index(source.root)
    if source.subjects is not None:
        index = index[index["subject"].isin(source.subjects)]
    rows: list[dict[str, Any]] = index.to_dict("records")
    if not rows:
        raise DataError(f"{source.adapter} has none of the subjects that are asked for.")
    layout = {
        "image": ((2, size, size), "uint8"),
        "label": ((2, size, size), "uint8"),
        "sector": ((size, size), "bool"),
        "told": ((len(CLASSES),), "bool"),
        "usable": ((), "bool"),
        "subject": ((), "int64"),
    }

    def produce(numbers: range) -> dict[str, np.ndarray]:
        items = [_item(adapter, rows[n], size) for n in numbers]
        return {name: np.stack([item[name] for item in items]) for name in layout}

    names = zlib.crc32("\n".join(row["sequence"] for row in rows).encode())
    store = ArrayStore(folder, len(rows), layout, {"adapter": source.adapter, "sequences": names, "size": size})
    store.fill(produce, 8, f"{source.adapter}, outlined frames")
    if not store["usable"].any():
        raise DataError(
            f"Not one outlined frame of {source.adapter} shows an ultrasound sector with a ventricle: check the folder."
        )
    return store


def _item(adapter: Any, row: dict[str, Any], size: int) -> dict[str, Any]:
    from echokdm.io.frame import to_model_frame
    from echokdm.io.sector import find_sector

    blank = {
        "image": np.zeros((2, size, size), np.uint8),
        "label": np.zeros((2, size, size), np.uint8),
        "sector": np.zeros((size, size), bool),
        "told": np.zeros(len(CLASSES), bool),
        "usable": np.bool_(False),
        "subject": np.int64(zlib.crc32(str(row["subject"]).encode())),
    }
    try:
        heart = adapter.read(row)
        moments = outlined_moments(heart)
        clip = heart_clip(heart, moments)
        model = to_model_frame(clip, find_sector(clip), size)
    except EchoKDMError:
        return blank
    told = np.zeros(len(CLASSES), bool)
    tissue = heart.labels.get("tissue")
    if tissue is None:
        label = np.stack([_polygon(model, heart.keypoints[t]) for t in moments])
        told[[0, Label.LV]] = True
    else:
        label = _carried(model, np.asarray(tissue)[moments])
        told[list(TOLD)] = True
    image = (model.clip.frames[:][:, 0].numpy() * 255).round().astype(np.uint8)
    return blank | {"image": image, "label": label, "sector": model.sector_mask, "told": told, "usable": np.bool_(True)}


def outlined_moments(heart: "Sequence") -> list[int]:
    """Frames of the largest and the smallest outlined ventricle; the same twice where one alone is outlined. Raises
    DataError."""
    from echokdm.ops.ventricle import simpson_volume

    if heart.keypoints is None or heart.visible is None or not (known := heart.visible.all(1).nonzero()[:, 0].tolist()):
        raise DataError("No frame of this sequence is outlined.")
    volumes = simpson_volume(heart.keypoints[known].double().numpy())
    return [known[int(np.argmax(volumes))], known[int(np.argmin(volumes))]]


def heart_clip(heart: "Sequence", moments: Several[int]) -> Any:
    """The frames at `moments` of a sequence as a clip, with its spacing."""
    from echokdm.core.types import Clip

    return Clip(
        heart.frames[list(moments)].float(), float(heart.labels.get("fps") or 1.0), heart.labels.get("spacing_mm")
    )


def _polygon(model: "ModelClip", points: Tensor) -> np.ndarray:
    """Key-points (40, 2) of the clip's own pixels -> (S, S) uint8 mask of the model's."""
    from echokdm.ops.render import fill_polygon

    size = model.sector_mask.shape
    return (fill_polygon(model.to_model(points.float())[None], *size)[0, 0] > 0.5).numpy().astype(np.uint8) * int(
        Label.LV
    )


def _carried(model: "ModelClip", tissue: np.ndarray) -> np.ndarray:
    """Labels (T, H, W) of the clip's own pixels -> (T, S, S) of the model's: the likeliest class under each of its
    pixels."""
    from echokdm.ops.resample import shrink
    from echokdm.ops.warp import pixel_grid, sample

    finer = 3  # samples a side of each pixel, so that an outline is not stepped by the nearest one
    height, width = model.sector_mask.shape
    places = pixel_grid(height * finer, width * finer)[0].permute(1, 2, 0)
    there = model.to_source((places - (finer - 1) / 2) / finer).permute(2, 0, 1)[None]
    onehot = torch.stack([torch.from_numpy(tissue == c).float() for c in TOLD], 1)
    fine = sample(onehot, there.expand(len(onehot), -1, -1, -1))
    return shrink(fine, height, width).argmax(1).numpy().astype(np.uint8)


class OutlinedFrames(Dataset):
    """Item (step, i): both frames of a drawn sequence: image (2, S, S) in [0, 1], label int64 (2, S, S), sector (1, S,
    S), told (6,).

    rows: those drawn from, default all that are usable.
    """

    def __init__(self, store: ArrayStore, seed: int, rows: np.ndarray | None = None) -> None:
        self.store, self.seed = store, seed
        self.rows = np.flatnonzero(store["usable"]) if rows is None else rows

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        rng = np.random.default_rng(derive_seed(self.seed, *key))
        return self.row(int(self.rows[int(rng.integers(len(self.rows)))]))

    def row(self, row: int) -> dict[str, Tensor]:
        """One row of the store, as an item."""
        store = self.store
        return {
            "image": torch.from_numpy(store["image"][row].astype(np.float32)) / 255,
            "label": torch.from_numpy(store["label"][row].astype(np.int64)),
            "sector": torch.from_numpy(store["sector"][row].astype(np.float32))[None],
            "told": torch.from_numpy(store["told"][row].copy()),
        }
