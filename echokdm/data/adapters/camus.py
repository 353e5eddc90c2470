"""CAMUS (Leclerc et al., IEEE TMI 2019): 500 patients in NIfTI, with the outlines of ventricle, myocardium and
atrium."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from echokdm.core.errors import DataError, GeometryError
from echokdm.core.files import check_plain
from echokdm.core.folders import listing
from echokdm.core.labels import Label
from echokdm.data.adapters.build import labels_of, read_frames, read_stack, sequence
from echokdm.data.adapters.folder import open_root
from echokdm.data.adapters.problems import Problems, empty_index, numbered

if TYPE_CHECKING:
    from echokdm.core.types import Clip, Sequence
    from echokdm.data.adapters import Row

LICENCE = (
    "CC BY-NC-SA 4.0: the segmenter was taught on CAMUS (Leclerc et al., IEEE TMI 2019, doi:10.1109/TMI.2019.2900516)"
)
"""Of weights that learned from CAMUS, which is under that licence itself."""

SPLITS = {"train": "subgroup_training.txt", "val": "subgroup_validation.txt", "test": "subgroup_testing.txt"}

NO_INFO: dict[str, float | str] = {"ed": 0, "es": 0, "EF": float("nan"), "quality": ""}
SPLIT_SEED = 0  # of the split that the shipped weights were taught and measured by
PARTS = {"held_back": 100, "choose": 30, "judge": 69, "teach": 200}  # of 399 patients


def camus_split(subjects: Iterable[str], seed: int = SPLIT_SEED) -> dict[str, list[str]]:
    """Subjects -> the parts that training and benchmarks share, disjoint, each sorted.

    teach: half of them, to teach the segmenter. judge: to teach a second segmenter that measures what is made. choose:
    to choose settings by. held_back: a quarter, looked at for a final check alone. Of 399: 200, 69, 30, 100. A
    subject's rank is the hash of the seed and its name, so that the order of listing does not matter and a few subjects
    more or less move few others.
    """
    ranked = sorted(set(subjects), key=lambda subject: hashlib.sha256(f"{seed}:{subject}".encode()).digest())
    ends = np.rint(np.cumsum(list(PARTS.values())) / sum(PARTS.values()) * len(ranked)).astype(int)
    return {part: sorted(ranked[start:end]) for part, start, end in zip(PARTS, [0, *ends[:-1]], ends, strict=True)}


def _info(path: Path, problems: Problems) -> dict[str, float | str]:
    """`key: value` lines -> labels. ED and ES are counted from 1 in the file, from 0 here."""
    try:
        pairs = dict(
            line.split(":", 1)
            for line in check_plain(path, DataError).read_text(encoding="utf-8").splitlines()
            if ":" in line
        )
        info = {key.strip(): value.strip() for key, value in pairs.items()}
        return {
            "ed": int(info["ED"]) - 1,
            "es": int(info["ES"]) - 1,
            "EF": float(info.get("EF", "nan")),
            "quality": info.get("ImageQuality", ""),
        }
    except FileNotFoundError:
        problems.add("missing", path.parent.name, path.name)
    except (OSError, ValueError, KeyError):
        problems.add("unreadable, or without ED and ES", path.parent.name, path.name)
    return dict(NO_INFO)


@dataclass(frozen=True)
class Camus:
    """`patientXXXX/patientXXXX_4CH_{ED,ES,half_sequence}[_gt].nii.gz` and `Info_4CH.cfg`; splits in
    `database_split/subgroup_*.txt`.

    The folders lie in the root or in `database_nifti/`. A patient without the half sequence is its ED and ES frames,
    and needs no `Info_4CH.cfg`.
    """

    name: str = "camus"
    schema: str = "a4c-bloodpool-40"
    what: str = "CAMUS: patientXXXX/patientXXXX_4CH_*.nii.gz, Info_4CH.cfg"
    one_size: bool = False
    view: str = "4CH"

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a patient; labels ed and es (frames of the half sequence, from 0), EF in percent, quality. Raises
        DataError."""
        root, problems = open_root(root, self.name), Problems(self.name)
        base = root / "database_nifti" if (root / "database_nifti").is_dir() else root
        splits = _splits(root, problems)
        rows = []
        patients = [name for name, is_folder in listing(base).items() if is_folder and name.startswith("patient")]
        problems.locate(patients, numbered("patient", len(patients)))
        for patient in patients:
            stem, files = f"{patient}_{self.view}", listing(base / patient)
            has_sequence = f"{stem}_half_sequence.nii.gz" in files
            parts = ["half_sequence"] if has_sequence else ["ED", "ES"]
            wanted = [f"{stem}_{part}{end}.nii.gz" for part in parts for end in ("", "_gt")]
            lacking = [file for file in wanted if file not in files]
            for file in lacking:
                problems.add("missing", patient, file.removeprefix(f"{patient}_"))
            if splits and patient not in splits:
                problems.add("in no split", patient)
            cfg = f"Info_{self.view}.cfg"
            info = _info(base / patient / cfg, problems) if has_sequence or cfg in files else dict(NO_INFO)
            info |= {} if has_sequence else {"ed": 0, "es": 1}
            if not lacking:
                rows.append(
                    {
                        "sequence": stem,
                        "subject": patient,
                        "split": splits.get(patient, "all"),
                        "path": str(base / patient / wanted[0]),
                        **info,
                        "_parts": wanted,
                    }
                )
        problems.add("missing", [p for p in splits if not (base / p).is_dir()], "its folder")
        return problems.finish(pd.DataFrame(rows) if rows else empty_index())

    def read(self, row: "Row") -> "Sequence":
        """The half sequence from end-diastole on, or the ED and ES frames, apex up, with label 1 as 40 key-points a
        frame.

        The label "tissue" is (T, H, W) uint8: 0 background, 1 LV, 2 myocardium, 3 left atrium. Raises ClipError or
        GeometryError.
        """
        folder = Path(row["path"]).parent
        pictures, outlines = row["_parts"][::2], row["_parts"][1::2]
        clip = read_stack([str(folder / file) for file in pictures]) if len(pictures) > 1 else read_frames(row["path"])
        tissue = _tissue([folder / file for file in outlines], clip)
        if len(tissue) != len(clip):
            raise GeometryError(f"The outlines tell of {len(tissue)} frames, the clip has {len(clip)}.")
        labels = labels_of(row)
        if row["ed"] > row["es"]:  # stored from end-systole on
            clip, tissue = clip.with_frames(clip.frames[:].flip(0)), tissue[::-1].copy()
            labels |= {"ed": 0, "es": len(clip) - 1}
        return sequence(clip, labels | {"tissue": tissue}, *_points(tissue == Label.LV), self.schema)


