"""Find the ultrasound sector of a clip: what lies outside it is text, scales and ECG, and never leaves this package."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from echokdm.core.errors import ClipError
from echokdm.core.types import Clip, luma
from echokdm.io.fan import Fan
from echokdm.io.fan_fit import NO_SECTOR, find_fan
from echokdm.io.page import without_page
from echokdm.io.panels import find_panels
from echokdm.io.tint import strays

_DOPPLER = (
    "This clip shows colour Doppler, and only gray B-mode can be used: give the clip of the same view without colour."
)

# The fan is fitted on at most this many columns and frames; edges come out to about a tenth of a pixel of that picture.
_FIT_WIDTH = 320
_FIT_FRAMES = 32
# Compression leaves fewer strays in a tinted clip.
_MOST_STRAYS = 0.003


@dataclass(frozen=True, eq=False)
class Sector:
    """The sector in a clip's own pixels.

    mask: (H, W) bool, True where a pixel's centre lies in the sector. fan: the geometry in a picture of square pixels;
    step: (x, y) how many of the clip's pixels one of that picture's holds. limits: (x0, y0, x1, y1), inclusive, where
    the scanner or the picture cuts the fan's corners.
    """

    mask: np.ndarray
    fan: Fan
    step: tuple[float, float]
    limits: tuple[float, float, float, float]

    @classmethod
    def drawn(
        cls, fan: Fan, step: tuple[float, float], limits: tuple[float, float, float, float], size: tuple[int, int]
    ) -> "Sector":
        """The sector that a fan makes in a clip of that size (H, W)."""
        sector = cls(np.zeros(size, bool), fan, step, limits)
        y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
        sector.mask[:] = sector.contains(x, y)
        return sector

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) around the mask; x1 and y1 are exclusive."""
        columns, rows = np.flatnonzero(self.mask.any(0)), np.flatnonzero(self.mask.any(1))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    @property
    def apex(self) -> tuple[float, float]:
        """(x, y) where the two edges meet, in the clip's pixels; it may lie above the picture."""
        x, y = self._from_fan(np.array(self.fan.apex[0]), np.array(self.fan.apex[1]))
        return float(x), float(y)

    @property
    def angles(self) -> tuple[float, float]:
        """(left, right) edges from straight down, radians, positive to the right, in square pixels."""
        return self.fan.left, self.fan.right

    @property
    def radii(self) -> tuple[float, float]:
        """(near, far) distances from the apex along the fan's axis, in units of the clip's column spacing."""
        return self.fan.near * self.step[0], self.fan.far * self.step[0]

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether points, in the clip's pixels, lie in the sector."""
        x0, y0, x1, y1 = self.limits
        inside = (x >= x0 - 0.5) & (x <= x1 + 0.5) & (y >= y0 - 0.5) & (y <= y1 + 0.5)
        return inside & self.fan.contains((x + 0.5) / self.step[0] - 0.5, (y + 0.5) / self.step[1] - 0.5)

    def outline(self) -> np.ndarray:
        """(M, 2) points (x, y) around the sector, in the clip's pixels."""
        points = self.fan.outline()
        x, y = self._from_fan(points[:, 0], points[:, 1])
        x0, y0, x1, y1 = self.limits
        return np.stack([np.clip(x, x0 - 0.5, x1 + 0.5), np.clip(y, y0 - 0.5, y1 + 0.5)], 1)

    def _from_fan(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (x + 0.5) * self.step[0] - 0.5, (y + 0.5) * self.step[1] - 0.5


def pixel_aspect(clip: Clip) -> float:
    """Row spacing over column spacing: from the spacing, else from the file's pixel aspect, else 1."""
    if clip.spacing_mm is not None:
        return clip.spacing_mm[0] / clip.spacing_mm[1]
    return float(clip.meta.get("pixel_aspect", 1.0))


def find_sector(clip: Clip, region: tuple[int, int, int, int] | None = None) -> Sector:
    """Find the fan from the clip's pixels, within the DICOM region where there is one that agrees with them.

    region: (x0, y0, x1, y1), inclusive, in the clip's pixels; by default the one that `read_clip` found.

    Raises ClipError where no fan is found, where there are two side by side, or where it shows colour Doppler: then no
    pixel may be used. A picture on a white or gray page is read as if the page were black.
    """
    region = region or clip.meta.get("region")
    height, width = clip.size
    if min(height, width) < 48:
        raise ClipError(
            f"This clip is too small for a sector to be found: {height} x {width} pixels, and 48 x 48 are needed."
        )
    small, step = _fit_picture(clip)
    _check_one_panel(clip, small, step)
    if clip.meta.get("colour_region"):
        raise ClipError(_DOPPLER)
    picture = None if region is None else _region_mask(region, step, small.shape[1:])
    fan, level = find_fan(small, picture)
    limits = _cut_corners(level, fan, step, (height, width))
    if region and picture is not None and _agrees(picture, fan):
        limits = (
            max(limits[0], region[0]),
            max(limits[1], region[1]),
            min(limits[2], region[2]),
            min(limits[3], region[3]),
        )
    sector = Sector.drawn(fan, step, limits, clip.size)
    if sector.mask.sum() < 400:
        raise ClipError(NO_SECTOR)
    if _is_doppler(clip, sector.mask):
        raise ClipError(_DOPPLER)
    return sector


def _fit_picture(clip: Clip) -> tuple[np.ndarray, tuple[float, float]]:
    """(T', h, w) gray frames with square pixels, at most `_FIT_WIDTH` wide, and how many of the clip's pixels each
    holds (x, y)."""
    height, width = clip.size
    aspect = pixel_aspect(clip)
    count = min(len(clip), _FIT_FRAMES)
    picks = torch.linspace(0, len(clip) - 1, count).round().long()
    gray = luma(clip.frames[picks])
    new_width = min(width, _FIT_WIDTH)
    new_height = max(round(height * aspect * new_width / width), 1)
    if (new_height, new_width) != (height, width):
        gray = F.interpolate(
            gray,
            (new_height, new_width),
            mode="area" if aspect == 1 else "bilinear",
            **({} if aspect == 1 else {"antialias": True}),
        )
    return without_page(gray[:, 0].numpy()), (width / new_width, height / new_height)


def _region_mask(region: tuple[int, int, int, int], step: tuple[float, float], shape: tuple[int, ...]) -> np.ndarray:
    x0, y0, x1, y1 = region
    mask = np.zeros(shape, bool)
    mask[int(y0 / step[1]) : int(np.ceil((y1 + 1) / step[1])), int(x0 / step[0]) : int(np.ceil((x1 + 1) / step[0]))] = (
        True
    )
    return mask


def _agrees(region: np.ndarray, fan: Fan) -> bool:
    """Whether the region cuts off no more than corners of the fan."""
    y, x = np.mgrid[0 : region.shape[0], 0 : region.shape[1]].astype(np.float32)
    inside = fan.contains(x, y)
    return bool((inside & region).sum() > 0.85 * inside.sum())


def _cut_corners(
    level: np.ndarray, fan: Fan, step: tuple[float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) in the clip's pixels, where life inside the fan ends along a straight upright line, or below a
    level one."""
    height, width = level.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    inside = fan.contains(x, y)
    lively = (level > max(2.0, 0.2 * float(np.median(level[inside])))) & inside
    columns = lively.sum(0) / np.maximum(inside.sum(0), 1)
    rows = lively.sum(1) / np.maximum(inside.sum(1), 1)
    x0 = _cut(columns, inside.sum(0)) * step[0]
    x1 = size[1] - 1 - _cut(columns[::-1], inside.sum(0)[::-1]) * step[0]
    y1 = size[0] - 1 - _cut(rows[::-1], inside.sum(1)[::-1]) * step[1]
    return float(np.ceil(x0)), 0.0, float(np.floor(x1)), float(np.floor(y1))


def _cut(share: np.ndarray, count: np.ndarray) -> int:
    """How many lines from the picture's border the fan is cut off: dead up to there, alive at once after; else 0."""
    filled = np.flatnonzero(count >= 3)
    if not len(filled):
        return 0
    alive = np.flatnonzero((share > 0.5) & (count >= 3))
    if not len(alive) or alive[0] - filled[0] < 2:
        return 0
    start = int(alive[0])
    is_dead = share[filled[0] : start - 1].max() < 0.1
    stays_alive = share[start : start + 4].min() > 0.5
    return start if is_dead and stays_alive else 0


def _check_one_panel(clip: Clip, small: np.ndarray, step: tuple[float, float]) -> None:
    """Raise ClipError, with the columns to cut out, where there are two fans side by side. small, step: as
    `_fit_picture` gives them."""
    panels = find_panels(small)
    if panels is None:
        return
    column, left, right = panels
    height, width = small.shape[1:]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    at = round(column * step[0])
    halves = {
        "left": (f"columns 0 to {at - 1}", left.contains(x, y) & (x < column)),
        "right": (f"columns {at} to {clip.size[1] - 1}", right.contains(x, y) & (x >= column)),
    }
    coloured = [name for name, (_, inside) in halves.items() if _is_doppler(clip, _enlarged(inside, clip.size))]
    if len(coloured) == 1:
        gray = "left" if coloured == ["right"] else "right"
        raise ClipError(
            f"This picture holds two panels: cut out the {gray} one, {halves[gray][0]}, and give that; the other shows "
            "colour Doppler."
        )
    raise ClipError(
        f"This picture holds two panels: cut out the one with the apical 4-chamber view in gray B-mode, the left one, "
        f"{halves['left'][0]}, or the right one, {halves['right'][0]}, and give that."
    )


def _enlarged(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return F.interpolate(torch.from_numpy(mask)[None, None].float(), size)[0, 0].numpy() > 0


def _is_doppler(clip: Clip, mask: np.ndarray) -> bool:
    """Whether any of some frames has more than one in 300 of its sector's pixels in colours off the clip's tint."""
    if clip.frames.shape[1] == 1:
        return False
    picks = torch.linspace(0, len(clip) - 1, min(len(clip), 8)).round().long()
    pixels = clip.frames[picks][:, :, torch.from_numpy(mask)].permute(0, 2, 1)
    off = strays(pixels.reshape(-1, 3).numpy()).reshape(len(picks), -1)
    return bool(off.mean(1).max() > _MOST_STRAYS)
