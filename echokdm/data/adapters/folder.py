"""Look at folders and tables of a data set without loading a frame; what is wrong goes to a `Problems`."""

import io
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from echokdm.core.errors import DataError
from echokdm.core.files import check_plain
from echokdm.core.folders import listing
from echokdm.data.adapters.problems import Problems

VIDEOS = (".mp4", ".avi", ".mov", ".gif", ".mkv")

_FOREIGN = {b"\x89HDF\r\n\x1a\n": "an HDF5 file", b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive"}
_CLIMBS = r"(?:^|[/\\])\.\.(?:[/\\]|$)|^[/\\]|^[A-Za-z]:|\x00"


def open_root(root: str | os.PathLike[str], name: str) -> Path:
    """The data set's folder. Raises DataError where it is none: a file, an LMDB or pickle given by mistake, or nothing
    at all."""
    root = check_plain(root, DataError)
    if root.is_file():
        raise DataError(f"A folder in the {name} layout is needed, not {foreign_kind(root) or 'a file'}.")
    if not root.is_dir():
        raise DataError(f"The folder of {name} does not exist: check the path.")
    if (root / "data.mdb").exists():
        raise DataError(
            f"A folder in the {name} layout is needed, not an LMDB database: export its pictures as files first."
        )
    return root


def foreign_kind(path: Path) -> str:
    """What a file is where it is a kind often given by mistake: pickle, LMDB, HDF5, an archive; else ""."""
    check_plain(path, DataError)
    if path.suffix in (".mdb", ".lmdb"):
        return "an LMDB database"
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return ""
    if head[16:20] == b"\xde\xc0\xef\xbe":
        return "an LMDB database"
    # Protocols 2 to 5 begin so; it is never loaded, since a pickle can run code.
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle, which can run code and is never read"
    return next((kind for magic, kind in _FOREIGN.items() if head.startswith(magic)), "")


def read_table(
    path: Path,
    columns: Iterable[str],
    problems: Problems,
    *,
    sep: str = ",",
    text: Iterable[str] = (),
    category: Iterable[str] = (),
) -> pd.DataFrame | None:
    """A CSV with at least `columns`, header spaces stripped; None, and a problem, where it is missing, unreadable or
    lacks one.

    text: columns kept as stripped strings, "" where empty, whose cells are told by their lines. category: the same, as
    categories, quick where values repeat.
    """
    as_text, word = dict.fromkeys(text, "str") | dict.fromkeys(category, "category"), problems.word(path.name)
    try:
        data = check_plain(path, DataError).read_bytes()
        if b"\x00" in data[:1024] or foreign_kind(path):
            raise ValueError
        header = pd.read_csv(io.BytesIO(data), sep=sep, nrows=0, encoding="utf-8-sig").columns
        renamed = {column: column.strip() for column in header}
        lacking = [column for column in columns if column not in renamed.values()]
        if lacking:
            problems.add("wrong columns", path.name, f"lacks {', '.join(lacking)}")
            return None
        types = {column: as_text[name] for column, name in renamed.items() if name in as_text}
        table = pd.read_csv(io.BytesIO(data), sep=sep, encoding="utf-8-sig", dtype=types, skipinitialspace=True)
    except FileNotFoundError:
        problems.add("missing", path.name)
        return None
    except (OSError, ValueError):  # pandas' parser errors and bad UTF-8 are ValueErrors
        kind = foreign_kind(path)
        problems.add("unreadable", path.name, kind)
        return None
    table = table.rename(columns=renamed)
    for column, kind in as_text.items():
        if column in table and kind == "str":
            table[column] = table[column].fillna("").str.strip()
        if column in table:
            first = table[column].drop_duplicates()
            problems.locate(first, (f"{word} line {line + 2}" for line in first.index))
    return table


def numbers(table: pd.DataFrame, columns: list[str], where: str, problems: Problems) -> tuple[np.ndarray, np.ndarray]:
    """`columns` as (R, C) float64, and (R,) which rows are finite throughout; each other row is a problem, named by its
    line in `where`."""
    values = np.empty((len(table), len(columns)))
    for i, column in enumerate(columns):
        values[:, i] = pd.to_numeric(table[column], errors="coerce")
    finite = np.all(np.isfinite(values), axis=1)
    problems.note("not a number", [f"{where} line {line + 2}" for line in table.index[~finite]])
    return values, finite


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts names with their numbers by value: frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.findall(r"\d+|\D+", name)]


def walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(folders from the root, name) of every file below a folder, in order; linked folders are not entered, since they
    may loop."""
    for name, is_folder in listing(folder).items():
        if not is_folder:
            yield above, name
        elif not (folder / name).is_symlink():
            yield from walk(folder / name, (*above, name))


def safe(names: pd.Series, problems: Problems) -> pd.Series:
    """Which names stay inside their folder; one that is absolute or climbs with `..` is refused as a problem, as is an
    empty one."""
    bad = names.str.contains(_CLIMBS, regex=True) | (names == "")
    problems.add("refused, since the name leads out of the folder", names[bad])
    return ~bad


def present(names: pd.Series, folder: Path, problems: Problems) -> pd.Series:
    """Which of the names, already found safe, are in a folder or its sub-folders; the others are missing."""
    there = pd.Series(False, index=names.index)
    for sub, inside in names.groupby(names.str.replace("[^/]*$", "", regex=True)):
        there[inside.index] = inside.str.removeprefix(sub).isin(listing(folder / sub))
    problems.add("missing", names[~there].unique())
    return there


def split_of(parts: Iterable[str]) -> str:
    """The split that one of a path's folders names: "train", "val", "test"; else "all"."""
    for part in parts:
        for split, starts in (("train", ("train",)), ("val", ("val", "dev")), ("test", ("test",))):
            if part.lower().startswith(starts):
                return split
    return "all"


def known_split(split: str, other: str = "all") -> str:
    """A split as it may be put out: its usual name or a fold's number; `other` for another text, since it may be
    anything."""
    return (
        split if split.isdecimal() or split.lower() in ("all", "train", "val", "valid", "validation", "test") else other
    )


def cut(values: np.ndarray, owners: np.ndarray, count: int) -> list[np.ndarray]:
    """Rows (R, C) -> for each of `count` owners its rows, in the order given; owners (R,) int, negative for nobody."""
    if (kept := owners >= 0).sum() < len(owners):
        values, owners = values[kept], owners[kept]
    if (owners[1:] < owners[:-1]).any():
        order = np.argsort(owners, kind="stable")
        values, owners = values[order], owners[order]
    return np.split(values, np.searchsorted(owners, np.arange(1, count)))
