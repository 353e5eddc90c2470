"""Frames of any registered data set as training items: several frames of one sequence, at one size, cached on disk."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.errors import DataError
from echokdm.core.seeding import derive_seed
from echokdm.core.types import KeypointSchema, Sequence
from echokdm.data.adapters import Adapter, find_adapter
from echokdm.data.store import ArrayStore, Layout


class FrameData(BaseModel):
    """Which data set, and how much of it is kept."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True)

    adapter: str = "phantom-face"  # any that `echokdm adapters` lists
    root: str = "400"  # the data set's folder; of a phantom the number of identities
    frames: int = 8  # of each sequence, evenly spread
    split: str = "train"
    held_out: str = "test"
    cache: str = "runs/cache"
    workers: int = 0  # loader processes


@dataclass(frozen=True)
class Square:
    """How a picture was put into a square: cut at (left, top), scaled by `ratio` (x, y), moved by `offset` (x, y) px."""

    corner: tuple[float, float]
    ratio: tuple[float, float]
    offset: tuple[float, float]

    def points(self, points: Tensor) -> Tensor:
        """Key-points (..., 2) px of the picture -> of the square."""
        corner, ratio, offset = (points.new_tensor(v) for v in (self.corner, self.ratio, self.offset))
        return (points - corner + 0.5) * ratio - 0.5 + offset

    def original(self, points: Tensor) -> Tensor:
        """Key-points (..., 2) px of the square -> of the picture."""
        corner, ratio, offset = (points.new_tensor(v) for v in (self.corner, self.ratio, self.offset))
        return (points - offset + 0.5) / ratio - 0.5 + corner


def fit_square(images: Tensor, size: int, around: Tensor | None = None, margin: float = 0.4) -> tuple[Tensor, Square]:
    """Scale images (T, C, H, W) into size x size px, their borders repeated beside where they are not square.

    around: key-points (..., 2) px; the picture is cut to a square around them first, that leaves `margin` of their box on each side.
    """
    corner = (0, 0)
    if around is not None:
        seen = around.reshape(-1, 2)[torch.isfinite(around).all(-1).reshape(-1)]
        low, high = seen.amin(0), seen.amax(0)
        side = max(2, round(float((high - low).max()) * (1 + 2 * margin)))
        left, top = (round(float(v)) for v in (low + high) / 2 - side / 2)
        height, width = images.shape[2:]
        pads = (max(0, -left), max(0, left + side - width), max(0, -top), max(0, top + side - height))
        padded = F.pad(images, pads, mode="replicate")
        images = padded[:, :, top + pads[2]:top + pads[2] + side, left + pads[0]:left + pads[0] + side]
        corner = (left, top)
    height, width = images.shape[2:]
    scale = size / max(height, width)
    new = max(1, round(height * scale)), max(1, round(width * scale))
    if new != (height, width):
        images = F.interpolate(images, new, mode="bilinear", antialias=True, align_corners=False)
    top, left = (size - new[0]) // 2, (size - new[1]) // 2
    images = F.pad(images, (left, size - new[1] - left, top, size - new[0] - top), mode="replicate").clamp(0, 1)
    return images, Square(corner, (new[1] / width, new[0] / height), (left, top))


def three_channels(images: Tensor) -> Tensor:
    """(T, 1 or 3, H, W) -> (T, 3, H, W)."""
    return images.expand(-1, 3, -1, -1)


