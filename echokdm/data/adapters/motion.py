"""The motion-transfer layout (Siarohin et al., NeurIPS 2019): `train/` and `test/` of videos, frame folders or strips
of frames."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from echokdm.core.errors import ClipError
from echokdm.core.folders import IMAGES, listing
from echokdm.data.adapters.build import labels_of, read_frames, sequence
from echokdm.data.adapters.folder import VIDEOS, open_root
from echokdm.data.adapters.problems import Problems

if TYPE_CHECKING:
    from echokdm.core.types import Sequence
    from echokdm.data.adapters import Row

LAYOUT = "train/ and test/ of mp4, gif, frame folders or horizontal strips"


@dataclass(frozen=True)
class MotionTransfer:
    """Videos (`.mp4`, `.gif`, ...), folders of frames, whatever their name ends in, and pictures that are square frames
    in a row.

    The identity is the text before the first `#` of a name, as in `id10283#2Ci0WH8Z_GY#00001.mp4`.
    """

    name: str
    what: str
    schema: str = ""
    one_size: bool = True

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row an entry of `train/` and `test/` (and `val/` where it is); label `kind`: video, folder or strip.
        Raises DataError."""
        root, problems = open_root(root, self.name), Problems(self.name)
        parts = []
        for split in ("train", "val", "test"):
            if (root / split).is_dir():
                entries = pd.Series(listing(root / split), dtype=bool)
                parts.append(pd.DataFrame({"name": entries.index, "is_folder": entries.to_numpy(), "split": split}))
            elif split != "val":
                problems.note("missing", f"{split}/")
        if not parts:
            problems.fail()
        table = pd.concat(parts, ignore_index=True)
        names = table["name"].astype("str")
        ending = names.str.extract(r"(\.[^.]*)$")[0].fillna("").str.lower()
        kind = np.select(
            [table["is_folder"], ending.isin(VIDEOS), ending.isin(IMAGES)], ["folder", "video", "strip"], ""
        )
        problems.add("neither video, picture nor folder", names[kind == ""])
        stems = names.str.replace(r"\.[^.#]*$", "", regex=True)
        paths = f"{root}{os.sep}" + table["split"] + os.sep + names
        index = pd.DataFrame(
            {
                "sequence": table["split"] + "/" + names,
                "subject": stems.str.partition("#")[0],
                "split": table["split"],
                "path": paths,
                "kind": kind,
            }
        )
        return problems.finish(index[kind != ""])

    def read(self, row: "Row") -> "Sequence":
        """The frames of one entry. Raises ClipError."""
        clip = read_frames(row["path"])
        if row["kind"] == "strip":
            height, width = clip.size
            if width % height:
                raise ClipError(
                    f"A strip holds square frames in a row, but {width} pixels are no multiple of its height, {height}."
                )
            frames = clip.frames[0].unflatten(2, (width // height, height)).permute(2, 0, 1, 3)
            clip = clip.with_frames(frames.contiguous())
        return sequence(clip, labels_of(row))


VOXCELEB = MotionTransfer("voxceleb", f"VoxCeleb faces: {LAYOUT}")
DFDC = MotionTransfer("dfdc", f"DeepFake Detection Challenge faces: {LAYOUT}")
UVA_NEMO = MotionTransfer("uva-nemo", f"UvA-Nemo smiles: {LAYOUT}")
AIST = MotionTransfer("aist", f"AIST dances: {LAYOUT}")
TAICHI = MotionTransfer("taichi-hd", f"Tai-Chi-HD bodies: {LAYOUT}")
FASHION = MotionTransfer("fashion", f"Fashion videos: {LAYOUT}")
BAIR = MotionTransfer("bair", f"BAIR robot arm: {LAYOUT}")
MGIF = MotionTransfer("mgif", f"MGif animals: {LAYOUT}", one_size=False)
