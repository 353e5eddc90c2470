"""A plain folder of clips: DICOM, videos, NIfTI, folders of frames; with tracings of the left ventricle where there are
any."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from echokdm.core.errors import EchoKDMError
from echokdm.core.folders import OUTLINES, WRITTEN, candidates
from echokdm.data.adapters.build import at_frames, labels_of, read_frames, sequence
from echokdm.data.adapters.folder import foreign_kind, open_root, split_of
from echokdm.data.adapters.problems import Problems, empty_index

if TYPE_CHECKING:
    from echokdm.core.types import Sequence
    from echokdm.data.adapters import Row

TRACINGS = ("VolumeTracings.csv", "tracings.csv")


@dataclass(frozen=True)
class PlainClips:
    """Clips at any depth; optional `VolumeTracings.csv` or `tracings.csv` in EchoNet-Dynamic's form, or the folder of
    `echokdm keypoints` beside a clip, which goes before them.

    Folders called train, val or test are splits; another folder right below is one patient. Names of files and folders
    may be patients' names, so sequences and subjects are numbered in their order, and messages give those numbers.
    """

    name: str = "clips"
    schema: str = "a4c-bloodpool-40"
    what: str = "a plain folder: DICOM, AVI, MP4, GIF, NIfTI, .npz or folders of frames; optional VolumeTracings.csv"
    one_size: bool = False

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a clip, told by the first bytes of each file; label `traced` counts its traced frames. Raises
        DataError."""
        from echokdm.io.sniff import sniff

        root, problems = open_root(root, self.name), Problems(self.name)
        tracings = _tracings(root, problems)
        rows, unused = [], set(tracings)
        subjects: dict[str | tuple[str, ...], int] = {}
        for i, path in enumerate(candidates(root), 1):
            name, folders = f"clip {i}", path.relative_to(root).parts[:-1]
            try:
                sniff(path)
            except EchoKDMError:
                problems.note("unreadable, or no clip", f"{name}{f' ({kind})' if (kind := foreign_kind(path)) else ''}")
                continue
            split = split_of(folders[:1])
            patient = folders[:1] if split == "all" else folders[1:2]
            key = patient or path.name
            subject = f"subject {subjects.setdefault(key, len(subjects) + 1)}"
            lines: dict = next((tracings[key] for key in (path.name, path.stem) if key in tracings), {})
            lines = _written(path, name, problems) or lines
            unused -= {path.name, path.stem}
            rows.append(
                {
                    "sequence": name,
                    "subject": subject,
                    "split": split,
                    "path": str(path),
                    "traced": len(lines),
                    "_tracing": lines,
                }
            )
        if unused:
            orphans = [f"clip {i} of the tracings" for i, key in enumerate(tracings, 1) if key in unused]
            problems.note("with tracings but without a file", orphans)
        return problems.finish(pd.DataFrame(rows) if rows else empty_index())

    def read(self, row: "Row") -> "Sequence":
        """The clip, with 40 key-points in its traced frames where it has any. Raises ClipError or GeometryError."""
        from echokdm.io.tracings import turn_rows
        from echokdm.ops.ventricle import keypoints_from_tracing

        clip = read_frames(row["path"])
        if not row["_tracing"]:
            return sequence(clip, labels_of(row))
        given = {frame: keypoints_from_tracing(turn_rows(lines, clip)) for frame, lines in row["_tracing"].items()}
        return sequence(clip, labels_of(row), *at_frames(given, len(clip), 40), self.schema)


def _tracings(root: Path, problems: Problems) -> dict:
    """Tracings by clip name and frame; none where there is no such file."""
    from echokdm.io.tracings import read_tracings

    file = next((root / name for name in TRACINGS if (root / name).exists()), None)
    if file is None:
        return {}
    try:
        return read_tracings(file)
    except EchoKDMError as error:
        problems.note("unreadable", str(error).rstrip("."))
        return {}


def _written(clip: Path, name: str, problems: Problems) -> dict:
    """Tracings by frame that `echokdm keypoints` wrote for a clip, called `name` in problems; none where there is no
    such folder."""
    from echokdm.io.tracings import read_tracings

    file = clip.with_name(clip.name.split(".")[0] + WRITTEN) / OUTLINES
    if not file.is_file():
        return {}
    try:
        return next(iter(read_tracings(file).values()))
    except EchoKDMError as error:
        problems.note("unreadable", f"outlines of {name} ({str(error).rstrip('.')})")
        return {}


CLIPS = PlainClips()
