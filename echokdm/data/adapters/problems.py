"""Every problem of a folder, collected and then told at once."""

from collections.abc import Iterable
from typing import NoReturn

import pandas as pd

from echokdm.core.errors import DataError

COLUMNS = ["sequence", "subject", "split", "path"]
"""Columns that every index begins with."""

SHOWN = 3

OTHER_SIZE = "of another image size than most"


class Problems:
    """What is wrong with a folder of the data set `name`: for each kind, such as "missing", the files or places concerned."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: dict[str, list[str]] = {}

    def add(self, kind: str, places: str | Iterable[str]) -> None:
        """Note a problem for one place, or for each of several."""
        new = [places] if isinstance(places, str) else [str(place) for place in places]
        if new:
            self.found.setdefault(kind, []).extend(new)

    def __len__(self) -> int:
        return sum(map(len, self.found.values()))

    def lines(self, shown: int = SHOWN) -> list[str]:
        """One line a kind: count, kind, the first few places."""
        return [f"{len(places)} {kind}: {', '.join(places[:shown])}" + (f" and {len(places) - shown} more" if len(places) > shown else "")
                for kind, places in self.found.items()]

    def fail(self, usable: pd.DataFrame | None = None) -> NoReturn:
        """Raise DataError that tells all of it. usable: the index of what is sound."""
        count = f"{len(self)} problem{'s' if len(self) != 1 else ''}"
        raise DataError(f"This {self.name} folder has {count} (docs/data.md shows the layout): {'; '.join(self.lines())}.",
                        self.found, empty_index() if usable is None else usable)

    def finish(self, index: pd.DataFrame) -> pd.DataFrame:
        """The index in its final form: base columns first, rows in order; listings twice and subjects in two splits are problems too.

        Raises DataError where any problem was found; its `usable` is the index.
        """
        if index.empty and not self.found:
            self.add("missing", "any sequence")
        twice = index["sequence"].duplicated()
        self.add("listed twice", index["sequence"][twice].unique())
        self.add("in two splits", _in_two_splits(index))
        index = index[~twice]
        index = index[COLUMNS + [column for column in index.columns if column not in COLUMNS]].reset_index(drop=True)
        if self.found:
            self.fail(index)
        return index


def empty_index() -> pd.DataFrame:
    """An index without rows."""
    return pd.DataFrame(columns=COLUMNS, dtype=object)


def _in_two_splits(index: pd.DataFrame) -> list[str]:
    """Subjects whose sequences are in more than one split."""
    pairs = index[["subject", "split"]].drop_duplicates()
    return sorted(pairs["subject"][pairs["subject"].duplicated()].unique())
