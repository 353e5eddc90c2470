"""Which rows of an index a training learns from and which are held out."""

import hashlib

import pandas as pd

from echokdm.core.errors import DataError

HELD_OUT_SHARE = 0.2  # of the subjects of a data set that names no splits
ALL = "all"  # what an index says of rows in no split, and what a configuration says to learn from every row


def training_rows(index: pd.DataFrame, split: str, held_out: str) -> pd.DataFrame:
    """Rows to learn from: those in `split`, and those in no split that are not held out; every row for ALL. See
    `held_out_rows`.

    Raises DataError where there are none.
    """
    if split == ALL:
        return index
    return _some(index, _in_split(index, split, held_out), split)


def held_out_rows(index: pd.DataFrame, split: str, held_out: str) -> pd.DataFrame:
    """Rows that a training on `split` must not see: those in the split `held_out`.

    Rows in no split ("all") go where the data set has nothing of its own: to training where it names the held-out rows
    alone, the other way round, and by their subjects' hashes, HELD_OUT_SHARE to be held out, where it names neither; to
    neither where it names both. Raises DataError where there are none, or a subject of theirs is learned from.
    """
    rows = _some(index, _in_split(index, held_out, split, held=True), held_out)
    learned = training_rows(index, split, held_out)
    shared = set(rows["subject"]) & set(learned["subject"])
    if shared:
        raise DataError(
            f"{len(shared)} of {rows['subject'].nunique()} held-out subjects are also in the training split '{split}', so that "
            "nothing would be measured on them: name another split as data.held_out, or a data set that was not learned from."
        )
    return rows


def hashed_out(subjects: pd.Series) -> pd.Series:
    """Which of the subjects are held out, told by a hash of each one's name: the same at every call, whatever other
    subjects there are.

    Of two or more at least one is held out and one is not; a single one is not.
    """
    place = {
        subject: int.from_bytes(hashlib.sha256(str(subject).encode()).digest()[:8], "big") / 2**64
        for subject in set(subjects)
    }
    out = {subject for subject, share in place.items() if share < HELD_OUT_SHARE}
    if not out and len(place) > 1:
        out = {min(place, key=place.__getitem__)}
    elif out and len(out) == len(place):
        out -= {max(place, key=place.__getitem__)}
    return subjects.isin(out)


def _in_split(index: pd.DataFrame, wanted: str, other: str, held: bool = False) -> pd.Series:
    named = set(index["split"])
    mine, rest = index["split"] == wanted, index["split"] == ALL
    if wanted == ALL or not rest.any() or wanted in named:
        return mine
    if other in named and other != ALL:
        return mine | rest
    out = pd.Series(False, index=index.index)
    out[rest] = hashed_out(index["subject"][rest])
    return mine | (rest & (out if held else ~out))


def _some(index: pd.DataFrame, chosen: pd.Series, split: str) -> pd.DataFrame:
    if not chosen.any():
        named = sorted(index["split"].unique())
        raise DataError(
            "The data set has one subject alone, so that none can be held out."
            if named == [ALL]
            else f"The data set has nothing in the split '{split}': it has {', '.join(named)}."
        )
    return index[chosen]