class FrameSource:
    """The training and held-out sequences of a data set; read when first asked for.

    schema: of its key-points, None where it has none. channels: 3, gray pictures too. Sequences of a single picture, as of
    photographs, are joined by their subject. Raises DataError where a split is empty or has subjects of one picture alone.
    """

    channels = 3

    def __init__(self, config: FrameData, size: int, seed: int) -> None:
        self.config, self.size, self.seed = config, size, seed
        self._adapter: Adapter = find_adapter(config.adapter)
        self._index: pd.DataFrame | None = None
        self._first: Sequence | None = None

    @property
    def schema(self) -> KeypointSchema | None:
        """Of the data set's key-points."""
        return self._sample().schema

    def train(self, count: int, seed: int, others: int = 0) -> "FrameSets":
        """Items of `count` frames, mirrored half of the time; see `FrameSets`."""
        return FrameSets(self._store(self.config.split), self.schema, count, seed, others)

    def held_out(self, count: int, seed: int, others: int = 0) -> "FrameSets":
        """The same of the held-out split, item (0, i) from its sequence i, never mirrored."""
        return FrameSets(self._store(self.config.held_out), self.schema, count, seed, others, in_order=True)

    def _rows(self) -> pd.DataFrame:
        if self._index is None:
            self._index = self._adapter.index(self.config.root)
        return self._index

    def _sample(self) -> Sequence:
        if self._first is None:
            self._first = self._adapter.read(self._rows().to_dict("records")[0])
        return self._first

    def _groups(self, split: str) -> list[list[dict]]:
        """Rows that make one sequence."""
        index = self._rows()
        rows = index[(index["split"] == split) | (index["split"] == "all")]
        if rows.empty:
            known = ", ".join(sorted(index["split"].unique()))
            raise DataError(f"{self.config.adapter} has nothing in the split '{split}': it has {known}.")
        if len(self._sample()) > 1:
            return [[row] for row in rows.to_dict("records")]
        groups = [group.to_dict("records") for _, group in rows.groupby("subject", sort=True)]
        groups = [group for group in groups if len(group) > 1]
        if not groups:
            raise DataError(f"{self.config.adapter} has one picture a subject: two at least are needed to learn motion from.")
        return groups

    def _store(self, split: str) -> ArrayStore:
        first, kept, size = self._sample(), self.config.frames, self.size
        layout: Layout = {"image": ((kept, 3, size, size), "uint8"), "subject": ((), "int64")}
        if first.keypoints is not None:
            layout["keypoints"] = ((kept, first.keypoints.shape[1], 2), "float32")
        if "condition" in first.labels:
            layout["condition"] = ((kept, 3, size, size), "uint8")
        groups = self._groups(split)
        names = "\n".join(row["sequence"] for group in groups for row in group)
        origin = {"adapter": self.config.adapter, "root": self.config.root, "sequences": zlib.crc32(names.encode())}

        def produce(rows: range) -> dict[str, np.ndarray]:
            items = [self._read(groups[r]) for r in rows]
            return {name: np.stack([item[name] for item in items]) for name in layout}

        folder = Path(self.config.cache) / f"{self.config.adapter}-{split}-{size}-{len(groups)}x{kept}"
        return ArrayStore(folder, len(groups), layout, origin).fill(produce, 8, f"{self.config.adapter}, {split}")

    def _read(self, group: list[dict]) -> dict[str, np.ndarray]:
        """`frames` moments of a sequence, spread evenly from its first to its last."""
        parts = [self._adapter.read(row) for row in group]
        moments = [(part, t) for part in parts for t in range(len(part))]
        spread = np.linspace(0, len(moments) - 1, self.config.frames).round().astype(int)
        images: list[Tensor] = []
        points: list[Tensor] = []
        conditions: list[Tensor] = []
        for part, t in (moments[i] for i in spread):
            known = None
            if part.keypoints is not None and part.visible is not None:
                known = torch.where(part.visible[t, :, None], part.keypoints[t], torch.nan)[None]
            image, square = fit_square(three_channels(part.frames[t:t + 1]), self.size)
            images.append(image)
            if known is not None:
                points.append(square.points(known))
            if "condition" in part.labels:
                conditions.append(fit_square(three_channels(part.labels["condition"][t:t + 1]), self.size)[0])
        out: dict[str, Any] = {"image": _bytes(torch.cat(images)), "subject": np.int64(zlib.crc32(str(group[0]["subject"]).encode()))}
        if len(points) == len(images):
            out["keypoints"] = torch.cat(points).numpy()
        if conditions:
            out["condition"] = _bytes(torch.cat(conditions))
        return out


def _bytes(images: Tensor) -> np.ndarray:
    return (images * 255).round().byte().numpy()


class FrameSets(Dataset):
    """Several frames of one sequence, in drawn order. Item (step, i) depends on (seed, step, i) alone.

    An item: `frames` (count, 3, S, S) in [0, 1]; `keypoints` (count, N, 2) px, nan where not seen, and `conditions`
    (count, 3, S, S) in [0, 1] where the data set has them; with others > 0 the same of `others` frames of another subject,
    named `other_frames` and so on. in_order: item (step, i) is of sequence i, never mirrored.
    """

    def __init__(self, store: ArrayStore, schema: KeypointSchema | None, count: int, seed: int, others: int = 0,
                 in_order: bool = False) -> None:
        kept = store["image"].shape[1]
        if max(count, others) > kept:
            raise DataError(f"{max(count, others)} frames of a sequence are needed, but {kept} are kept: raise data.frames.")
        if others and len(np.unique(store["subject"])) < 2:
            raise DataError("Pictures of another subject are needed, but the data set has one subject.")
        self.store, self.schema, self.count, self.seed, self.others, self.in_order = store, schema, count, seed, others, in_order

    def __len__(self) -> int:
        return self.store.count

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        rng = np.random.default_rng(derive_seed(self.seed, *key))
        row = key[1] % self.store.count if self.in_order else int(rng.integers(self.store.count))
        mirrored = not self.in_order and rng.random() < 0.5
        item = self._frames(row, self.count, mirrored, rng, "")
        if self.others:
            different = np.flatnonzero(self.store["subject"] != self.store["subject"][row])
            item |= self._frames(int(rng.choice(different)), self.others, mirrored, rng, "other_")
        return item

    def _frames(self, row: int, count: int, mirrored: bool, rng: np.random.Generator, prefix: Literal["", "other_"]) -> dict[str, Tensor]:
        chosen = rng.permutation(self.store["image"].shape[1])[:count]
        item = {}
        for field, name in (("image", "frames"), ("condition", "conditions")):
            if field in self.store.arrays:
                images = torch.from_numpy(self.store[field][row, chosen].astype(np.float32)) / 255
                item[prefix + name] = images.flip(-1) if mirrored else images
        if "keypoints" in self.store.arrays:
            points = torch.from_numpy(self.store["keypoints"][row, chosen])
            if mirrored:
                assert self.schema is not None  # which data with key-points have
                points = _mirror_points(points, self.schema, self.store["image"].shape[-1])
            item[prefix + "keypoints"] = points
        return item


def _mirror_points(points: Tensor, schema: KeypointSchema, width: int) -> Tensor:
    """(..., N, 2) px in a picture mirrored left-right; the schema's pairs change places."""
    order = torch.arange(len(schema))
    for left, right in schema.pairs:
        order[left], order[right] = right, left
    x, y = points[..., order, :].unbind(-1)
    return torch.stack([width - 1 - x, y], -1)
