"""Key-points from a file of their own, told apart by its content: `.pts`, dlib's XML, JSON of four kinds or a folder of
it, `.npy`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import GeometryError, one_sentence
from echokdm.core.files import check_plain
from echokdm.core.naming import called
from echokdm.core.schemas import IBUG_68
from echokdm.core.schemas import schema as named
from echokdm.core.types import KeypointSchema
from echokdm.data.adapters.build import read_json
from echokdm.data.adapters.faces import read_pts, xml_images
from echokdm.data.adapters.folder import natural
from echokdm.data.adapters.openpose import choose, people_of, tell_order
from echokdm.data.keypoint_layouts import COCO_17, MEDIAPIPE_33, MEDIAPIPE_MESHES, MEDIAPIPE_TO_IBUG, Order, joints_of
from echokdm.io.npz import read_npy

KINDS = "name a .pts, dlib's .xml, a .json of OpenPose, COCO or MediaPipe or a folder of it, or a .npy"
SEEN = 0.5  # MediaPipe's visibility from which a joint counts, as its own drawings have it
# coordinates up to here are shares of the picture, as MediaPipe gives them, also of places beyond its border
_SHARES = 4.0


def read_keypoints(path: Path, schema: KeypointSchema, size: tuple[int, int] | None = None) -> Tensor:
    """(T, N, 2) float32 px (x, y), nan where not seen, of the frames that a file or folder tells of.

    Of several faces or people in a frame the largest is taken, and of joints in another order those of the schema's
    names; a neck that an order lacks is between the shoulders. MediaPipe's shares of a picture become px of `size`
    (height, width). Raises GeometryError where there is nobody, a file is damaged, or its key-points are others.
    """
    check_plain(path, GeometryError)
    file = called("The file of key-points", path)
    if path.is_dir():
        files = sorted((f for f in path.iterdir() if f.suffix == ".json"), key=lambda f: natural(f.name))
        if not files:
            raise GeometryError(
                f"{called('The folder of key-points', path)} holds no JSON; name a folder of one JSON a frame."
            )
        return _joined([_json(file, schema, size) for file in files], schema)
    if not path.is_file():
        raise GeometryError(f"{file} does not exist; {KINDS}.")
    with path.open("rb") as opened:
        start = opened.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"{", b"[")):
        return _joined([_json(path, schema, size)], schema)
    if start.startswith(b"version") or path.suffix == ".pts":
        points = read_pts(path)[None]
    elif start.startswith(b"<"):
        points = _xml(path, file)
    elif start.startswith(b"\x93NUMPY") or path.suffix == ".npy":
        points = read_npy(
            path, f"{file} is no array of numbers: save key-points with numpy.save, (T, N, 2) in pixels.", GeometryError
        )
        points = points[None] if points.ndim == 2 else points
    else:
        raise GeometryError(f"{file} is of no kind that is known; {KINDS}.")
    if points.ndim != 3 or points.shape[1:] != (len(schema), 2):
        raise GeometryError(
            f"{file} holds key-points of the shape {points.shape}; {schema.name} needs (T, {len(schema)}, 2)."
        )
    return _finite(points)


def _finite(points: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):
        values = np.asarray(points, np.float32)
    if np.isinf(values).any():
        raise GeometryError("The file of key-points holds some beyond any picture: give them in pixels.")
    return torch.from_numpy(values)


def _xml(path: Path, file: str) -> np.ndarray:
    """(T, 68, 2): the largest face of each picture of dlib's XML."""
    try:
        images = xml_images(path.read_bytes())
    except (ValueError, ElementTree.ParseError):
        raise GeometryError(f"{file} is no XML of dlib's: dataset/images/image/box/part is needed.") from None
    faces = [
        np.array(max((points for points in boxes if points is not None), key=np.ptp, default=np.zeros((0, 2))))
        for _, boxes in images
    ]
    if not faces or not all(map(len, faces)):
        raise GeometryError(f"{file} holds a picture without a face of parts 0 to {len(IBUG_68) - 1}, or none.")
    return np.stack(faces)


_FACE = Order(IBUG_68.name, IBUG_68.names)
# What a JSON tells of one frame: (N, 3) x, y, how sure, of the largest person, and their order; (0, 3) and None of
# nobody.
_Frame = tuple[np.ndarray, Order | None]
_NOBODY: _Frame = (np.zeros((0, 3)), None)


