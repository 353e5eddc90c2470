"""Faces: CelebV-HQ clips (Zhu et al., ECCV 2022), `.pts` landmarks as of 300-W (Sagonas et al., 2013), dlib's XML."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from echokdm.core.errors import DataError, GeometryError, one_sentence
from echokdm.core.files import check_plain
from echokdm.core.folders import IMAGES, listing
from echokdm.data.adapters.build import labels_of, read_frames, sequence
from echokdm.data.adapters.folder import foreign_kind, open_root, present, safe, split_of, walk
from echokdm.data.adapters.problems import Problems, empty_index

if TYPE_CHECKING:
    from echokdm.core.types import Sequence
    from echokdm.data.adapters import Row

POINTS = 68


@dataclass(frozen=True)
class CelebVHQ:
    """`celebvhq_info.json` and `processed/{id}.mp4`; landmarks from `processed/{id}.npy` (T, 68, 2), pixels from 0,
    where it is there."""

    name: str = "celebv-hq"
    schema: str = "ibug-68"
    what: str = "CelebV-HQ: celebvhq_info.json, processed/{id}.mp4, optional processed/{id}.npy landmarks"
    one_size: bool = True

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a clip, its subject the video it was cut from; labels `start`, `end` in seconds and `appearance`.
        Raises DataError."""
        root, problems = open_root(root, self.name), Problems(self.name)
        path = root / "celebvhq_info.json"
        try:
            clips = json.loads(check_plain(path, DataError).read_bytes())["clips"]
            table = pd.DataFrame(
                {
                    "sequence": pd.Series(list(clips), dtype="str"),
                    "subject": [str(clip["ytb_id"]) for clip in clips.values()],
                    "start": [float(clip["duration"]["start_sec"]) for clip in clips.values()],
                    "end": [float(clip["duration"]["end_sec"]) for clip in clips.values()],
                    "appearance": [tuple(clip["attributes"]["appearance"]) for clip in clips.values()],
                }
            )
        except FileNotFoundError:
            problems.note("missing", path.name)
            problems.fail()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DataError(
                f"{path.name} is {foreign_kind(path) or 'damaged or of another form'}: clips.<id> with ytb_id, duration and "
                "attributes.appearance is needed."
            ) from None
        table = table[safe(table["sequence"], problems)]
        there = present(table["sequence"] + ".mp4", root / "processed", problems)
        table = table[there]
        stems = f"{root / 'processed'}{os.sep}" + table["sequence"]
        traced = (table["sequence"] + ".npy").isin(listing(root / "processed"))
        return problems.finish(table.assign(split="all", path=stems + ".mp4", landmarks=traced))

    def read(self, row: "Row") -> "Sequence":
        """The clip, with 68 landmarks a frame where a file holds them. Raises ClipError or GeometryError."""
        from echokdm.io.npz import read_npy

        clip = read_frames(row["path"])
        if not row["landmarks"]:
            return sequence(clip, labels_of(row))
        points = read_npy(
            Path(row["path"]).with_suffix(".npy"),
            "The landmarks beside this clip are no array of numbers: save them with numpy.save, (T, 68, 2).",
            GeometryError,
        )
        if points.shape != (len(clip), POINTS, 2):
            raise GeometryError(
                f"The landmarks beside this clip have the shape {points.shape}, not {(len(clip), POINTS, 2)}."
            )
        return sequence(clip, labels_of(row), points, np.isfinite(points).all(-1), self.schema)


def read_pts(path: Path) -> np.ndarray:
    """Landmarks (N, 2) of a `.pts` file, in pixels from 0; the file counts from 1. Raises GeometryError."""
    with one_sentence("A .pts file is damaged: n_points and x y lines between { and } are needed.", GeometryError):
        text = check_plain(path, GeometryError).read_text(encoding="utf-8")
        if (count := re.search(r"n_points:\s*(\d+)", text)) is None:
            raise ValueError("no n_points")
        declared = int(count[1])
        points = np.array(text[text.index("{") + 1 : text.index("}")].split(), np.float64).reshape(-1, 2) - 1
    if len(points) != declared or len(points) != POINTS or not np.isfinite(points).all():
        raise GeometryError(
            f"A .pts file needs {POINTS} finite points, as many as it declares; it has {len(points)} of {declared}."
        )
    return points


