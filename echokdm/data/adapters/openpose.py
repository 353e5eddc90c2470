"""Clips with OpenPose's JSON, one file a frame, and IXMAS (Weinland et al., CVIU 2006), actions seen by five cameras.

25 joints are BODY_25 or BODY_25B, which the files don't say; the order in which the limbs come out shorter is the right
one.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from echokdm.core.errors import ConfigError, GeometryError, one_sentence
from echokdm.core.folders import listing
from echokdm.data.adapters.build import labels_of, read_frames, read_json, sequence
from echokdm.data.adapters.folder import VIDEOS, natural, open_root, split_of
from echokdm.data.adapters.problems import EMPTY, Problems, empty_index

if TYPE_CHECKING:
    from echokdm.core.types import KeypointSchema, Sequence
    from echokdm.data.adapters import Row

SCHEMAS = {18: ("openpose-18",), 25: ("openpose-body25", "openpose-body25b")}
CLEAR = 0.9  # the right order's limbs are at most this part of the other's; about half of it in upright people
NO_PERSON = np.zeros((0, 3))


def read_people(path: str) -> list[np.ndarray]:
    """Each person of one JSON file as (N, 3) x, y, confidence. Raises GeometryError."""
    return people_of(read_json(path))


def people_of(content: Any, part: str = "pose_keypoints_2d") -> list[np.ndarray]:
    """The same of a file's content; part: "face_keypoints_2d" for OpenPose's 70 of a face. Raises GeometryError."""
    with one_sentence(f"A JSON file of this sequence is not OpenPose's: it needs people[].{part}.", GeometryError):
        people = [np.asarray(person[part], np.float64).reshape(-1, 3) for person in content["people"]]
    if not all((np.abs(person) <= np.finfo(np.float32).max).all() for person in people):  # nan is none either
        raise GeometryError("A JSON file of this sequence holds joints that are not finite.")
    return people


def choose(people: list[np.ndarray], person: str | int) -> np.ndarray:
    """The person (N, 3) of that index, or the "largest" by the box of the joints found; (0, 3) where there is none."""
    if isinstance(person, int):
        return people[person] if person < len(people) else NO_PERSON

    def area(joints: np.ndarray) -> float:
        found = joints[joints[:, 2] > 0, :2]
        return float(np.ptp(found, axis=0).prod()) if len(found) else -1.0

    return max(people, key=area, default=NO_PERSON)


def limb_length(points: np.ndarray, seen: np.ndarray, schema: "KeypointSchema") -> float:
    """Mean length in pixels of the schema's limbs whose both ends are seen, over frames: points (T, N, 2), seen (T,
    N)."""
    a, b = np.array(schema.edges).T
    both = seen[:, a] & seen[:, b]
    return float(np.linalg.norm(points[:, a] - points[:, b], axis=-1)[both].mean()) if both.any() else float("nan")


def tell_order(points: np.ndarray, seen: np.ndarray) -> str:
    """The name of the schema in which joints (T, N, 2) with visibility (T, N) come. Raises GeometryError where neither
    fits clearly."""
    from echokdm.core.schemas import schema

    count = points.shape[1]
    if count not in SCHEMAS:
        raise GeometryError(f"A person with {count} joints is neither COCO's 18 nor BODY_25's or BODY_25B's 25.")
    if len(SCHEMAS[count]) == 1:
        return SCHEMAS[count][0]
    lengths = {name: limb_length(points, seen, schema(name)) for name in SCHEMAS[count]}
    short, long = sorted(lengths, key=lambda name: lengths[name])
    if not lengths[short] <= CLEAR * lengths[long]:  # nan too
        raise GeometryError(
            "The joints don't tell whether they are in BODY_25 or BODY_25B order: use the adapter openpose-body25 or "
            "openpose-body25b."
        )
    return short


def _json_files(folder: Path) -> list[str]:
    """Paths of a folder's JSON files in the frames' order."""
    return [str(folder / file) for file in sorted(listing(folder), key=natural) if file.endswith(".json")]


@dataclass(frozen=True)
class OpenPoseClips:
    """Folders of JSON, one file a frame, beside their clip: `x_json/`, `x_keypoints/` or `x/` with `x.mp4`, or frames
    in `x_png/` or `x/`.

    person: "largest", or the index of one in the files. order: the schema's name where it is known, "" to tell it by
    the limbs.
    """

    name: str = "openpose"
    schema: str = "openpose-body25 or openpose-body25b or openpose-18"
    what: str = "OpenPose JSON: <clip>_json/*.json, one a frame, beside <clip>.mp4 or <clip>_png/"
    one_size: bool = False
    person: str | int = "largest"
    order: str = ""

    def __post_init__(self) -> None:
        if self.person != "largest" and not (isinstance(self.person, int) and self.person >= 0):
            raise ConfigError(f'The person to read is "largest" or an index from 0, not {self.person!r}.')

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a clip; its files' joints are looked at when it is read. Raises DataError."""
        root, problems = open_root(root, self.name), Problems(self.name)
        rows = []
        for folder in [
            root,
            *(root / name for name, is_folder in listing(root).items() if is_folder and split_of([name]) != "all"),
        ]:
            entries = listing(folder)
            split = "all" if folder == root else split_of([folder.name])
            prefix = "" if folder == root else f"{folder.name}/"
            for name, is_folder in entries.items():
                files = _json_files(folder / name) if is_folder else []
                if not files:
                    continue
                stem = re.sub(r"_(json|keypoints)$", "", name)
                clips = [*(stem + ending for ending in VIDEOS), f"{stem}_png", *([stem] if stem != name else [])]
                clip = next((clip for clip in clips if clip in entries), None)
                if clip is None:
                    problems.add("without a clip", f"{prefix}{name}")
                    continue
                rows.append(
                    {
                        "sequence": prefix + stem,
                        "subject": prefix + stem,
                        "split": split,
                        "path": str(folder / clip),
                        "_joints": files,
                    }
                )
        return problems.finish(pd.DataFrame(rows) if rows else empty_index())

    def read(self, row: "Row") -> "Sequence":
        """The clip with one person's joints, those not detected not visible; the label EMPTY counts frames without a
        person.

        Raises ClipError or GeometryError.
        """
        return _read(row, self.person, self.order)


