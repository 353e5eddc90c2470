"""Check a folder in EchoNet-Dynamic's layout against what its loader and its labels promise (Ouyang et al., Nature
2020).

`FileList.csv` lists clips with their volumes, `VolumeTracings.csv` traces end-diastole and end-systole of each (row 0
the long axis from the apex to the mid-base, then 20 chords across it; frames from 0), `Videos/` holds the clips. What
isn't so is a problem, and all problems are told at once.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from echokdm.core.errors import EchoKDMError
from echokdm.core.folders import listing
from echokdm.data.adapters.build import read_frames
from echokdm.data.adapters.folder import numbers, open_root, present, read_table, safe
from echokdm.data.adapters.problems import Problems, numbered
from echokdm.data.check import Track, untracked
from echokdm.io.tracings import HEADER
from echokdm.ops.chords import CHORDS, SPACINGS
from echokdm.ops.ventricle import ejection_fraction, outline_of_tracing, self_crossing, simpson_volume

NAME = "EchoNet-Dynamic"
TABLES = "FileList.csv", "VolumeTracings.csv"
COLUMNS = ("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split")
UNIT, ROW_SPACING, COLUMN_SPACING, SUBJECT, EDITED = "VolumeUnit", "RowSpacing", "ColumnSpacing", "Subject", "Edited"
"""Columns that a FileList may have beyond EchoNet's: "mL" or "px^3", mm a pixel, whose heart it is, and 1 where that
patient's own clip was edited, else 0."""
SPLITS = ("TRAIN", "VAL", "TEST")
MILLILITRES, PIXELS, UNKNOWN = "mL", "px^3", "unknown"

COUNT = f"without a long axis and {CHORDS} chords"
OUTSIDE = "with a tracing that leaves the frame"
NOT_AXIS = "whose first row is not the long axis"
SLANTED = "with chords that are not perpendicular to the long axis"
ORDER = "whose chords don't run along the axis from the apex to the base"
CROSSING = "with an outline that crosses itself"
NOT_TWO = "not traced in two frames"
NO_FRAME = "with a traced frame that the clip lacks"
ORPHAN, UNLISTED = "traced but not in FileList.csv", "in Videos but not in FileList.csv"
BAD_EDITED = "with an Edited other than 0 or 1"
BAD_SPLIT, TWO_SPLITS = f"with a Split other than {', '.join(SPLITS)}", "in two splits"
OTHER_COUNT, OTHER_FPS, OTHER_SIZE = (
    "with another NumberOfFrames than the video",
    "with another FPS than the video",
    "with another FrameHeight or FrameWidth than the video",
)
WRONG_EF, SWAPPED = "whose EF does not follow from EDV and ESV", "with an ESV above the EDV"
OTHER_VOLUME, OTHER_EF = "whose volumes are not Simpson's of the tracings", "whose EF is not that of the tracings"

_LEAN = np.sin(np.deg2rad(20.0))  # how far a chord may lean from the perpendicular
_STUB = 2.0  # px; a shorter chord has no direction worth judging
_BACK = 0.25  # px by which a chord's middle may fall behind the one before: hand-drawn ends
_BEYOND = 0.1  # parts of the axis by which chords may lie past its ends
_EF_POINTS = 0.1  # an EF written with one decimal, from volumes written with two
_VOLUME_PART, _VOLUME_STEP = 0.001, 0.05  # relative, and half of one decimal
_FPS_PART = 0.005  # a rate written with two digits after 30

Tracings = dict[str, dict[int, np.ndarray]]


@dataclass(frozen=True)
class Report:
    """What a folder holds: clips listed and frames decoded, clips by split, the unit of its volumes, and every problem.

    unit: "mL", "px^3", "mixed", or "unknown" where no column tells it and the numbers are not the tracings' px^3;
    volumes are then compared with each other alone.
    """

    clips: int
    frames: int
    splits: Mapping[str, int]
    unit: str
    problems: Problems

    @property
    def sound(self) -> bool:
        """Whether there is no problem."""
        return not self.problems.found


