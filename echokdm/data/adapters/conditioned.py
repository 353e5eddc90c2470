"""Pictures with a condition each, for translation by example: CelebA-HQ with edges, LSUN-Churches with segmentation
maps."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from echokdm.core.errors import ClipError
from echokdm.core.folders import IMAGES, listing
from echokdm.data.adapters.build import labels_of, read_frames, sequence
from echokdm.data.adapters.folder import open_root, read_table, safe
from echokdm.data.adapters.problems import Problems

if TYPE_CHECKING:
    from torch import Tensor

    from echokdm.core.types import Clip, Sequence
    from echokdm.data.adapters import Row

CANNY_SIGMA = 2.0  # pixels


@dataclass(frozen=True)
class ConditionedImages:
    """`images/` and `conditions/` with equal file stems, in the root or in `train/`, `val/` and `test/`; optional
    `references.csv`.

    references.csv: key,ref1,ref2, file names or stems in `images/`: the examples of each picture. edges: the condition
    is made by Canny's filter where there is no `conditions/`.
    """

    name: str
    what: str
    edges: bool = False
    schema: str = ""
    one_size: bool = True

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a picture; labels ref1 and ref2 name other sequences where a list gives them, else "". Raises
        DataError."""
        root, problems = open_root(root, self.name), Problems(self.name, ["references.csv"])
        splits = [split for split in ("train", "val", "test") if (root / split).is_dir()]
        parts = [self._part(root / split, split, problems) for split in splits] or [self._part(root, "all", problems)]
        return problems.finish(pd.concat(parts, ignore_index=True))

    def _part(self, folder: Path, split: str, problems: Problems) -> pd.DataFrame:
        images, conditions = _pictures(folder / "images"), _pictures(folder / "conditions")
        if images.empty:
            problems.note("missing", f"{'' if split == 'all' else split + '/'}images/")
        if conditions.empty and not self.edges:
            problems.note("missing", f"{'' if split == 'all' else split + '/'}conditions/")
        elif not conditions.empty:
            problems.add("without a condition", images[~images.index.isin(conditions.index)])
            problems.add("conditions without a picture", conditions[~conditions.index.isin(images.index)])
        if not self.edges or not conditions.empty:
            images = images[images.index.isin(conditions.index)]
        prefix = "" if split == "all" else f"{split}/"
        found = conditions.reindex(images.index)
        stems = prefix + images.index.astype("str")
        index = pd.DataFrame(
            {
                "sequence": stems,
                "subject": stems,
                "split": split,
                "path": f"{folder / 'images'}{os.sep}" + images,
                "_condition": (f"{folder / 'conditions'}{os.sep}" + found).fillna(""),
            }
        ).reset_index(drop=True)
        return index.join(_references(folder, images, prefix, problems))

    def read(self, row: "Row") -> "Sequence":
        """One frame; label `condition` (1, C, H, W) is its edges or segmentation map. Raises ClipError."""
        clip = read_frames(row["path"])
        if not row["_condition"]:
            return sequence(clip, labels_of(row) | {"condition": _canny(clip)})
        condition = read_frames(row["_condition"])
        if condition.size != clip.size:
            sizes = [f"{c.size[1]} x {c.size[0]}" for c in (condition, clip)]
            raise ClipError(f"The condition has {sizes[0]} pixels, its picture {sizes[1]}: scale them to one size.")
        return sequence(clip, labels_of(row) | {"condition": condition.frames})


def _pictures(folder: Path) -> pd.Series:
    """File names of a folder's pictures by their stems."""
    names = pd.Series(
        [name for name, is_folder in listing(folder).items() if not is_folder and name.lower().endswith(IMAGES)],
        dtype="str",
    )
    return names.set_axis(names.str.replace(r"\.[^.]*$", "", regex=True).astype("str"))


def _references(folder: Path, images: pd.Series, prefix: str, problems: Problems) -> pd.DataFrame:
    """Columns ref1 and ref2 for the pictures, by position."""
    empty = pd.DataFrame({"ref1": "", "ref2": ""}, index=range(len(images)))
    if not (folder / "references.csv").exists():
        return empty
    columns = ["key", "ref1", "ref2"]
    table = read_table(folder / "references.csv", columns, problems, text=columns)
    if table is None:
        return empty
    named = pd.concat([table[column] for column in columns]).drop_duplicates()
    named = named[safe(named, problems)]
    stems = table[columns].apply(lambda column: column.str.replace(r"\.(png|jpe?g)$", "", case=False, regex=True))
    known = named.str.replace(r"\.(png|jpe?g)$", "", case=False, regex=True).isin(images.index)
    problems.add("listed in references.csv, but missing", named[~known])
    found = stems[stems.isin(images.index).all(axis=1)].drop_duplicates("key").set_index("key").reindex(images.index)
    return (prefix + found[["ref1", "ref2"]]).fillna("").reset_index(drop=True)


def _canny(clip: "Clip") -> "Tensor":
    """Edges (T, 1, H, W) of a clip, 1 on an edge."""
    import torch
    from skimage.feature import canny

    edges = np.stack([canny(frame, sigma=CANNY_SIGMA) for frame in clip.gray[:][:, 0].numpy()])
    return torch.from_numpy(edges.astype(np.float32))[:, None]


CELEBA_HQ = ConditionedImages(
    "celeba-hq", "CelebA-HQ: images/, optional conditions/ (edges; else Canny's), references.csv", edges=True
)
CHURCHES = ConditionedImages(
    "lsun-churches", "LSUN-Churches: images/, conditions/ (segmentation maps), optional references.csv"
)
