"""A folder of memory-mapped arrays, filled in chunks; filling goes on where it was stopped."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

Layout = dict[str, tuple[tuple[int, ...], str]]


class _Chunks(Dataset):
    """What is to be filled, chunk by chunk, for a loader's processes."""

    def __init__(self, chunks: list[range], produce: Callable[[range], dict[str, np.ndarray]]) -> None:
        self.chunks, self.produce = chunks, produce

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> tuple[range, dict[str, np.ndarray]]:
        return self.chunks[number], self.produce(self.chunks[number])


def _as_it_is(made: tuple[range, dict[str, np.ndarray]]) -> tuple[range, dict[str, np.ndarray]]:
    return made


class ArrayStore:
    """`count` rows of named arrays in one folder: `<name>.npy` a field, `layout.json`, `done.json`.

    layout: name -> (shape of a row, dtype). A store of another layout or origin in the folder is an error, so that a
    changed configuration never trains on stale data.
    """

    def __init__(self, folder: Path, count: int, layout: Layout, origin: dict) -> None:
        self.folder, self.count = folder, count
        folder.mkdir(parents=True, exist_ok=True)
        described = folder / "layout.json"
        before = described.read_text() if described.exists() else ""
        salt = match[1] if (match := re.search(r'"salt": "([0-9a-f]{32})"', before)) else secrets.token_hex(16)
        # What it was made from has paths and names of files in it: told apart, and not told.
        digest = hashlib.blake2b(json.dumps(origin, sort_keys=True).encode(), key=salt.encode()).hexdigest()
        description = json.dumps({"count": count, "layout": layout, "origin": digest, "salt": salt}, sort_keys=True)
        if before != description:
            for name, (shape, dtype) in layout.items():
                np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(count, *shape)).flush()
            (folder / "done.json").unlink(missing_ok=True)
            described.write_text(description)
        self.arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in layout}

    @property
    def done(self) -> int:
        """Rows filled so far."""
        file = self.folder / "done.json"
        return json.loads(file.read_text()) if file.exists() else 0

    def fill(
        self, produce: Callable[[range], dict[str, np.ndarray]], chunk: int, label: str, workers: int = 0
    ) -> "ArrayStore":
        """Fill the rows that are missing by `produce(rows)`, `chunk` rows at a time, with a progress bar.

        workers: processes that produce, besides this one, which writes; 0: this one does both. The rows are the same.
        """
        from echokdm.core.progress import progress_bar

        begin = self.done
        chunks = [range(start, min(start + chunk, self.count)) for start in range(begin, self.count, chunk)]
        with progress_bar(disable=begin == self.count) as shown:
            bar = shown.add_task(label, total=self.count, completed=begin)
            loader = DataLoader(
                _Chunks(chunks, produce),
                batch_size=None,
                num_workers=workers,
                collate_fn=_as_it_is,  # type: ignore[arg-type]  # without batches it gets one item
                generator=torch.Generator(),
            )  # its own: the caller's draws stay what they are
            for rows, made in loader:
                for name, values in made.items():
                    self.arrays[name][rows.start : rows.stop] = values
                for array in self.arrays.values():
                    array.flush()
                temporary = self.folder / "done.tmp"
                temporary.write_text(json.dumps(rows.stop))
                os.replace(temporary, self.folder / "done.json")
                shown.update(bar, completed=rows.stop)
        return self

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]
