"""An EchoNet-Dynamic folder that grows clip by clip: a killed run goes on where it was and ends with the same bytes.

A clip's files are written whole, then its part, a JSON in `cohort-parts/` that says it is done. When every planned clip
has its part, the tables are merged from the parts, each once, and the parts go. Several processes may write clips; one
begins and merges.
"""

import csv
import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from echokdm.cohort.validate import COLUMN_SPACING, COLUMNS, EDITED, MILLILITRES, PIXELS, ROW_SPACING, SUBJECT, UNIT
from echokdm.core.errors import OutputError
from echokdm.core.naming import called
from echokdm.core.types import Clip
from echokdm.io.atomic import LOCK, atomic_file, clear_files
from echokdm.io.tracings import HEADER
from echokdm.ops.ventricle import ejection_fraction, outline_of_tracing

LISTED = (*COLUMNS, SUBJECT, UNIT, ROW_SPACING, COLUMN_SPACING, EDITED)
MANIFEST = (
    "id",
    "clip",
    "subject",
    "split",
    "source_ef",
    "confidence",
    "motion",
    "wished",
    "asked",
    "note",
    "edited",
    "drawn",
    "measured",
    "tries",
    "seed",
    "accepted",
    "reason",
)
PARTS, DONE = "cohort-parts", "run.json"
BEGUN = f"{PARTS}/{DONE}"
DIGITS = 6  # of a pixel, as `io.tracings` writes


@dataclass(frozen=True)
class Labels:
    """What the written tracings say of a clip: rows (21, 4) at end-diastole and end-systole, volumes in `unit`, EF in
    percent."""

    ed: int
    es: int
    ed_rows: np.ndarray
    es_rows: np.ndarray
    edv: float
    esv: float
    unit: str

    @property
    def ef(self) -> float:
        """Percent."""
        return float(ejection_fraction(self.edv, self.esv))


def labels_of(keypoints: np.ndarray, ed: int, es: int, spacing_mm: tuple[float, float] | None) -> Labels:
    """Labels of drawn key-points (T, 40, 2), computed from the tracings in the digits in which they are written.

    Key-points that were smoothed or moved no longer end chords at right angles to their axis, which a tracing's reader
    draws anew: they are first laid on the same outline as it will lay them.
    """
    from echokdm.ops.ventricle import keypoints_from_tracing, simpson_volume, tracing_from_keypoints

    laid = [keypoints_from_tracing(tracing_from_keypoints(keypoints[frame])) for frame in (ed, es)]
    ed_rows, es_rows = (np.round(tracing_from_keypoints(points), DIGITS) for points in laid)
    edv, esv = (float(simpson_volume(outline_of_tracing(r), spacing_mm)) for r in (ed_rows, es_rows))
    return Labels(ed, es, ed_rows, es_rows, edv, esv, PIXELS if spacing_mm is None else MILLILITRES)


def check_free(out: str | Path) -> None:
    """Refuse, before any work, a folder that holds something other than a cohort. Raises OutputError."""
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise OutputError(f"{called('The output', out)} is a file; name a folder.")
    begun = any((out / place).exists() for place in (DONE, BEGUN))
    if out.exists() and not begun and any(entry.name not in (PARTS, LOCK) for entry in out.iterdir()):
        raise OutputError(f"{called('The output folder', out)} exists already and holds no cohort; choose another.")


