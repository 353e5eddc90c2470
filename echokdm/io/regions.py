"""Ultrasound regions of a DICOM file (PS3.3 C.8.5.5): where the 2-D picture lies, and mm a pixel."""

from typing import TYPE_CHECKING, Any, NamedTuple

from echokdm.io.raw import sane_aspect, sane_spacing

if TYPE_CHECKING:
    from pydicom import Dataset

_SPATIAL_2D = 1
_TISSUE, _COLOUR_FLOW = 1, 2
_CENTIMETRES = 3


class _Box(NamedTuple):
    x0: int
    y0: int
    x1: int  # inclusive
    y1: int  # inclusive

    @property
    def area(self) -> int:
        return max(self.x1 - self.x0 + 1, 0) * max(self.y1 - self.y0 + 1, 0)


def read_region(dataset: "Dataset", rows: int, columns: int) -> tuple[tuple[float, float] | None, dict[str, Any]]:
    """((row, column) mm a pixel or None, facts) of the largest 2-D tissue region.

    facts: `region` (x0, y0, x1, y1), inclusive, inside the image; `colour_region` True where any region holds colour
    flow; `pixel_aspect` (row / column spacing) where only that is known.
    """
    regions = list(dataset.get("SequenceOfUltrasoundRegions") or [])
    facts: dict[str, Any] = {}
    if any(_code(item, "RegionDataType") == _COLOUR_FLOW for item in regions):
        facts["colour_region"] = True
    tissue = [(box.area, box, item) for item in regions if _is_tissue(item) and (box := _box(item)) and box.area > 0]
    if tissue:
        _, box, item = max(tissue, key=lambda entry: entry[0])
        box, factor, sure = _fitted(box, rows, columns)
        if box.area > 0:
            facts["region"] = tuple(box)
            spacing = _region_spacing(item, factor)
            # A region that overflows on one side may stem from a cropped picture or a shrunk one: its mm can't be
            # trusted.
            if spacing and sure:
                return spacing, facts
            return None, facts
    spacing = _pixel_spacing(dataset)
    if spacing is None:
        aspect = dataset.get("PixelAspectRatio")
        if aspect is not None and len(aspect) == 2 and all(float(v) > 0 for v in aspect):
            if ratio := sane_aspect(float(aspect[0]) / float(aspect[1])):
                facts["pixel_aspect"] = ratio
    return spacing, facts


def _code(item: Any, name: str) -> int | None:
    value = item.get(name)
    return None if value is None else int(value)


def _is_tissue(item: Any) -> bool:
    return _code(item, "RegionSpatialFormat") == _SPATIAL_2D and _code(item, "RegionDataType") == _TISSUE


def _box(item: Any) -> _Box | None:
    names = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
    values = [_code(item, name) for name in names]
    return None if None in values else _Box(*(int(v) for v in values if v is not None))


def _fitted(box: _Box, rows: int, columns: int) -> tuple[_Box, int, bool]:
    """(box inside the image, how many original pixels one pixel holds, whether that is sure).

    A region beyond the image in both directions stems from a larger original: it is divided by the whole number that
    makes it fit. Beyond in one direction it is clamped, one pixel over (an exclusive bound) as a matter of course.
    """
    over_x, over_y = box.x1 - (columns - 1), box.y1 - (rows - 1)
    if over_x > 1 and over_y > 1:
        for factor in (2, 3, 4):
            shrunk = _Box(-(-box.x0 // factor), -(-box.y0 // factor), box.x1 // factor, box.y1 // factor)
            if shrunk.x1 < columns and shrunk.y1 < rows:
                return shrunk, factor, True
    clamped = _Box(max(box.x0, 0), max(box.y0, 0), min(box.x1, columns - 1), min(box.y1, rows - 1))
    return clamped, 1, max(over_x, over_y) <= 1


def _region_spacing(item: Any, factor: int) -> tuple[float, float] | None:
    """Physical Delta X, Y where both are in cm (units code 3)."""
    if _code(item, "PhysicalUnitsXDirection") != _CENTIMETRES or _code(item, "PhysicalUnitsYDirection") != _CENTIMETRES:
        return None
    delta_x, delta_y = item.get("PhysicalDeltaX"), item.get("PhysicalDeltaY")
    if delta_x is None or delta_y is None:
        return None
    return sane_spacing((abs(float(delta_y)) * 10 * factor, abs(float(delta_x)) * 10 * factor))


def _pixel_spacing(dataset: "Dataset") -> tuple[float, float] | None:
    for name in ("PixelSpacing", "NominalScannedPixelSpacing"):
        value = dataset.get(name)
        if value is not None and len(value) == 2:
            return sane_spacing((float(value[0]), float(value[1])))
    return None
