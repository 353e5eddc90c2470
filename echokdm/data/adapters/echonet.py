"""EchoNet-Dynamic (Ouyang et al., Nature 2020), -Pediatric (Reddy et al., JASE 2023) and -LVH (Duffy et al., JAMA
Cardiology 2022)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from echokdm.core.errors import GeometryError
from echokdm.core.folders import listing
from echokdm.data.adapters.build import at_frames, labels_of, read_frames, sequence
from echokdm.data.adapters.folder import cut, numbers, open_root, present, read_table, safe
from echokdm.data.adapters.problems import OTHER_SIZE, Problems

if TYPE_CHECKING:
    from echokdm.core.types import KeypointSchema, Sequence
    from echokdm.data.adapters import Row

TABLES = "FileList.csv", "VolumeTracings.csv"
BAD_TRACING = "with a bad tracing"


def _with_avi(names: pd.Series) -> pd.Series:
    """File names, which EchoNet writes with `.avi` in some tables and without in others, all with it."""
    return names.str.replace(r"\.avi$", "", case=False, regex=True) + ".avi"


def _listed(folder: Path, problems: Problems) -> pd.DataFrame | None:
    """FileList.csv's rows whose video is there, as an index without tracings; other columns are labels."""
    files = read_table(folder / "FileList.csv", ["FileName", "EF", "Split"], problems, text=["FileName", "Split"])
    if files is None:
        return None
    ef, finite = numbers(files, ["EF"], "FileList.csv", problems)
    files = files.assign(EF=ef[:, 0])[finite & safe(files["FileName"], problems)]
    names = _with_avi(files["FileName"])
    there = present(names, folder / "Videos", problems)
    files, names = files[there], names[there]
    if {"FrameHeight", "FrameWidth"} <= set(files):
        sizes = files["FrameWidth"].astype(str) + " x " + files["FrameHeight"].astype(str)
        problems.add(OTHER_SIZE, names[sizes != sizes.mode().max()].str.removesuffix(".avi"))
    stems = names.str.removesuffix(".avi")
    return (
        files.drop(columns=["FileName", "Split"])
        .assign(
            sequence=stems, subject=stems, split=files["Split"].str.lower(), path=f"{folder / 'Videos'}{os.sep}" + names
        )
        .reset_index(drop=True)
    )


def _tracings(
    folder: Path, columns: list[str], index: pd.DataFrame, problems: Problems, unknown: str = "^$"
) -> list[np.ndarray]:
    """For each row of the index its (R, C) numbers of VolumeTracings.csv in the file's order; those of unlisted clips
    are left out.

    unknown: a pattern of cells in Frame that stand for no frame, whose lines are passed over.
    """
    lines = read_table(folder / "VolumeTracings.csv", ["FileName", *columns], problems, category=["FileName"])
    if lines is None:
        return [np.zeros((0, len(columns)))] * len(index)
    if not pd.api.types.is_numeric_dtype(lines["Frame"]):
        lines = lines[~lines["Frame"].astype(str).str.contains(unknown)]
    values, finite = numbers(lines, columns, "VolumeTracings.csv", problems)
    names = lines["FileName"].cat
    rows = (
        pd.Index(index["sequence"])
        .drop_duplicates()
        .get_indexer(_with_avi(names.categories.to_series()).str.removesuffix(".avi"))
    )
    # Categories are numbered; number -> row of the index. The last entry is for an empty cell, whose number is -1.
    owners = np.append(rows, -1)[names.codes.to_numpy()]
    first = index["sequence"].drop_duplicates().index.to_numpy()
    owners = np.where((owners >= 0) & finite, np.append(first, -1)[owners], -1)
    return cut(values, owners, len(index)) if len(index) else []