def validate_folder(folder: str | os.PathLike[str], track: Track = untracked) -> Report:
    """Read the whole folder, every table and every video, and tell all its problems with counts.

    track: wraps the clips, of which it is told the number, to show progress. Raises DataError where `folder` is no
    folder.
    """
    root, problems = open_root(folder, NAME), Problems(NAME, TABLES)
    files = _file_list(root, problems)
    tracings = _tracings(root / "VolumeTracings.csv", problems)
    if files is None:
        return Report(0, 0, {}, UNKNOWN, problems)
    problems.add(ORPHAN, [] if tracings is None else [name for name in tracings if name not in set(files["name"])])
    stems = [name.removesuffix(".avi") for name, is_folder in listing(root / "Videos").items() if not is_folder]
    problems.locate(stems, numbered("file", len(stems)))
    problems.add(UNLISTED, sorted(set(stems) - set(files["name"])))
    lengths = _check_videos(root / "Videos", files, problems, track)
    if tracings is not None:
        _check_tracings(files, tracings, lengths, problems)
    units = _check_volumes(files, tracings or {}, problems)
    units = [unit if unit in (MILLILITRES, PIXELS) else UNKNOWN for unit in units]
    unit = units[0] if len(set(units)) == 1 else "mixed" if units else UNKNOWN
    splits = files["Split"].str.upper()
    counts = splits.where(splits.isin(SPLITS), "of another split").value_counts().to_dict()
    return Report(len(files), sum(lengths.values()), counts, unit, problems)


def tracing_faults(rows: np.ndarray, height: float, width: float) -> list[str]:
    """Kinds of faults in one frame's tracing (R, 4) of x1, y1, x2, y2 in a picture of height x width pixels; a NaN size
    is not held against it."""
    faults = []
    if (rows < -0.5).any() or (rows > np.array([width, height, width, height]) - 0.5).any():
        faults.append(OUTSIDE)
    if len(rows) != CHORDS + 1:
        return [*faults, COUNT]
    apex, axis = rows[0, :2], rows[0, 2:] - rows[0, :2]
    length, chords = float(np.hypot(*axis)), rows[1:, 2:] - rows[1:, :2]
    widths = np.hypot(*chords.T)
    if length < _STUB or not (widths > _STUB).any():
        return [*faults, NOT_AXIS]
    u = axis / length
    lean = np.abs(chords @ u)[widths > _STUB] / widths[widths > _STUB]
    if np.median(lean) > np.sqrt(0.5):  # a row of the chords' own direction stands first
        return [*faults, NOT_AXIS]
    if lean.max() > _LEAN:
        faults.append(SLANTED)
    along = ((rows[1:, :2] + rows[1:, 2:]) / 2 - apex) @ u
    if (np.diff(along) < -_BACK).any() or along[0] < -_BEYOND * length or along[-1] > (1 + _BEYOND) * length:
        faults.append(ORDER)
    elif self_crossing(outline_of_tracing(rows)):
        faults.append(CROSSING)
    return faults