def _read(row: "Row", person: str | int, order: str) -> "Sequence":
    clip = read_frames(row["path"])
    chosen = [choose(read_people(file), person) for file in row["_joints"]]
    counts = {len(joints) for joints in chosen if len(joints)}
    if not counts:
        raise GeometryError(f"No person is found in any of the {len(chosen)} frames of this clip.")
    if len(counts) > 1:
        raise GeometryError(
            f"The persons of this clip have {' and '.join(map(str, sorted(counts)))} joints: one order is needed."
        )
    joints = np.stack([person if len(person) else np.zeros((max(counts), 3)) for person in chosen])
    empty = sum(not len(person) for person in chosen)
    points, seen = joints[..., :2], joints[..., 2] > 0
    return sequence(clip, labels_of(row) | {EMPTY: empty}, points, seen, order or tell_order(points, seen))


@dataclass(frozen=True)
class Ixmas:
    """`{actor}{rep}_png/cam{0-4}/img0000.png`, `{actor}{rep}_truth.txt`; joints in `{actor}{rep}_json/cam{0-4}/*.json`
    where known."""

    name: str = "ixmas"
    schema: str = "openpose-body25"
    what: str = (
        "IXMAS: {actor}{rep}_png/cam{0-4}/img*.png, {actor}{rep}_truth.txt, optional {actor}{rep}_json/cam{0-4}/*.json"
    )
    one_size: bool = True

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a camera of a take; labels repetition and camera. Raises DataError."""
        root, problems = open_root(root, self.name), Problems(self.name)
        entries, rows = listing(root), []
        for name, is_folder in entries.items():
            take = re.fullmatch(r"([A-Za-z]+)(\d+)_png", name)
            if not take or not is_folder:
                continue
            stem = take[1] + take[2]
            if f"{stem}_truth.txt" not in entries:
                problems.add("missing", stem, "its _truth.txt")
            cameras = listing(root / name)
            for k in (k for k in range(5) if f"cam{k}" not in cameras):
                problems.add("missing", name, f"its cam{k}/")
            for k in range(5):
                if f"cam{k}" in cameras:
                    rows.append(
                        {
                            "sequence": f"{stem}/cam{k}",
                            "subject": take[1],
                            "split": "all",
                            "path": str(root / name / f"cam{k}"),
                            "repetition": int(take[2]),
                            "camera": k,
                            "_joints": _json_files(root / f"{stem}_json" / f"cam{k}"),
                        }
                    )
        return problems.finish(pd.DataFrame(rows) if rows else empty_index())

    def read(self, row: "Row") -> "Sequence":
        """One camera's frames, with the largest person's joints where there are any. Raises ClipError or
        GeometryError."""
        if not row["_joints"]:
            return sequence(read_frames(row["path"]), labels_of(row))
        return _read(row, "largest", self.schema)


CLIPS, IXMAS = OpenPoseClips(), Ixmas()
BODY_25 = OpenPoseClips(
    "openpose-body25", "openpose-body25", "OpenPose JSON known to be in BODY_25 order", order="openpose-body25"
)
BODY_25B = OpenPoseClips(
    "openpose-body25b", "openpose-body25b", "OpenPose JSON known to be in BODY_25B order", order="openpose-body25b"
)