@dataclass(frozen=True)
class EchoNetDynamic:
    """`FileList.csv`, `VolumeTracings.csv` (axis first, then chords; frames from 0) and `Videos/*.avi`; 40 points in
    traced frames."""

    name: str = "echonet-dynamic"
    schema: str = "a4c-bloodpool-40"
    what: str = "EchoNet-Dynamic: FileList.csv, VolumeTracings.csv, Videos/*.avi"
    one_size: bool = True

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """Rows of FileList.csv; label `traced` counts the traced frames. Raises DataError."""
        root, problems = open_root(root, self.name), Problems(self.name, TABLES)
        index = _listed(root, problems)
        if index is None:
            problems.fail()
        tracings = _tracings(root, ["X1", "Y1", "X2", "Y2", "Frame"], index, problems)
        owner = np.repeat(np.arange(len(index)), [len(rows) for rows in tracings])
        frame = np.concatenate(tracings)[:, 4] if tracings else np.zeros(0)
        per_frame = (
            pd.DataFrame({"owner": owner, "frame": frame}).groupby(["owner", "frame"]).size().reset_index(name="lines")
        )
        # An outline needs the axis and two chords.
        bad = (per_frame["lines"] < 3) | (per_frame["frame"] < 0) | (per_frame["frame"] % 1 != 0)
        if "NumberOfFrames" in index:
            bad |= (
                per_frame["frame"]
                >= pd.to_numeric(index["NumberOfFrames"], errors="coerce").to_numpy()[per_frame["owner"]]
            )
        problems.add(BAD_TRACING, index["sequence"].iloc[per_frame["owner"][bad].unique()])
        index["traced"] = np.bincount(per_frame["owner"], minlength=len(index))
        index["_tracing"] = tracings
        return problems.finish(index)

    def read(self, row: "Row") -> "Sequence":
        """The video with 40 key-points in its traced frames. Raises ClipError or GeometryError."""
        from echokdm.ops.ventricle import keypoints_from_tracing

        clip, lines = read_frames(row["path"]), row["_tracing"]
        given = {
            int(frame): keypoints_from_tracing(lines[lines[:, 4] == frame, :4]) for frame in np.unique(lines[:, 4])
        }
        return sequence(clip, labels_of(row), *at_frames(given, len(clip), 40), self.schema)


@dataclass(frozen=True)
class EchoNetPediatric:
    """`A4C/` and `PSAX/`, each with FileList.csv (Split is a fold), VolumeTracings.csv (polygons X, Y, Frame) and
    Videos/.

    A4C pictures are turned apex up, as EchoNet-Dynamic's are, and carry 40 points; a short axis has no apex, so PSAX
    has none.
    """

    name: str = "echonet-pediatric"
    schema: str = "a4c-bloodpool-40"
    what: str = "EchoNet-Pediatric: A4C/ and PSAX/ with FileList.csv, VolumeTracings.csv, Videos/*.avi"
    one_size: bool = True

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """Rows of both file lists with the label `view`; the data set names no patients, so each video is its own.
        Raises DataError."""
        root, problems = open_root(root, self.name), Problems(self.name, TABLES)
        views = [view for view in ("A4C", "PSAX") if (root / view).is_dir()]
        if not views:
            problems.note("missing", ["A4C", "PSAX"])
        parts = []
        for view in views:
            part = _listed(root / view, problems)
            if part is not None:
                tracings = _tracings(root / view, ["X", "Y", "Frame"], part, problems, unknown="^No ")
                stems = f"{view}/" + part["sequence"]
                parts.append(part.assign(sequence=stems, subject=stems, view=view, _tracing=tracings))
        if not parts:
            problems.fail()
        return problems.finish(pd.concat(parts, ignore_index=True))

    def read(self, row: "Row") -> "Sequence":
        """The video, apex up, with 40 key-points in an A4C's traced frames. Raises ClipError or GeometryError."""
        from echokdm.ops.ventricle import keypoints_from_polygon

        clip, lines = read_frames(row["path"]), row["_tracing"]
        if row["view"] != "A4C":
            return sequence(clip, labels_of(row))
        lines = np.column_stack([lines[:, 0], clip.size[0] - 1 - lines[:, 1], lines[:, 2]])
        clip = clip.with_frames(clip.frames[:].flip(2))
        given = {
            int(frame): keypoints_from_polygon(lines[lines[:, 2] == frame, :2]) for frame in np.unique(lines[:, 2])
        }
        return sequence(clip, labels_of(row), *at_frames(given, len(clip), 40), self.schema)


CALIPERS = ("IVS", "LVID", "LVPW")
"""What is measured across a parasternal long axis: septum, ventricle, posterior wall; d or s after it says when."""


