"""Key-points from a file of their own: `.pts`, OpenPose JSON or a folder of it, `.npy`."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import GeometryError
from echokdm.core.files import check_plain
from echokdm.core.naming import called
from echokdm.core.types import KeypointSchema
from echokdm.data.adapters.faces import read_pts
from echokdm.data.adapters.folder import natural
from echokdm.data.adapters.openpose import choose, read_people, tell_order
from echokdm.io.npz import read_npy


def read_keypoints(path: Path, schema: KeypointSchema) -> Tensor:
    """(T, N, 2) float32 px (x, y), nan where not seen, of the frames that a file or folder tells of.

    OpenPose's joints are those of the largest person; BODY_25 and BODY_25B are told apart, and those of either that COCO's 18 have are
    taken where `schema` is COCO's. Raises GeometryError where there is none, it is damaged, or of another schema.
    """
    check_plain(path, GeometryError)
    file = called("The file of key-points", path)
    if path.is_dir():
        files = sorted((f for f in path.iterdir() if f.suffix == ".json"), key=lambda f: natural(f.name))
        if not files:
            raise GeometryError(f"{called('The folder of key-points', path)} holds no OpenPose JSON; name a folder of one JSON a frame.")
        return _openpose(files, schema)
    if not path.is_file():
        raise GeometryError(f"{file} does not exist; name a .pts, an OpenPose .json or its folder, or a .npy.")
    if path.suffix == ".json":
        return _openpose([path], schema)
    if path.suffix == ".pts":
        points = read_pts(path)[None]
    elif path.suffix == ".npy":
        points = read_npy(path, f"{file} is no array of numbers: save key-points with numpy.save, (T, N, 2) in pixels.", GeometryError)
        points = points[None] if points.ndim == 2 else points
    else:
        raise GeometryError(f"{file} is of no kind that is known; name a .pts, an OpenPose .json or its folder, or a .npy.")
    if points.ndim != 3 or points.shape[1:] != (len(schema), 2):
        raise GeometryError(f"{file} holds key-points of the shape {points.shape}; {schema.name} needs (T, {len(schema)}, 2).")
    with np.errstate(over="ignore"):
        values = np.asarray(points, np.float32)
    if np.isinf(values).any():
        raise GeometryError(f"{file} holds key-points beyond any picture: give them in pixels.")
    return torch.from_numpy(values)


def _openpose(files: list[Path], schema: KeypointSchema) -> Tensor:
    from echokdm.core.schemas import schema as named

    people = [choose(read_people(str(file)), "largest") for file in files]
    count = max(map(len, people))
    if not count:
        raise GeometryError(f"No person is found in {'the file' if len(files) == 1 else f'any of the {len(files)} files'} of key-points.")
    if {len(person) for person in people} - {0, count}:
        raise GeometryError("The persons of these files have different numbers of joints: one order is needed.")
    joints = np.stack([person if len(person) else np.zeros((count, 3)) for person in people])
    points = np.where(joints[..., 2:] > 0, joints[..., :2], np.nan).astype(np.float32)
    own = named(tell_order(joints[..., :2], joints[..., 2] > 0))
    if own.name != schema.name:
        aliases = {"neck": "upper_neck"} if "upper_neck" in own.names else {}
        wanted = [aliases.get(name, name) for name in schema.names]
        if not set(wanted) <= set(own.names):
            raise GeometryError(f"The files of key-points hold {own.name} joints, the bundle needs {schema.name}.")
        points = points[:, [own.names.index(name) for name in wanted]]
    return torch.from_numpy(points)
