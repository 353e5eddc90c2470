"""68 landmarks of faces in pictures by dlib (King, JMLR 2009; Kazemi and Sullivan, CVPR 2014), where the extra
`landmarks` is installed.

The predictor's file lies in the package face_recognition_models, under CC0; it was taught on 300-W, whose pictures are
for research alone. Of that package nothing is imported: its own code asks for a module that newer installs of
setuptools lack.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core.errors import GeometryError

PREDICTOR = "shape_predictor_68_face_landmarks.dat"
INSTALL = "pip install 'echokdm[landmarks]'"
# px, the longer side of the picture that is searched, and where nothing is found; faces of 80 px are found there
_SEARCHED = (1280, 2560)
_ENLARGED = 2.0  # times, at most
_FACE = 300  # px, the side of a face's box as the predictor sees it: its answers are whole pixels
_AROUND = 0.6  # of the box, on each side, that the predictor sees


def predictor_file() -> Path | None:
    """The predictor that face_recognition_models carries, None where it or dlib is not installed."""
    if importlib.util.find_spec("dlib") is None:
        return None
    spec = importlib.util.find_spec("face_recognition_models")
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((file for folder in folders if (file := Path(folder) / "models" / PREDICTOR).is_file()), None)


def find_faces(frames: Tensor, near: Tensor | None = None) -> Tensor:
    """Landmarks (T, 68, 2) px of the largest face in each of frames (T, 3, H, W) in [0, 1].

    near: (68, 2) px, where a face is known to be: nothing is searched, its landmarks are found there. Else, where none
    is found in a frame, it is looked for where it was in the frame before. Raises GeometryError where dlib is not
    installed, or no face is found in the first frame.
    """
    predictor = _predictor()
    box, found = None if near is None else _box_of(near), []
    for frame in frames:
        box = box if near is not None else _box(frame) or box
        if box is None:
            raise GeometryError(
                "No face is found in the picture: one that looks into the camera is needed, 80 pixels wide or wider; or "
                "pass its key-points."
            )
        found.append(_landmarks(frame, box, predictor))
    return torch.stack(found)


@cache
def _predictor() -> Any:
    file = predictor_file()
    if file is None:
        raise GeometryError(f"Faces are found by dlib, which is not installed: {INSTALL}, or pass key-points.")
    import dlib

    return dlib.shape_predictor(str(file))


def _pixels(frame: Tensor) -> np.ndarray:
    return np.ascontiguousarray((frame * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


def _resized(frame: Tensor, scale: float) -> Tensor:
    size = [max(1, round(side * scale)) for side in frame.shape[1:]]
    return F.interpolate(frame[None], size, mode="bilinear", antialias=True, align_corners=False)[0]


def _box(frame: Tensor) -> tuple[float, float, float] | None:
    """Left, top and side in px of the largest face of a frame (3, H, W)."""
    import dlib

    longer = max(frame.shape[1:])
    for scale in (min(1.0, _SEARCHED[0] / longer), min(_ENLARGED, _SEARCHED[1] / longer)):
        boxes = dlib.get_frontal_face_detector()(_pixels(frame if scale == 1 else _resized(frame, scale)), 0)
        if boxes:
            box = max(boxes, key=lambda b: b.width())
            return box.left() / scale, box.top() / scale, box.width() / scale
    return None


def _box_of(points: Tensor) -> tuple[float, float, float]:
    """Of landmarks (68, 2) px, as dlib's detector lays it: as large as they are, a little higher."""
    side = float((points.amax(0) - points.amin(0)).max())
    left, top = ((points.amax(0) + points.amin(0)) / 2 - side / 2).tolist()
    return left, top - 0.05 * side, side


def _landmarks(frame: Tensor, box: tuple[float, float, float], predictor: Any) -> Tensor:
    """(68, 2) px, from the picture around a box drawn so large that the predictor's whole pixels are fine enough."""
    import dlib

    left, top, side = box
    height, width = frame.shape[1:]
    x0, y0 = max(0, round(left - _AROUND * side)), max(0, round(top - _AROUND * side))
    x1, y1 = min(width, round(left + (1 + _AROUND) * side)), min(height, round(top + (1 + _AROUND) * side))
    scale = max(1.0, _FACE / side)
    part = _resized(frame[:, y0:y1, x0:x1], scale)
    ratio = torch.tensor([part.shape[2] / (x1 - x0), part.shape[1] / (y1 - y0)])
    corners = [
        round((value - corner) * scale)
        for value, corner in ((left, x0), (top, y0), (left + side, x0), (top + side, y0))
    ]
    shape = predictor(_pixels(part), dlib.rectangle(*corners))
    points = torch.tensor([(point.x, point.y) for point in shape.parts()], dtype=torch.float32)
    return (points + 0.5) / ratio - 0.5 + torch.tensor([x0, y0])