def plax_schema() -> "KeypointSchema":
    """`plax-calipers-6`: both ends of each of the three calipers."""
    from echokdm.core.types import KeypointSchema

    names = tuple(f"{caliper}_{end}" for caliper in CALIPERS for end in (1, 2))
    return KeypointSchema(
        "plax-calipers-6", names, ((0, 1), (2, 3), (4, 5)), ((1.0, 0.6, 0.0), (0.0, 0.7, 1.0), (0.6, 1.0, 0.2))
    )


@dataclass(frozen=True)
class EchoNetLVH:
    """`MeasurementsList.csv`, one caliper a line with its length in cm, and the videos in `Batch*/`; parasternal long
    axis."""

    name: str = "echonet-lvh"
    schema: str = "plax-calipers-6"
    what: str = "EchoNet-LVH: MeasurementsList.csv, Batch*/*.avi; calipers across a parasternal long axis"
    one_size: bool = False

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a video; label `spacing_mm` (row, column) from length / pixels, the median over its calipers. Raises
        DataError."""
        root, problems = open_root(root, self.name), Problems(self.name, ["MeasurementsList.csv"])
        columns = ["CalcValue", "X1", "Y1", "X2", "Y2", "Frame"]
        lines = read_table(
            root / "MeasurementsList.csv",
            ["HashedFileName", "Calc", *columns, "split"],
            problems,
            text=["HashedFileName", "Calc", "split"],
        )
        if lines is None:
            problems.fail()
        values, finite = numbers(lines, columns, "MeasurementsList.csv", problems)
        kept = finite & safe(lines["HashedFileName"], problems)
        lines, values = lines[kept], pd.DataFrame(values, lines.index, columns)[kept]
        names = _with_avi(lines["HashedFileName"])
        split = lines["split"].str.lower()
        pairs = pd.DataFrame({"name": names, "split": split}).drop_duplicates()
        problems.add("in two splits", pairs["name"][pairs["name"].duplicated()].unique())
        places = {
            file: folder
            for folder in [root, *(root / sub for sub, is_dir in listing(root).items() if is_dir)]
            for file in listing(folder)
        }
        there = names.isin(places)
        problems.add("missing", names[~there].unique())
        calc = lines["Calc"].str.replace(r"[ds]$", "", regex=True)
        problems.add("with an unknown measurement", lines["Calc"][~calc.isin(CALIPERS)].unique())
        used = there & calc.isin(CALIPERS)
        owner, files = pd.factorize(names[used])
        pixels = np.hypot(values["X2"] - values["X1"], values["Y2"] - values["Y1"])[used]
        scale = (10 * values["CalcValue"][used] / pixels.where(pixels > 0)).groupby(owner).median()
        table = np.column_stack([calc[used].map(CALIPERS.index), values.loc[used, ["Frame", "X1", "Y1", "X2", "Y2"]]])
        stems = pd.Series(files, dtype=str).str.removesuffix(".avi")
        return problems.finish(
            pd.DataFrame(
                {
                    "sequence": stems,
                    "subject": stems,
                    "split": split[used].groupby(owner).first().to_numpy(),
                    "path": [str(places[file] / file) for file in files],
                    "spacing_mm": [(mm, mm) for mm in scale],
                    "_calipers": cut(table.astype(np.float64), owner, len(files)) if len(files) else [],
                }
            )
        )

    def read(self, row: "Row") -> "Sequence":
        """The video with its calipers' ends in the measured frames. Raises ClipError or GeometryError."""
        clip = read_frames(row["path"])
        points, visible = at_frames({}, len(clip), 2 * len(CALIPERS))
        for calc, frame, *ends in row["_calipers"]:
            if not 0 <= frame < len(clip):
                raise GeometryError(
                    f"A measurement names frame {frame:g}, but the clip has the frames 0 to {len(clip) - 1}."
                )
            at = slice(2 * int(calc), 2 * int(calc) + 2)
            points[int(frame), at], visible[int(frame), at] = np.reshape(ends, (2, 2)), True
        return sequence(clip, labels_of(row), points, visible, plax_schema())


DYNAMIC, PEDIATRIC, LVH = EchoNetDynamic(), EchoNetPediatric(), EchoNetLVH()
