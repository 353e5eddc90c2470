"""Every problem of a folder, collected and then told at once."""

from collections.abc import Callable, Iterable
from typing import NoReturn

import pandas as pd

from echokdm.core.errors import DataError
from echokdm.core.naming import names_shown, pseudonym

COLUMNS = ["sequence", "subject", "split", "path"]
"""Columns that every index begins with."""

REFERENCES = ("ref1", "ref2")
"""Further columns where a data set lists examples for a picture: their sequences, "" for none."""

PAIR = ("from", "to")
"""Further columns where a sequence is two pictures, the second of which is to be made of the first: the pictures'
names."""

SHOWN = 3

EMPTY = "frames_without_person"
"""The label that counts the frames of a sequence in which its files hold nobody."""

OTHER_SIZE = "of another image size than most"


class Place(str):
    """Where a problem is: a name of the folder's own and, behind it, a detail without one. As a text it is both, for
    who reads the folder.

    word: name -> how it is told, asked when it is told, since places become known while the folder is read.
    """

    _name: str
    _detail: str
    _word: Callable[[str], str]

    def __new__(cls, name: str, detail: str, word: Callable[[str], str]) -> "Place":
        """Its text."""
        place = super().__new__(cls, f"{name} ({detail})" if detail else name)
        place._name, place._detail, place._word = name, detail, word
        return place

    @property
    def told(self) -> str:
        """What may be put out of it."""
        name = self._word(self._name)
        return f"{name} ({self._detail})" if self._detail else name


class Problems:
    """What is wrong with a folder of the data set `name`: for each kind, such as "missing", the files or places
    concerned.

    tables: names of files that the layout gives, which can be no patient's and are told as they are.
    """

    def __init__(self, name: str, tables: Iterable[str] = ()) -> None:
        self.name = name
        self.found: dict[str, list[str]] = {}
        self._located: dict[str, str] = {table: table for table in tables}

    def locate(self, names: Iterable[str], places: Iterable[str]) -> None:
        """Say where names stand, such as "FileList.csv line 3", by which they are told from now on; the first place of
        a name counts."""
        for name, place in zip(names, places, strict=True):
            self._located.setdefault(str(name).removesuffix(".avi"), place)

    def word(self, name: str) -> str:
        """How a name is told: by its place or, where it has none, a salted hash."""
        return self._located.get(name.removesuffix(".avi")) or pseudonym(name)

    def add(self, kind: str, names: str | Iterable[str], detail: str = "") -> None:
        """Note a problem for what has a name, or for each of several. detail: more on it, without a name."""
        self._note(kind, [Place(name, detail, self.word) for name in _several(names)])

    def note(self, kind: str, places: str | Iterable[str]) -> None:
        """Note a problem for a place whose words are the data set's or our own, such as "FileList.csv line 3", or for
        each of several."""
        self._note(kind, _several(places))

    def _note(self, kind: str, places: list[str]) -> None:
        if places:
            self.found.setdefault(kind, []).extend(places)

    def __len__(self) -> int:
        return sum(map(len, self.found.values()))

    @property
    def withheld(self) -> bool:
        """Whether `lines` tells of something by another word than its name."""
        return any(_told(place) != place for places in self.found.values() for place in places)

    def lines(self, shown: int = SHOWN) -> list[str]:
        """One line a kind: count, kind, the first few places."""
        return [
            f"{len(places)} {kind}: {', '.join(map(_told, places[:shown]))}"
            + (f" and {len(places) - shown} more" if len(places) > shown else "")
            for kind, places in self.found.items()
        ]

    def fail(self, usable: pd.DataFrame | None = None) -> NoReturn:
        """Raise DataError that tells all of it. usable: the index of what is sound."""
        count = f"{len(self)} problem{'s' if len(self) != 1 else ''}"
        hint = "docs/data.md shows the layout" + (", --show-names the names" if self.withheld else "")
        raise DataError(
            f"This {self.name} folder has {count} ({hint}): {'; '.join(self.lines())}.",
            self.found,
            empty_index() if usable is None else usable,
        )

    def finish(self, index: pd.DataFrame) -> pd.DataFrame:
        """The index in its final form: base columns first, rows in order; listings twice and subjects in two splits are
        problems too.

        Raises DataError where any problem was found; its `usable` is the index.
        """
        if index.empty and not self.found:
            self.note("missing", "any sequence")
        self.locate(index["sequence"], numbered("sequence", len(index)))
        self.locate(index["subject"], (f"the subject of {place}" for place in numbered("sequence", len(index))))
        twice = index["sequence"].duplicated()
        self.add("listed twice", index["sequence"][twice].unique())
        self.add("in two splits", _in_two_splits(index))
        index = index[~twice]
        index = index[COLUMNS + [column for column in index.columns if column not in COLUMNS]].reset_index(drop=True)
        if self.found:
            self.fail(index)
        return index


def numbered(what: str, count: int) -> list[str]:
    """ "sequence 1 of 12" to "sequence 12 of 12"."""
    return [f"{what} {number} of {count}" for number in range(1, count + 1)]


def empty_index() -> pd.DataFrame:
    """An index without rows."""
    return pd.DataFrame(columns=COLUMNS, dtype=object)


def _several(texts: str | Iterable[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else [str(text) for text in texts]


def _told(place: str) -> str:
    return place.told if isinstance(place, Place) and not names_shown() else place


def _in_two_splits(index: pd.DataFrame) -> list[str]:
    """Subjects whose sequences are in more than one split."""
    pairs = index[["subject", "split"]].drop_duplicates()
    return sorted(pairs["subject"][pairs["subject"].duplicated()].unique())
