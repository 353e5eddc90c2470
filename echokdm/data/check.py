"""Read a whole data set and tell every problem at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import pandas as pd

from echokdm.core.errors import DataError, EchoKDMError, GeometryError
from echokdm.data.adapters import Adapter
from echokdm.data.adapters.folder import known_split
from echokdm.data.adapters.problems import EMPTY, OTHER_SIZE, Problems, numbered

Track = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Checked:
    """What a data set holds: sequences, subjects and frames by split, the sequences of each picture size, and its
    problems.

    empty: frames for which a file holds nobody, which is no problem.
    """

    counts: pd.DataFrame
    sizes: dict[tuple[int, int], int]
    problems: Problems
    empty: int = 0


def untracked(rows: Iterable[Any], _: int) -> Iterable[Any]:
    """The progress of those who want none."""
    return rows


def check_folder(adapter: Adapter, root: str | PathLike[str], track: Track = untracked) -> Checked:
    """Index `root`, then read each sequence of it. Raises DataError where the folder is not of this layout at all.

    track: wraps the rows, of which it is told the number, to show progress.
    """
    problems = Problems(adapter.name)
    try:
        index = adapter.index(root)
    except DataError as error:
        if not error.problems:
            raise
        problems.found, index = dict(error.problems), error.usable
    problems.locate(index["sequence"], numbered("sequence", len(index)))
    frames, size_of, empty = {}, {}, 0
    for row in track(index.to_dict("records"), len(index)):
        try:
            sequence = adapter.read(row)
        except EchoKDMError as error:
            kind = "with bad key-points" if isinstance(error, GeometryError) else "unreadable"
            problems.add(kind, row["sequence"], str(error).rstrip("."))
            continue
        frames[row["sequence"]], size_of[row["sequence"]] = len(sequence), sequence.size
        empty += int(sequence.labels.get(EMPTY, 0))
    sizes = pd.Series(size_of, dtype=object).value_counts().to_dict()
    if adapter.one_size and len(sizes) > 1:
        usual = max(sizes, key=sizes.get)
        told = problems.found.get(OTHER_SIZE, [])
        problems.add(OTHER_SIZE, [name for name, size in size_of.items() if size != usual and name not in told])
    table = index.assign(frames=index["sequence"].map(frames).fillna(0).astype(int))
    told = table["split"].map(lambda split: known_split(str(split), "other"))
    counts = table.groupby(told).agg(
        sequences=("sequence", "size"), subjects=("subject", "nunique"), frames=("frames", "sum")
    )
    return Checked(counts, sizes, problems, empty)