def _file_list(root: Path, problems: Problems) -> pd.DataFrame | None:
    """FileList.csv's rows with the column `name`, without `.avi`; those listed twice or that lead out of the folder are
    left out."""
    files = read_table(root / "FileList.csv", ["FileName"], problems, text=["FileName", "Split", UNIT, SUBJECT, EDITED])
    if files is None:
        return None
    lacking = [column for column in COLUMNS if column not in files]
    problems.note("wrong columns", f"FileList.csv lacks {', '.join(lacking)}" if lacking else [])
    there = [column for column in COLUMNS[1:-1] if column in files]
    values, _ = numbers(files, there, "FileList.csv", problems)
    files = files.assign(
        **dict.fromkeys(set(COLUMNS[1:-1]) - set(there), np.nan), **dict(zip(there, values.T, strict=True))
    )
    files["Split"] = files["Split"] if "Split" in files else ""
    files = files[safe(files["FileName"], problems)]
    files = files.assign(name=files["FileName"].str.replace(r"\.avi$", "", case=False, regex=True))
    twice = files["name"].duplicated()
    problems.add("listed twice", files["name"][twice].unique())
    if "Split" not in lacking:
        problems.add(BAD_SPLIT, files["name"][~files["Split"].str.upper().isin(SPLITS)])
        # A clip listed in two splits is in both, whatever its second row says of its patient.
        owner = files[SUBJECT].where(files[SUBJECT] != "", files["name"]) if SUBJECT in files else files["name"]
        pairs = pd.DataFrame({"owner": owner, "split": files["Split"].str.upper()}).drop_duplicates()
        problems.add(TWO_SPLITS, sorted(pairs["owner"][pairs["owner"].duplicated()].unique()))
    if EDITED in files:
        problems.add(BAD_EDITED, files["name"][~files[EDITED].isin(("0", "1"))])
    return files[~twice].reset_index(drop=True)


def _tracings(path: Path, problems: Problems) -> Tracings | None:
    """VolumeTracings.csv by clip name and frame, rows in the file's order; lines that are not numbers are left out."""
    table = read_table(path, HEADER, problems, text=["FileName"])
    if table is None:
        return None
    with path.open("rb") as file:
        if file.readline(400).strip() != ",".join(HEADER).encode():  # the reference loader splits lines by this order
            problems.note("wrong columns", f"VolumeTracings.csv must begin with {','.join(HEADER)}")
    values, finite = numbers(table, list(HEADER[1:]), path.name, problems)
    whole = finite & (values[:, 4] >= 0) & (values[:, 4] % 1 == 0)
    problems.note("not a frame number", [f"{path.name} line {line + 2}" for line in table.index[finite & ~whole]])
    table = pd.DataFrame(
        {"name": table["FileName"].str.replace(r"\.avi$", "", case=False, regex=True), "frame": values[:, 4]}
    )[whole]
    found: Tracings = {}
    for (name, frame), rows in table.groupby(["name", "frame"], sort=False).indices.items():
        found.setdefault(str(name), {})[int(frame)] = values[whole][rows, :4]
    return found


def _check_videos(videos: Path, files: pd.DataFrame, problems: Problems, track: Track) -> dict[str, int]:
    """Decode every clip that is there; its frames by name."""
    there = present(files["name"] + ".avi", videos, problems)
    lengths = {}
    for row in track(files[there].to_dict("records"), int(there.sum())):
        name = row["name"]
        try:
            clip = read_frames(str(videos / f"{name}.avi"))
        except EchoKDMError as error:
            problems.add("unreadable", name, str(error).rstrip("."))
            continue
        lengths[name] = len(clip)
        if row["NumberOfFrames"] != len(clip) and np.isfinite(row["NumberOfFrames"]):
            problems.add(OTHER_COUNT, name, f"{row['NumberOfFrames']:g}, not {len(clip)}")
        if abs(row["FPS"] - clip.fps) > _FPS_PART * clip.fps and not clip.meta.get("fps_assumed"):
            problems.add(OTHER_FPS, name, f"{row['FPS']:g}, not {clip.fps:g}")
        listed = row["FrameHeight"], row["FrameWidth"]
        if np.isfinite(listed).all() and listed != clip.size:
            problems.add(OTHER_SIZE, name, f"{listed[0]:g} x {listed[1]:g}, not {clip.size[0]} x {clip.size[1]}")
    return lengths


def _check_tracings(files: pd.DataFrame, tracings: Tracings, lengths: dict[str, int], problems: Problems) -> None:
    for row in files.to_dict("records"):
        name, frames = row["name"], tracings.get(row["name"], {})
        if len(frames) != 2:
            problems.add(NOT_TWO, name, str(len(frames)))
        if any(frame >= lengths.get(name, row["NumberOfFrames"]) for frame in frames):
            problems.add(NO_FRAME, name)
        faults = [
            fault for rows in frames.values() for fault in tracing_faults(rows, row["FrameHeight"], row["FrameWidth"])
        ]
        for fault in dict.fromkeys(faults):
            problems.add(fault, name)


