"""Items of several frames of one subject, drawn from a store so that none is met twice in an item."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from echokdm.core.errors import DataError
from echokdm.core.seeding import derive_seed
from echokdm.core.types import KeypointSchema
from echokdm.data.store import ArrayStore

ABSENT = -1  # in a store's `alike`, of places without a frame


def first_alike(images: np.ndarray, k: int) -> int:
    """The first of images (n, ...) that has every value of image k; k itself where none before it has."""
    return next((j for j in range(k) if np.array_equal(images[j], images[k])), k)


@dataclass(frozen=True)
class Listed:
    """What a data set says itself of the rows of its store; None: nothing.

    pairs: (P, 3) of row, source, target, which picture is made of which; further sources are then the subject's other
    pictures. references: (rows, R) of rows, -1 for none, listed as examples of a row: they come before drawn others,
    the first ones where in order. asked: how many rows, the first ones, items are of and others are drawn from; the
    rest are examples alone. None: all.
    """

    pairs: np.ndarray | None = None
    references: np.ndarray | None = None
    asked: int | None = None


class FrameSets(Dataset):
    """Several frames of one sequence, no two of them alike. Item (step, i) depends on (seed, step, i) alone.

    An item: `frames` (count, 3, S, S) in [0, 1], the first of them the target, the others its sources; `keypoints`
    (count, N, 2) px, nan where not seen, and `conditions` (count, 3, S, S) in [0, 1] where the data set has them; with
    others > 0 the same of `others` frames of as many other subjects, named `other_frames` and so on. in_order: item
    (step, i) is of sequence or pair i, never mirrored.

    store: `image` and, where known, `keypoints` and `condition`, with `alike` (kept,): of each frame the first that
    looks the same, ABSENT where there is none. Sequences with too few frames are passed over. Raises DataError where
    all are.
    """

    def __init__(
        self,
        store: ArrayStore,
        schema: KeypointSchema | None,
        count: int,
        seed: int,
        others: int = 0,
        in_order: bool = False,
        listed: Listed = Listed(),
    ) -> None:
        pairs, references, asked = listed.pairs, listed.references, listed.asked
        kept = store["image"].shape[1]
        if pairs is None and count > kept:
            raise DataError(f"{count} frames of a sequence are needed, but {kept} are kept: raise data.frames.")
        self.alike = np.array(store["alike"])
        self.distinct = (self.alike == np.arange(kept)).sum(1)
        self.store, self.schema, self.count, self.seed, self.others, self.in_order = (
            store,
            schema,
            count,
            seed,
            others,
            in_order,
        )
        self.directed, self.references, self.asked = (
            pairs is not None,
            references,
            store.count if asked is None else asked,
        )
        if pairs is None:
            self.rows = np.flatnonzero(self.distinct[: self.asked] >= count)
        else:
            row, source, target = pairs.T
            self.pairs = pairs[(self.distinct[row] >= count) & (self.alike[row, source] != self.alike[row, target])]
            self.rows = self.pairs[:, 0]
        if not len(self.rows):
            raise DataError(
                f"{count} different frames of one sequence, or of one person's pictures, are needed; no sequence and no person "
                "of this data set has as many."
            )
        if references is not None:  # none is its own example
            self.references = references = np.where(
                store["subject"][references] == store["subject"][:, None], -1, references
            )
        short = references is None or ((references[: self.asked] >= 0).sum(1) < others).any()
        if short and (have := len(np.unique(store["subject"][: self.asked]))) <= others:
            raise DataError(
                f"Pictures of {others} other subjects are needed beside each one's, but this part of the data set has {have}."
            )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def subjects(self) -> np.ndarray:
        """(len,) int64: a number for the subject of each sequence or pair."""
        return np.array(self.store["subject"])[self.rows]

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        rng = np.random.default_rng(derive_seed(self.seed, *key))
        drawn = key[1] % len(self) if self.in_order else int(rng.integers(len(self)))
        mirrored = not self.in_order and rng.random() < 0.5
        row = int(self.rows[drawn])
        item = self._frames(row, self._choose(drawn, row, rng), mirrored, "")
        if self.others:
            rows = self._examples(row, rng)
            parts = [
                self._frames(other, rng.permutation(self._unlike(other))[:1], mirrored, "other_") for other in rows
            ]
            item |= {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return item

    def _examples(self, row: int, rng: np.random.Generator) -> list[int]:
        """Rows of `others` other subjects: those listed for this one first."""
        subject = self.store["subject"]
        chosen: list[int] = []
        if self.references is not None:
            listed = self.references[row][self.references[row] >= 0]
            chosen = [int(r) for r in (listed if self.in_order else rng.permutation(listed))[: self.others]]
        used = {int(subject[r]) for r in (row, *chosen)}
        while len(chosen) < self.others:
            drawn = int(rng.integers(self.asked))
            if int(subject[drawn]) not in used:
                used.add(int(subject[drawn]))
                chosen.append(drawn)
        return chosen

    def _unlike(self, row: int) -> np.ndarray:
        """Places of a row's frames, no two of which look the same."""
        return np.flatnonzero(self.alike[row] == np.arange(self.alike.shape[1]))

    def _choose(self, drawn: int, row: int, rng: np.random.Generator) -> np.ndarray:
        """Places of the target, then of its sources."""
        if not self.directed:
            return rng.permutation(self._unlike(row))[: self.count]
        _, source, target = self.pairs[drawn]
        rest = np.setdiff1d(self._unlike(row), self.alike[row, [source, target]])
        return np.array([target, source, *rng.permutation(rest)])[: self.count]

    def _frames(self, row: int, chosen: np.ndarray, mirrored: bool, prefix: Literal["", "other_"]) -> dict[str, Tensor]:
        item = {}
        for field, name in (("image", "frames"), ("condition", "conditions")):
            if field in self.store.arrays:
                images = torch.from_numpy(self.store[field][row, chosen].astype(np.float32)) / 255
                item[prefix + name] = images.flip(-1) if mirrored else images
        if "keypoints" in self.store.arrays:
            points = torch.from_numpy(self.store["keypoints"][row, chosen])
            if mirrored:
                assert self.schema is not None  # which data with key-points have
                points = self.schema.mirror(points, self.store["image"].shape[-1])
            item[prefix + "keypoints"] = points
        return item
