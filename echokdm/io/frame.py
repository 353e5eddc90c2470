"""From a clip to the model's frame and back: crop, square, resize, with exact maps between the two."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core import defaults
from echokdm.core.errors import ClipError
from echokdm.core.frames import Frames, collect, parts
from echokdm.core.types import Clip, luma
from echokdm.io.sector import Sector, pixel_aspect

Points = TypeVar("Points", np.ndarray, Tensor)

# Around the sector's box, as a share of its longer side.
_MARGIN = 0.02


@dataclass(frozen=True, eq=False)
class ModelClip:
    """A clip in the model's frame.

    clip: gray (T, 1, size, size), black outside the sector, spacing of its own pixels. sector_mask: (size, size) bool.
    origin: (x, y) of the upper left border of the frame, in the source's pixels, borders at -0.5. step: (x, y) source
    pixels a model pixel; both differ only where the source's pixels are not square. source_size: (H, W).
    """

    clip: Clip
    sector_mask: np.ndarray
    origin: tuple[float, float]
    step: tuple[float, float]
    source_size: tuple[int, int]

    @property
    def scale(self) -> float:
        """Model pixels a source pixel; the geometric mean of both directions."""
        return float((self.step[0] * self.step[1]) ** -0.5)

    def to_source(self, points: Points) -> Points:
        """(..., 2) points (x, y) of the model's frame -> the source clip's pixels. Pixel centres are whole numbers in
        both."""
        step, origin = _like(self.step, points), _like(self.origin, points)
        return (points + 0.5) * step + origin

    def to_model(self, points: Points) -> Points:
        """(..., 2) points (x, y) of the source clip -> the model's frame; the inverse of `to_source`."""
        step, origin = _like(self.step, points), _like(self.origin, points)
        return (points - origin) / step - 0.5


def to_model_frame(
    clip: Clip, sector: Sector, size: int = defaults.FRAME_SIZE, resized: Frames | None = None
) -> ModelClip:
    """Crop to the sector, pad to a square, resize to `size` x `size` (anti-aliased), black outside the sector.

    The sector is centred from left to right and begins at the top. Pixels come out square in mm: where the source's are
    not, both directions are resized by their own factor. What lies outside the sector is left out of the resizing, so
    that its border stays bright and nothing burned in beside it bleeds in.
    A clip that is already size x size with a sector that fills it stays as it is, apart from the mask.
    resized: its frames where they are there, as `resize_like` makes them.

    Raises ClipError where the sector was found on a clip of another size.
    """
    if sector.mask.shape != clip.size:
        raise ClipError(
            f"The sector was found on a clip of {sector.mask.shape} pixels, and this one has {clip.size}: find it again."
        )
    origin, step = _window(clip, sector, size)
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    source = (np.stack([x, y], -1) + 0.5) * np.array(step) + np.array(origin)
    model_mask = sector.contains(source[..., 0], source[..., 1])
    if resized is None:
        mask, inside = torch.from_numpy(sector.mask).float(), torch.from_numpy(model_mask)
        resized = collect(_resize(part, mask, origin, step, size) * inside for part in parts(clip.frames))
    spacing = None if clip.spacing_mm is None else (clip.spacing_mm[0] * step[1], clip.spacing_mm[1] * step[0])
    meta = {key: value for key, value in clip.meta.items() if key not in ("region", "pixel_aspect")}
    return ModelClip(clip.with_frames(resized, spacing_mm=spacing, meta=meta), model_mask, origin, step, clip.size)


def resize_like(model: ModelClip, frames: Tensor, sector: Sector) -> Tensor:
    """Frames (N, C, H, W) of the size and sector of the clip that `model` shows -> (N, 1, S, S), as they are in its
    frame."""
    mask, inside = torch.from_numpy(sector.mask).float(), torch.from_numpy(model.sector_mask)
    return _resize(frames, mask, model.origin, model.step, len(inside)) * inside


def _like(pair: tuple[float, float], points: Points) -> Points:
    if isinstance(points, Tensor):
        return torch.tensor(
            pair, dtype=points.dtype if points.is_floating_point() else torch.float32, device=points.device
        )
    return np.array(pair)


def _window(clip: Clip, sector: Sector, size: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """(origin, step) of the model's frame: whole source pixels, so that the crop is exact."""
    x0, y0, x1, y1 = sector.box
    aspect = pixel_aspect(clip)
    if clip.size == (size, size) and abs(aspect - 1) < 0.01 and max(x1 - x0, y1 - y0) >= 0.75 * size:
        return (-0.5, -0.5), (1.0, 1.0)
    side = max(x1 - x0, (y1 - y0) * aspect)
    margin = _MARGIN * side
    columns = max(round(side + 2 * margin), 1)
    rows = max(round(columns / aspect), 1)
    left = round((x0 + x1 - columns) / 2)
    top = round(y0 - margin / aspect)
    return (left - 0.5, top - 0.5), (columns / size, rows / size)


def _resize(frames: Tensor, mask: Tensor, origin: tuple[float, float], step: tuple[float, float], size: int) -> Tensor:
    """Frames (N, C, H, W) -> (N, 1, size, size): weighted by the mask, so that only the sector's pixels count."""
    left, top = round(origin[0] + 0.5), round(origin[1] + 0.5)
    columns, rows = round(step[0] * size), round(step[1] * size)
    height, width = mask.shape
    y0, y1, x0, x1 = max(top, 0), min(top + rows, height), max(left, 0), min(left + columns, width)
    padding = (x0 - left, left + columns - x1, y0 - top, top + rows - y1)
    cut = luma(frames[..., y0:y1, x0:x1])
    window = F.pad(mask[None, None, y0:y1, x0:x1], padding)
    picture = F.pad(cut * mask[y0:y1, x0:x1], padding)
    if (rows, columns) == (size, size):
        return picture.contiguous()
    return resize_inside(picture, window, size)[0]


def resize_inside(picture: Tensor, inside: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Frames (T, 1, H, W) in [0, 1], 0 where not `inside` (1 or T, 1, H, W), resized without aliasing; only what is
    inside counts.

    Returns them, (T, 1, size, size), and how much of each new pixel is inside, (1 or T, 1, size, size).
    """
    weight = F.interpolate(inside, (size, size), mode="bilinear", antialias=True)
    # Frame by frame, so that memory does not grow with the clip and no frame depends on another.
    resized = torch.cat(
        [F.interpolate(frame, (size, size), mode="bilinear", antialias=True) for frame in picture.split(1)]
    )
    return torch.where(weight > 0.02, resized / weight.clamp(min=0.02), resized.new_zeros(())).clamp(0, 1), weight