def _check_volumes(files: pd.DataFrame, tracings: Tracings, problems: Problems) -> list[str]:
    """Written volumes against each other and against the tracings; the unit of each clip."""
    traced = [
        _simpson(tracings.get(name, {}), spacing) for name, spacing in zip(files["name"], _spacings(files), strict=True)
    ]
    units = list(files[UNIT].replace("", UNKNOWN)) if UNIT in files else _inferred(files, traced)
    for row, unit, volumes in zip(files.to_dict("records"), units, traced, strict=True):
        edv, esv, ef = row["EDV"], row["ESV"], row["EF"]
        if esv > edv:
            problems.add(SWAPPED, row["name"])
        if edv > 0 and abs(ef - ejection_fraction(edv, esv)) > _EF_POINTS:
            problems.add(WRONG_EF, row["name"], f"{ef:g}, not {ejection_fraction(edv, esv):.2f}")
        if unit not in volumes:
            continue
        pair = volumes[unit]
        if not _agree(row, pair):
            problems.add(
                OTHER_VOLUME, row["name"], f"EDV {edv:g}, not {pair[0][0]:.2f}; ESV {esv:g}, not {pair[0][1]:.2f}"
            )
        theirs = ejection_fraction(*pair[0])
        if abs(ef - theirs) > _EF_POINTS:
            problems.add(OTHER_EF, row["name"], f"{ef:g}, not {theirs:.2f}")
    return units


def _spacings(files: pd.DataFrame) -> list[tuple[float, float] | None]:
    """(row, column) mm a pixel of each clip, where columns tell it."""
    if not {ROW_SPACING, COLUMN_SPACING} <= set(files):
        return [None] * len(files)
    pairs = files[[ROW_SPACING, COLUMN_SPACING]].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    return [(float(row), float(column)) if row > 0 and column > 0 else None for row, column in pairs]


def _simpson(
    frames: dict[int, np.ndarray], spacing_mm: tuple[float, float] | None
) -> dict[str, list[tuple[float, float]]]:
    """(EDV, ESV) by unit of two traced frames, the larger one end-diastole; a pair for each way chords are spaced
    (`ops.chords`)."""
    if len(frames) != 2 or any(len(rows) != CHORDS + 1 for rows in frames.values()):
        return {}
    points = np.stack([outline_of_tracing(rows) for rows in frames.values()])

    def pairs(scale: tuple[float, float] | None) -> list[tuple[float, float]]:
        volumes = [np.abs(simpson_volume(points, scale, spacing)) for spacing in SPACINGS]
        return [(float(v.max()), float(v.min())) for v in volumes]

    found = {PIXELS: pairs(None)} | ({} if spacing_mm is None else {MILLILITRES: pairs(spacing_mm)})
    return {unit: both for unit, both in found.items() if both[0][0] > 0}


def _agree(row: Mapping[str, float], pairs: list[tuple[float, float]]) -> bool:
    """Whether the written EDV and ESV are those of the tracings; numbers that are missing agree."""
    return any(
        not any(
            abs(written - volume) > _VOLUME_PART * volume + _VOLUME_STEP
            for written, volume in zip((row["EDV"], row["ESV"]), pair, strict=True)
        )
        for pair in pairs
    )


def _inferred(files: pd.DataFrame, traced: list[dict[str, list[tuple[float, float]]]]) -> list[str]:
    """px^3 for all where most volumes are the tracings' own, else unknown: EchoNet's are mL by a spacing that it
    doesn't publish."""
    known = [
        _agree(row, volumes[PIXELS]) for row, volumes in zip(files.to_dict("records"), traced, strict=True) if volumes
    ]
    return [PIXELS if known and sum(known) > len(known) / 2 else UNKNOWN] * len(files)