def _splits(root: Path, problems: Problems) -> dict[str, str]:
    """Patient -> split, of the lists that are there; one in two lists is a problem."""
    splits: dict[str, str] = {}
    for split, file in SPLITS.items():
        path = root / "database_split" / file
        try:
            patients = check_plain(path, DataError).read_text(encoding="utf-8").split()
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            problems.note("unreadable", file)
            continue
        problems.add("in two splits", [patient for patient in patients if patient in splits])
        splits |= {patient: splits.get(patient, split) for patient in patients}
    return splits


def _tissue(paths: list[Path], clip: "Clip") -> np.ndarray:
    """The experts' labels (T, H, W) uint8 of one file or of several in turn, turned as the reader turned the clip."""
    from echokdm.io.tracings import read_labels

    stored = np.concatenate([read_labels(path, clip.size) for path in paths])
    tissue = np.where(np.isin(stored, (Label.LV, Label.MYOCARDIUM, Label.LA)), stored, 0).astype(np.uint8)
    if not (tissue == Label.LV).any():
        raise GeometryError(f"Its outlines hold no pixel with the label {Label.LV}.")
    return tissue[:, ::-1].copy() if clip.meta.get("flipped") else tissue


def _points(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 40, 2) key-points, (T, 40) visible: False in a frame whose mask is empty."""
    from echokdm.ops.ventricle import keypoints_from_mask

    visible = np.any(masks, axis=(1, 2))
    points = [
        keypoints_from_mask(mask) if seen else np.zeros((40, 2)) for mask, seen in zip(masks, visible, strict=True)
    ]
    return np.stack(points), np.repeat(visible[:, None], 40, 1)


CAMUS = Camus()
