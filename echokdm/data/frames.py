"""Frames of any registered data set at one size, cached on disk, apart in what is learned from and what is held out."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from echokdm.core.types import KeypointSchema, Sequence
from echokdm.data.adapters import Adapter, find_adapter
from echokdm.data.adapters.problems import PAIR, REFERENCES
from echokdm.data.frame_sets import ABSENT, FrameSets, Listed, first_alike
from echokdm.data.splits import held_out_rows, training_rows
from echokdm.data.store import ArrayStore, Layout


class FrameData(BaseModel):
    """Which data set, and how much of it is kept."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True)

    adapter: str = "phantom-face"  # any that `echokdm adapters` lists
    root: str = "400"  # the data set's folder; of a phantom the number of identities
    frames: int = 8  # of each sequence, evenly spread; of people in listed pairs every picture is kept
    split: str = "train"  # "all": every row, and nothing is held out
    held_out: str = "test"
    cache: str = "runs/cache"
    workers: int = 0  # loader processes


@dataclass(frozen=True)
class Square:
    """How a picture was put into a square: cut at (left, top), scaled by `ratio` (x, y), moved by `offset` (x, y)
    px."""

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

    around: key-points (..., 2) px; the picture is cut to a square around them first, that leaves `margin` of their box
    on each side.
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
        images = padded[:, :, top + pads[2] : top + pads[2] + side, left + pads[0] : left + pads[0] + side]
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