def _json(path: Path, schema: KeypointSchema, size: tuple[int, int] | None) -> list[_Frame]:
    content = read_json(path)
    if isinstance(content, dict) and "people" in content:
        return [_openpose(content, schema)]
    items = content.get("annotations") if isinstance(content, dict) else content
    if isinstance(items, list) and items and isinstance(items[0], dict) and "keypoints" in items[0]:
        return _coco(items)
    meshes = list(_meshes(content))
    wanted = MEDIAPIPE_MESHES if schema.name == IBUG_68.name else (len(MEDIAPIPE_33.names),)
    fitting = [mesh for mesh in meshes if len(mesh) in wanted]
    if meshes and not fitting:
        raise GeometryError(
            f"MediaPipe's {len(meshes[0])} points are none of {schema.name}: the bundle needs other key-points."
        )
    if fitting:
        return [_mediapipe(choose(fitting, "largest"), size)]
    known = isinstance(content, dict) and any("landmark" in key.lower() for key in content)
    if known or isinstance(items, list):
        return [_NOBODY]
    raise GeometryError(
        "A JSON file of key-points is not OpenPose's (people), COCO's (annotations with keypoints) or MediaPipe's "
        "(landmarks): save it as one of these."
    )


def _openpose(content: Any, schema: KeypointSchema) -> _Frame:
    if schema.name == IBUG_68.name and any(
        person.get("face_keypoints_2d") for person in content["people"] if isinstance(person, dict)
    ):
        # the last two of its 70 are pupils
        return choose(people_of(content, "face_keypoints_2d"), "largest")[: len(IBUG_68)], _FACE
    person = choose(people_of(content), "largest")
    if not len(person):
        return _NOBODY
    order = tell_order(person[None, :, :2], person[None, :, 2] > 0)
    return person, Order(order, named(order).names)


def _coco(items: list[Any]) -> list[_Frame]:
    """A frame for each picture that the annotations name, in the order of their ids."""
    people: dict[Any, list[np.ndarray]] = {}
    with one_sentence(
        "A COCO JSON of key-points is damaged: each annotation needs image_id and keypoints of x, y, v.", GeometryError
    ):
        for item in items:
            joints = np.asarray(item["keypoints"], np.float64).reshape(-1, 3)
            people.setdefault(item["image_id"], []).append(joints)
        frames = [choose(people[image], "largest") for image in sorted(people)]
    orders = {len(order.names): order for order in (COCO_17, _FACE)}
    if counts := {len(frame) for frame in frames} - set(orders):
        raise GeometryError(
            f"A COCO JSON holds {min(counts)} key-points a person, and not a body's {len(COCO_17.names)} or a face's "
            f"{len(IBUG_68)}."
        )
    return [(frame, orders[len(frame)]) for frame in frames]


def _meshes(content: Any, deep: int = 0) -> Iterator[np.ndarray]:
    """Every list of MediaPipe's points within a JSON, (N, 3) x, y, how sure, whatever its binding calls them; none in
    metres."""
    if deep > 6:
        return
    if isinstance(content, list) and len(content) in (*MEDIAPIPE_MESHES, len(MEDIAPIPE_33.names)):
        with one_sentence("A JSON of MediaPipe's points is damaged: each needs numbers x and y.", GeometryError):
            yield np.array([_point(point) for point in content], np.float64)
        return
    inner = content if isinstance(content, list) else []
    if isinstance(content, dict):
        inner = [value for key, value in content.items() if "world" not in key.lower()]
    for part in inner:
        if isinstance(part, list | dict):
            yield from _meshes(part, deep + 1)


def _point(point: Any) -> tuple[float, float, float]:
    if isinstance(point, dict):
        return float(point["x"]), float(point["y"]), float(point.get("visibility", 1.0) >= SEEN)
    return float(point[0]), float(point[1]), 1.0


def _mediapipe(points: np.ndarray, size: tuple[int, int] | None) -> _Frame:
    if not np.isfinite(points).all():
        raise GeometryError("A JSON of MediaPipe's points holds some that are not finite.")
    if np.abs(points[:, :2]).max() <= _SHARES:
        if size is None:
            raise GeometryError("MediaPipe's points are shares of a picture: name the picture too.")
        # 0 is the border, not a pixel's centre
        points = np.concatenate([points[:, :2] * (size[1], size[0]) - 0.5, points[:, 2:]], 1)
    return (
        (points, MEDIAPIPE_33) if len(points) == len(MEDIAPIPE_33.names) else (points[list(MEDIAPIPE_TO_IBUG)], _FACE)
    )


def _joined(files: list[list[_Frame]], schema: KeypointSchema) -> Tensor:
    """Every frame's joints in the schema's order, nan where nobody is or a joint is not seen."""
    frames = [frame for file in files for frame in file]
    orders = {order for _, order in frames if order is not None}
    if not orders:
        raise GeometryError(
            f"No person is found in {'the file' if len(files) == 1 else f'any of the {len(files)} files'} of key-points."
        )
    if len(orders) > 1:
        raise GeometryError(
            "The persons of these files have different numbers or orders of joints: one order is needed."
        )
    (order,) = orders
    nobody = np.zeros((len(order.names), 3))
    joints = np.stack([part if len(part) else nobody for part, _ in frames])
    return _finite(joints_of(np.where(joints[..., 2:] > 0, joints[..., :2], np.nan), order, schema))