@dataclass(frozen=True)
class PtsFaces:
    """Pictures at any depth with `<stem>.pts` beside each; a folder whose name begins with train, val or test is a
    split."""

    name: str = "faces-pts"
    schema: str = "ibug-68"
    what: str = "300-W style: pictures with <stem>.pts beside them"
    one_size: bool = False

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a `.pts` file with its picture; pictures without one are passed over. Raises DataError."""
        root, problems = open_root(root, self.name), Problems(self.name)
        pictures: dict[tuple, str] = {}
        marks = []
        for folders, name in walk(root):
            stem, ending = os.path.splitext(name)
            if ending.lower() in IMAGES:
                pictures[folders, stem] = name
            elif ending == ".pts":
                marks.append((folders, stem))
        rows = []
        for folders, stem in marks:
            name = "/".join((*folders, stem))
            if (folders, stem) in pictures:
                rows.append(
                    {
                        "sequence": name,
                        "subject": name,
                        "split": split_of(folders),
                        "path": os.path.join(root, *folders, pictures[folders, stem]),
                    }
                )
            else:
                problems.add("without a picture", f"{name}.pts")
        return problems.finish(pd.DataFrame(rows) if rows else empty_index())

    def read(self, row: "Row") -> "Sequence":
        """One frame with 68 landmarks. Raises ClipError or GeometryError."""
        return sequence(
            read_frames(row["path"]),
            labels_of(row),
            read_pts(Path(row["path"]).with_suffix(".pts"))[None],
            schema=self.schema,
        )


def xml_images(data: bytes) -> list[tuple[str, list[list[tuple[float, float]] | None]]]:
    """Of each picture of dlib's XML its path and its boxes: the 68 places of each, None where it lacks some.

    Raises ValueError or ElementTree.ParseError.
    """
    if b"<!ENTITY" in data:
        raise ValueError
    return [
        (image.get("file", "").replace("\\", "/"), [_parts(box) for box in image.iter("box")])
        for image in ElementTree.fromstring(data).iter("image")
    ]


def _parts(box: ElementTree.Element) -> list[tuple[float, float]] | None:
    try:
        parts = {
            int(part.get("name", "")): (float(part.get("x", "")), float(part.get("y", ""))) for part in box.iter("part")
        }
    except ValueError:
        return None
    return [parts[i] for i in range(POINTS)] if sorted(parts) == list(range(POINTS)) else None


@dataclass(frozen=True)
class DlibFaces:
    """dlib's `*.xml` (dataset/images/image/box/part) in the root, pictures at the paths that it gives; pixels count
    from 0.

    Files whose name holds train or test are splits; where there are any, the others, their union, are passed over.
    """

    name: str = "faces-dlib"
    schema: str = "ibug-68"
    what: str = "dlib XML: *.xml with image, box and 68 parts; the pictures at the paths that it gives"
    one_size: bool = False

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a box. Raises DataError."""
        root, problems = open_root(root, self.name), Problems(self.name)
        files = [name for name, is_folder in listing(root).items() if not is_folder and name.lower().endswith(".xml")]
        splits = {
            file: next((s for s in ("train", "val", "test") if re.search(rf"(^|[_.-]){s}", file.lower())), "all")
            for file in files
        }
        if len(set(splits.values())) > 1:
            splits = {file: split for file, split in splits.items() if split != "all"}
        if not splits:
            problems.note("missing", "*.xml")
        rows = [row for file, split in splits.items() for row in self._boxes(root, file, split, problems)]
        if not rows:
            problems.fail()
        table = pd.DataFrame(rows)
        table = table[safe(table["_file"], problems)]
        table = table[present(table["_file"], root, problems)]
        return problems.finish(table.assign(path=f"{root}{os.sep}" + table["_file"]))

    def _boxes(self, root: Path, file: str, split: str, problems: Problems) -> Iterator[dict]:
        try:
            images = xml_images(check_plain(root / file, DataError).read_bytes())
        except (OSError, ValueError, ElementTree.ParseError):
            problems.add("unreadable", file)
            return
        for name, boxes in images:
            for k, points in enumerate(boxes):
                if points is None:
                    problems.add(f"without parts 0 to {POINTS - 1}", name, f"box {k}")
                    continue
                yield {"sequence": f"{name}#{k}", "subject": name, "split": split, "_file": name, "_points": points}

    def read(self, row: "Row") -> "Sequence":
        """One frame with the 68 landmarks of one face. Raises ClipError or GeometryError."""
        points = np.array([row["_points"]], np.float64)
        return sequence(
            read_frames(row["path"]), labels_of(row), points, np.all(np.isfinite(points), axis=-1), self.schema
        )


CELEBV_HQ, PTS, DLIB = CelebVHQ(), PtsFaces(), DlibFaces()