@dataclass(frozen=True)
class _Group:
    """What makes one row of a store: index rows whose frames belong together; of a data set of pairs (from, to) their
    pictures' places.

    names: of those pictures, in order; pairs: (from, to) by place.
    """

    rows: list[dict[str, Any]]
    names: tuple[str, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()


class FrameSource:
    """The training and held-out sequences of a data set; read when first asked for.

    schema: of its key-points, None where it has none. channels: 3, gray pictures too. Sequences of a single picture, as
    of photographs, are joined by their subject, and so are pairs of pictures that the data set lists, whose direction
    is kept. What is held out, where the data set names no splits, `splits` says. Raises DataError where a split is
    empty, or has subjects of the other.
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

    def train(self, count: int, seed: int, others: int = 0) -> FrameSets:
        """Items of `count` frames, mirrored half of the time; see `FrameSets`."""
        rows = training_rows(self._rows(), self.config.split, self.config.held_out)
        return self._sets(rows, self.config.split, count, seed, others)

    def held_out(self, count: int, seed: int, others: int = 0) -> FrameSets:
        """The same of the held-out split, item (0, i) from its sequence or pair i, never mirrored."""
        rows = held_out_rows(self._rows(), self.config.split, self.config.held_out)
        examples = self._rows().iloc[:0]
        if others and set(REFERENCES) <= set(rows):  # of what was learned from, too: they are shown, and not asked for
            listed = set(rows[list(REFERENCES)].to_numpy().ravel()) - set(rows["sequence"])
            examples = self._rows()[self._rows()["sequence"].isin(listed)]
        return self._sets(rows, self.config.held_out, count, seed, others, in_order=True, examples=examples)

    def clips(self) -> "WholeClips":
        """The held-out sequences, every frame of each, in order."""
        rows = held_out_rows(self._rows(), self.config.split, self.config.held_out)
        return WholeClips(self._adapter, self._groups(rows), self.size)

    def _rows(self) -> pd.DataFrame:
        if self._index is None:
            self._index = self._adapter.index(self.config.root)
        return self._index

    def _sample(self) -> Sequence:
        if self._first is None:
            self._first = self._adapter.read(self._rows().to_dict("records")[0])
        return self._first

    def _groups(self, rows: pd.DataFrame) -> list[_Group]:
        """Rows that belong together: pairs of pictures or single pictures of one subject; each sequence else."""
        if set(PAIR) <= set(rows):
            return [_paired(group.to_dict("records")) for _, group in rows.groupby("subject", sort=True)]
        if len(self._sample()) > 1:
            return [_Group([row]) for row in rows.to_dict("records")]
        return [_Group(group.to_dict("records")) for _, group in rows.groupby("subject", sort=True)]

    def _sets(
        self,
        rows: pd.DataFrame,
        split: str,
        count: int,
        seed: int,
        others: int,
        in_order: bool = False,
        examples: pd.DataFrame | None = None,
    ) -> FrameSets:
        """examples: rows that are examples alone."""
        groups = self._groups(rows)
        asked = len(groups)
        if examples is not None and len(examples):
            groups += self._groups(examples)
        directed = bool(groups[0].names)
        kept = max(len(group.names) for group in groups) if directed else self.config.frames
        pairs = (
            np.array([(row, *pair) for row, group in enumerate(groups) for pair in group.pairs], np.int64)
            if directed
            else None
        )
        return FrameSets(
            self._store(groups, split, kept),
            self.schema,
            count,
            seed,
            others,
            in_order,
            Listed(pairs, _listed(groups), asked),
        )

    def _store(self, groups: list[_Group], split: str, kept: int) -> ArrayStore:
        first, size = self._sample(), self.size
        layout: Layout = {
            "image": ((kept, 3, size, size), "uint8"),
            "alike": ((kept,), "int64"),
            "subject": ((), "int64"),
        }
        if first.keypoints is not None:
            layout["keypoints"] = ((kept, first.keypoints.shape[1], 2), "float32")
        if "condition" in first.labels:
            layout["condition"] = ((kept, 3, size, size), "uint8")
        names = "\n".join(row["sequence"] for group in groups for row in group.rows)
        origin = {"adapter": self.config.adapter, "root": self.config.root, "sequences": zlib.crc32(names.encode())}

        def produce(rows: range) -> dict[str, np.ndarray]:
            items = [self._read(groups[r], layout) for r in rows]
            return {name: np.stack([item[name] for item in items]) for name in layout}

        folder = Path(self.config.cache) / f"{self.config.adapter}-{split}-{size}-{len(groups)}x{kept}"
        return ArrayStore(folder, len(groups), layout, origin).fill(produce, 8, f"{self.config.adapter}, {split}")

    def _read(self, group: _Group, layout: Layout) -> dict[str, np.ndarray]:
        """The fields of one row; what it has too few frames for is zero, and `alike` says so."""
        out = {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}
        out["subject"][...] = zlib.crc32(str(group.rows[0]["subject"]).encode())
        for k, (part, t) in enumerate(self._moments(group)):
            image, square = fit_square(three_channels(part.frames[t : t + 1]), self.size)
            out["image"][k] = _bytes(image)[0]
            if "keypoints" in layout:
                out["keypoints"][k] = np.nan
                if part.keypoints is not None and part.visible is not None:
                    known = torch.where(part.visible[t, :, None], part.keypoints[t], torch.nan)
                    out["keypoints"][k] = square.points(known).numpy()
            if "condition" in layout:
                out["condition"][k] = _bytes(
                    fit_square(three_channels(part.labels["condition"][t : t + 1]), self.size)[0]
                )[0]
            out["alike"][k] = first_alike(out["image"], k)
        out["alike"][k + 1 :] = ABSENT
        return out

    def _moments(self, group: _Group) -> list[tuple[Sequence, int]]:
        """The frames to keep: every named picture, or `frames` at most, spread evenly from the first to the last."""
        parts = [self._adapter.read(row) for row in group.rows]
        if group.names:
            shown = {
                row[end]: (part, t) for row, part in zip(group.rows, parts, strict=True) for t, end in enumerate(PAIR)
            }
            return [shown[name] for name in group.names]
        moments = [(part, t) for part in parts for t in range(len(part))]
        return [moments[i] for i in np.unique(np.linspace(0, len(moments) - 1, self.config.frames).round().astype(int))]


class WholeClips:
    """Sequences whole, read when asked for; clip i is (T, 3, size, size) in [0, 1], its frames in order.

    Single pictures of one subject are one sequence, in the order of the index. subjects: (len,) a number for the
    subject of each.
    """

    def __init__(self, adapter: Adapter, groups: list[_Group], size: int) -> None:
        self._adapter, self._groups, self.size = adapter, groups, size
        self.subjects = np.array([zlib.crc32(str(group.rows[0]["subject"]).encode()) for group in groups])

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, i: int) -> Tensor:
        parts = [self._adapter.read(row) for row in self._groups[i].rows]
        return torch.cat([fit_square(three_channels(part.frames), self.size)[0] for part in parts])


def _paired(rows: list[dict[str, Any]]) -> _Group:
    """The pairs of one subject, with as few rows to read as show all of its pictures."""
    names = {name: place for place, name in enumerate(dict.fromkeys(row[end] for row in rows for end in PAIR))}
    read: list[dict[str, Any]] = []
    seen: set[str] = set()
    for row in rows:
        if not {row["from"], row["to"]} <= seen:
            read.append(row)
            seen |= {row["from"], row["to"]}
    return _Group(read, tuple(names), tuple((names[row["from"]], names[row["to"]]) for row in rows))


def _listed(groups: list[_Group]) -> np.ndarray | None:
    """(groups, 2): which groups are a group's listed examples, -1 for none; None where the data set lists none for any
    of these."""
    if not set(REFERENCES) <= set(groups[0].rows[0]):
        return None
    place = {row["sequence"]: number for number, group in enumerate(groups) for row in group.rows}
    listed = np.array([[place.get(group.rows[0][name], -1) for name in REFERENCES] for group in groups])
    return listed if (listed >= 0).any() else None


def _bytes(images: Tensor) -> np.ndarray:
    return (images * 255).round().byte().numpy()