class CohortFolder:
    """The folder of one cohort, told from others by `record`: everything that its bytes follow from, as JSON.

    columns: of manifest.csv.
    """

    def __init__(self, out: str | Path, record: dict[str, Any], columns: Sequence[str] = MANIFEST) -> None:
        self.root, self.columns = Path(out).absolute(), columns  # a worker may run elsewhere
        self.parts, self.videos = self.root / PARTS, self.root / "Videos"
        self._record = json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"

    def begin(self) -> bool:
        """Make the folder, or go on with an unfinished one; True where the cohort is complete already.

        Raises OutputError where the folder holds anything else.
        """
        check_free(self.root)
        begun, done = self.root / BEGUN, self.root / DONE
        for path in (begun, done):
            if path.exists() and path.read_bytes() != self._record.encode():
                raise OutputError(
                    f"{called('The output folder', self.root)} holds a cohort of other clips, options, weights or "
                    "versions; choose another."
                )
        if done.exists():
            shutil.rmtree(self.parts, ignore_errors=True)  # a run may have been killed between its last two steps
            return True
        if not begun.exists():
            with atomic_file(begun) as temporary:
                temporary.write_text(self._record, encoding="utf-8")
        clear_files(self.root)
        return False

    def join(self) -> None:
        """What a worker asks before it writes. Raises OutputError where it doesn't see the folder that was begun."""
        begun = self.root / BEGUN
        if not begun.exists() or begun.read_bytes() != self._record.encode():
            raise OutputError(
                "A worker does not see the cohort that was begun in the output folder: let it lie on a disk that "
                "all machines share."
            )

    def part(self, name: str) -> dict[str, Any] | None:
        """A finished clip's manifest row; None where the clip is still to be made."""
        path = self._part(name)
        return json.loads(path.read_text(encoding="utf-8"))["manifest"] if path.exists() else None

    def finish_clip(
        self,
        name: str,
        manifest: dict[str, Any],
        clip: Clip | None = None,
        labels: Labels | None = None,
        split: str = "",
        subject: str = "",
        edited: bool = False,
    ) -> None:
        """Write a clip and then its part; without a clip and labels it was rejected, and has a row in the manifest
        alone.

        edited: whether it is its subject's own clip, edited.
        """
        from echokdm.io.write import write_avi

        part: dict[str, Any] = {"manifest": manifest, "listed": None, "tracings": []}
        if clip is not None and labels is not None:
            write_avi(self.videos / f"{name}.avi", clip.frames, clip.fps)
            spacing = clip.spacing_mm or (None, None)
            values = (
                name,
                labels.ef,
                labels.esv,
                labels.edv,
                *clip.size,
                clip.fps,
                len(clip),
                split,
                subject,
                labels.unit,
                *spacing,
                int(edited),
            )
            part["listed"] = dict(zip(LISTED, values, strict=True))
            # End-systole first: the reference loader takes the first traced frame for the smaller one.
            part["tracings"] = [
                [f"{name}.avi", *row, frame]
                for frame, rows in ((labels.es, labels.es_rows), (labels.ed, labels.ed_rows))
                for row in rows.tolist()
            ]
        with atomic_file(self._part(name)) as temporary:
            temporary.write_text(json.dumps(part, allow_nan=False), encoding="utf-8")

    def merge(self, names: Sequence[str]) -> None:
        """The tables of all parts in the order of `names`, and the record; then the parts go. run.json comes last: it
        says complete."""
        tables = (("manifest.csv", self.columns), ("VolumeTracings.csv", HEADER), ("FileList.csv", LISTED))
        with ExitStack() as stack:
            paths = [stack.enter_context(atomic_file(self.root / name)) for name, _ in tables]
            writers = []
            for path, (_, header) in zip(paths, tables, strict=True):
                file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
                writers.append(csv.writer(file, lineterminator="\n"))
                writers[-1].writerow(header)
            for name in names:  # one part at a time, however many there are
                part = json.loads(self._part(name).read_text(encoding="utf-8"))
                listed = part["listed"]
                rows = (
                    [[part["manifest"][column] for column in self.columns]],
                    part["tracings"],
                    [[listed[column] for column in LISTED]] if listed else [],
                )
                for writer, lines in zip(writers, rows, strict=True):
                    writer.writerows([_cell(value) for value in line] for line in lines)
        with atomic_file(self.root / DONE) as temporary:
            temporary.write_text(self._record, encoding="utf-8")
        shutil.rmtree(self.parts, ignore_errors=True)

    def _part(self, name: str) -> Path:
        return self.parts / f"{name}.json"


def _cell(value: Any) -> Any:
    """As a CSV has it: six decimals at most, None as an empty cell."""
    return f"{value:.{DIGITS}f}".rstrip("0").rstrip(".") if isinstance(value, float) else "" if value is None else value
