"""DeepFashion and Market-1501 as pose-transfer pairs (layout of Zhu et al., CVPR 2019): two pictures of one person, 18
joints each."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from echokdm.core.errors import GeometryError
from echokdm.core.folders import listing
from echokdm.data.adapters.build import labels_of, read_stack, sequence
from echokdm.data.adapters.folder import open_root, present, read_table, safe
from echokdm.data.adapters.problems import Problems

if TYPE_CHECKING:
    from echokdm.core.types import Sequence
    from echokdm.data.adapters import Row

JOINTS = 18
TABLES, SPLITS = ("pairs", "annotation"), ("train", "test")
MISSING = -1  # both coordinates of a joint that was not detected


@dataclass(frozen=True)
class PosePairs:
    """`{train,test}/*.jpg`, `<prefix>-pairs-{train,test}.csv` (from,to) and `<prefix>-annotation-*.csv`
    (name:keypoints_y:keypoints_x).

    prefixes: how the tables' names may begin. identity: the end of a file name, a pattern, before which it names the
    person.
    """

    name: str
    what: str
    prefixes: tuple[str, ...]
    identity: str
    schema: str = "openpose-18"
    one_size: bool = True

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a pair, `from` then `to`. Raises DataError."""
        tables = [f"{prefix}-{table}-{split}.csv" for prefix in self.prefixes for table in TABLES for split in SPLITS]
        root, problems = open_root(root, self.name), Problems(self.name, tables)
        parts = [part for split in SPLITS if (part := self._split(root, split, problems)) is not None]
        if not parts:
            problems.fail()
        return problems.finish(pd.concat(parts, ignore_index=True))

    def _split(self, root: Path, split: str, problems: Problems) -> pd.DataFrame | None:
        pairs = read_table(self._file(root, "pairs", split), ["from", "to"], problems, text=["from", "to"])
        joints = ["keypoints_y", "keypoints_x"]
        poses = read_table(
            self._file(root, "annotation", split), ["name", *joints], problems, sep=":", text=["name", *joints]
        )
        if pairs is None or poses is None:
            return None
        poses = poses.drop_duplicates("name").set_index("name")
        ends = pd.Series(pd.concat([pairs["from"], pairs["to"]]).unique(), dtype="str")
        good = ends[safe(ends, problems)]
        good = good[present(good, root / split, problems)]
        without = ~good.isin(poses.index)
        problems.add("without an annotation", good[without])
        good = good[~without]
        counts = poses.loc[good, joints].apply(lambda column: column.str.count(",") + 1)
        wrong = (counts != JOINTS).any(axis=1).to_numpy()
        problems.add(f"without {JOINTS} joints", good[wrong])
        pairs = pairs[pairs[["from", "to"]].isin(set(good[~wrong])).all(axis=1)]
        people = [pairs[end].str.replace(self.identity, "", regex=True) for end in ("from", "to")]
        problems.add("pairs of two people", pairs["from"][people[0] != people[1]])
        folder = f"{root / split}{os.sep}"
        columns = {
            f"_{axis}_{end}": poses.loc[pairs[end], f"keypoints_{axis}"].to_numpy()
            for end in ("from", "to")
            for axis in "xy"
        }
        return pd.DataFrame(
            {
                "sequence": f"{split}/" + pairs["from"] + ">" + pairs["to"],
                "subject": people[0],
                "split": split,
                "path": folder + pairs["from"],
                "from": pairs["from"],
                "to": pairs["to"],
                "_to": folder + pairs["to"],
            }
        ).assign(**columns)

    def _file(self, root: Path, table: str, split: str) -> Path:
        """The table under the first of its names that is there."""
        files = [f"{prefix}-{table}-{split}.csv" for prefix in self.prefixes]
        there = listing(root)
        return root / next((file for file in files if file in there), files[0])

    def read(self, row: "Row") -> "Sequence":
        """Two frames, `from` and `to`, with their joints; those not detected are not visible. Raises ClipError or
        GeometryError."""
        clip = read_stack([row["path"], row["_to"]])
        points = np.stack([[_numbers(row[f"_{axis}_{end}"]) for axis in "xy"] for end in ("from", "to")]).transpose(
            0, 2, 1
        )
        return sequence(clip, labels_of(row), points, (points != MISSING).all(-1), self.schema)


def _numbers(text: str) -> list[float]:
    """A JSON list of 18 numbers. Raises GeometryError."""
    try:
        values = [float(value) for value in json.loads(text)]
    except (ValueError, TypeError):
        raise GeometryError("The joints of this picture are no list of numbers.") from None
    if len(values) != JOINTS:
        raise GeometryError(f"This picture has {len(values)} joints instead of {JOINTS}.")
    return values


DEEPFASHION = PosePairs(
    "deepfashion",
    "DeepFashion: {train,test}/*.jpg, fasion-pairs-*.csv, fasion-annotation-*.csv",
    ("fasion", "fashion"),
    r"_[^_]*$",
)  # "fasion" is how the files are published
MARKET = PosePairs(
    "market-1501", "Market-1501: {train,test}/*.jpg, market-pairs-*.csv, market-annotation-*.csv", ("market",), r"_.*$"
)
