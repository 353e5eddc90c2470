"""The left ventricle as 40 key-points: masks, tracings and polygons <-> chords, single-plane Simpson volume, ejection
fraction.

Key-points (40, 2), (x, y) in pixels, the top-left pixel's centre at (0, 0). Chord i (apex to base) joins points i and
39 - i and is perpendicular to the long axis; in order the points are a polygon. Chord i lies (i + 1/2) L/20 from the
apex with spacing="midpoint" and (i + 1) L/21 with "interior", so that neighbouring chords are L/20 or L/21 apart and L
can be had back from the 40 points alone.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.core.errors import GeometryError
from echokdm.ops.chords import CHORDS, axis_of_outline, chord_positions, chords_of_outline, contour, cross

Array = NDArray[np.float64]

_SMOOTH = 0.7  # px; takes the steps off a binary mask and moves an outline of radius R by about 0.25/R px


def long_axis(shape: ArrayLike, previous_axis: ArrayLike | None = None) -> tuple[Array, Array]:
    """Apex (2,) and base (2,), the middle of the mitral cut, of a mask (H, W) or of a closed polygon (M, 2).

    previous_axis: (2, 2) apex and base of a neighbouring frame, for any tilt; without it the apex is the upper end.
    Raises GeometryError on an empty mask or a polygon of fewer than three points.
    """
    array = np.asarray(shape)
    if array.ndim == 2 and array.shape[1] == 2 and array.dtype != bool:
        return axis_of_outline(_polygon(array), previous_axis)
    return axis_of_outline(_outline_of_mask(array), previous_axis)


def keypoints_from_mask(mask: ArrayLike, spacing: str = "midpoint", previous_axis: ArrayLike | None = None) -> Array:
    """Key-points (40, 2) of the largest component of a mask (H, W), bool or probability (outline at 0.5).

    Holes, islands and stubs don't matter: a chord ends at its outermost intersections. Raises GeometryError on an empty
    mask.
    """
    outline = _outline_of_mask(mask)
    apex, base = axis_of_outline(outline, previous_axis)
    return chords_of_outline(outline, apex, base, spacing)


def keypoints_from_polygon(
    polygon: ArrayLike, apex: ArrayLike | None = None, base: ArrayLike | None = None, spacing: str = "midpoint"
) -> Array:
    """Key-points (40, 2) of a closed polygon (M, 2); its long axis is found where `apex` and `base` are not both
    given."""
    outline = _polygon(polygon)
    if apex is None or base is None:
        found = axis_of_outline(outline)
        apex, base = (found[0] if apex is None else apex), (found[1] if base is None else base)
    return chords_of_outline(outline, np.asarray(apex, np.float64), np.asarray(base, np.float64), spacing)


def outline_of_tracing(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tracings (..., 1 + n, 4), axis first -> the chords' ends round about (..., 2 n, 2): the first from apex to base,
    the second back."""
    return np.concatenate([rows[..., 1:, :2], rows[..., :0:-1, 2:]], -2)


def keypoints_from_tracing(rows: ArrayLike, spacing: str = "midpoint") -> Array:
    """Key-points (40, 2) from an EchoNet-Dynamic tracing (R, 4) of x1, y1, x2, y2: row 0 the long axis, the others
    chords.

    Any number of chords from two on, at any spacing, one-sided stubs too: the chords are drawn anew on the traced
    outline.
    """
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != 4 or len(rows) < 3 or not np.isfinite(rows).all():
        raise GeometryError(
            "A tracing needs a long axis and two or more chords, rows of four finite numbers x1, y1, x2, y2."
        )
    apex, base = rows[0, :2], rows[0, 2:]
    chords = rows[1:].reshape(-1, 2, 2)
    middle = chords.mean(1)
    if np.hypot(*(middle[0] - apex)) > np.hypot(*(middle[-1] - apex)):  # the chords run from the apex to the base
        apex, base = base, apex
    length = float(np.hypot(*(base - apex)))
    if length < 1e-6:
        raise GeometryError(
            "The tracing's long axis has no length; its first row must run from the apex to the mid-base."
        )
    u = (base - apex) / length
    v = np.array([-u[1], u[0]])
    chords = chords[np.argsort((middle - apex) @ u, kind="stable")]
    swap = (chords[:, 0] - chords[:, 1]) @ v < 0
    chords[swap] = chords[swap, ::-1]
    return chords_of_outline(_complete(chords[:, 0], chords[:, 1], apex, base), apex, base, spacing)


def tracing_from_keypoints(keypoints: ArrayLike, spacing: str = "midpoint") -> Array:
    """Rows (21, 4) of x1, y1, x2, y2 in EchoNet-Dynamic's form: the long axis, then 20 chords from apex to base."""
    points = _forty(keypoints)
    apex, base = axis_from_keypoints(points, spacing)
    chords = np.concatenate([points[:CHORDS], points[: CHORDS - 1 : -1]], axis=1)
    return np.concatenate([np.concatenate([apex, base])[None], chords])


def axis_from_keypoints(keypoints: ArrayLike, spacing: str = "midpoint") -> tuple[Array, Array]:
    """Apex and base (..., 2) from key-points (..., 40, 2).

    Direction and length are exact for parallel, equidistant chords. What the points don't tell is how far to the side
    the axis runs: the middles of the last chords, carried on to the mitral plane.
    """
    points = _forty(keypoints)
    u, offset, step = _frame(points)
    f = chord_positions(spacing)
    length = step / (f[1] - f[0])
    middle = _middles(points)
    v = np.stack([-u[..., 1], u[..., 0]], axis=-1)
    side = (middle * v[..., None, :]).sum(-1)[..., -4:]
    at = f[-4:] - f[-4:].mean()
    base_side = side.mean(-1) + (side * at).sum(-1) / (at**2).sum() * (1 - f[-4:].mean())
    apex_along = offset - f[0] * length
    apex = apex_along[..., None] * u + base_side[..., None] * v
    return apex, apex + length[..., None] * u


def outline_from_keypoints(keypoints: ArrayLike, spacing: str = "midpoint") -> Array:
    """Closed polygon (M, 2) of the whole ventricle: the 40 points, a rounded cap at the apex and the walls carried on
    to the mitral plane.

    The 40 points alone leave out half a chord spacing at either end.
    """
    points = _forty(keypoints)
    apex, base = axis_from_keypoints(points, spacing)
    return _complete(points[:CHORDS], points[: CHORDS - 1 : -1], apex, base)


def polygon_to_mask(polygon: ArrayLike, height: int, width: int) -> NDArray[np.bool_]:
    """(H, W) bool: the pixels whose centres lie inside the closed polygon (M, 2), by the even-odd rule."""
    p = _polygon(polygon)
    y = np.arange(height, dtype=np.float64)[:, None]
    x1, y1 = p.T
    x2, y2 = np.roll(p, -1, axis=0).T
    hit = (y1[None] <= y) != (y2[None] <= y)
    x = x1[None] + (y - y1[None]) * ((x2 - x1) / np.where(y1 == y2, 1.0, y2 - y1))[None]
    rows = np.nonzero(hit)[0]
    column = np.clip(np.ceil(x[hit]), 0, width).astype(np.int64)  # the first centre at or right of the crossing
    toggles = np.zeros((height, width + 1), dtype=np.int64)
    np.add.at(toggles, (rows, column), 1)
    return toggles.cumsum(1)[:, :width] % 2 == 1


def keypoints_to_mask(keypoints: ArrayLike, height: int, width: int, spacing: str = "midpoint") -> NDArray[np.bool_]:
    """(H, W) bool of the whole ventricle of 40 key-points, ends included: its key-points are the same again within half
    a pixel."""
    return polygon_to_mask(outline_from_keypoints(keypoints, spacing), height, width)


def simpson_volume(
    keypoints: ArrayLike, spacing_mm: float | tuple[float, float] | None = None, spacing: str = "midpoint"
) -> Array:
    """Single-plane Simpson volume V = sum(pi/4 d_i^2) L/20 of key-points (..., 40, 2) -> (...).

    In mL with spacing_mm, mm a pixel, one number or (row, column) as in `Clip`; without it in px^3.
    spacing: how the chords were laid, which gives L from the distance between them.
    """
    points = _forty(keypoints)
    if spacing_mm is not None:
        row, column = np.broadcast_to(spacing_mm, 2)
        points = points * np.array([column, row], dtype=np.float64)
    _, _, step = _frame(points)
    f = chord_positions(spacing)
    chords = points[..., :CHORDS, :] - points[..., : CHORDS - 1 : -1, :]
    volume = np.pi / 4 * (chords**2).sum((-2, -1)) * step / (f[1] - f[0]) / CHORDS
    return volume if spacing_mm is None else volume / 1000


def with_volumes(keypoints: ArrayLike, volumes: ArrayLike) -> Array:
    """Key-points (..., 40, 2) with Simpson volumes (...) in px^3, each chord made longer or shorter about its middle by
    one factor."""
    points = _forty(keypoints)
    factor = np.sqrt(np.asarray(volumes, dtype=np.float64) / simpson_volume(points))[..., None, None]
    middles = _middles(points)
    middles = np.concatenate([middles, middles[..., ::-1, :]], axis=-2)
    return middles + factor * (points - middles)


def ejection_fraction(edv: ArrayLike, esv: ArrayLike) -> Array:
    """EF = 100 (EDV - ESV) / EDV in per cent."""
    edv, esv = np.asarray(edv, dtype=np.float64), np.asarray(esv, dtype=np.float64)
    if not (edv > 0).all():
        raise GeometryError("The ejection fraction needs an end-diastolic volume above zero.")
    return 100 * (edv - esv) / edv


def self_crossing(keypoints: ArrayLike) -> NDArray[np.bool_]:
    """Whether the closed polygons (..., N, 2) cross themselves -> (...) bool. Neighbouring sides are not compared;
    touching is allowed."""
    a = np.asarray(keypoints, dtype=np.float64)
    d = np.roll(a, -1, axis=-2) - a
    n = a.shape[-2]
    gap = a[..., None, :, :] - a[..., :, None, :]  # (..., i, j, 2): from the start of side i to the start of side j
    side1 = cross(d[..., :, None, :], gap)
    side2 = cross(d[..., :, None, :], gap + d[..., None, :, :])
    apart = side1 * side2 < 0  # the ends of side j lie on either side of side i
    i = np.arange(n)
    distance = np.abs(i[:, None] - i[None])
    far = np.minimum(distance, n - distance) > 1
    return (apart & np.swapaxes(apart, -1, -2) & far).any((-2, -1))


def check_keypoints(keypoints: ArrayLike, sector: ArrayLike | None = None) -> Array:
    """The key-points (..., 40, 2) as float64. Raises GeometryError when they are of the wrong count, not finite,
    crossing or outside.

    sector: (H, W) bool; every point must lie on a true pixel.
    """
    points = _forty(keypoints)
    if not np.isfinite(points).all():
        raise GeometryError("Some key-points are not finite numbers; every frame needs 40 points (x, y) in pixels.")
    if sector is not None:
        inside = np.asarray(sector, dtype=bool)
        x, y = np.rint(points[..., 0]).astype(np.int64), np.rint(points[..., 1]).astype(np.int64)
        height, width = inside.shape
        good = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        good &= inside[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
        if not good.all():
            raise GeometryError(
                f"{int((~good).sum())} of the key-points lie outside the ultrasound sector; give them as pixels (x, y) "
                "of this clip."
            )
    if self_crossing(points).any():
        raise GeometryError(
            "The key-points' outline crosses itself; order them along one wall from apex to base, then back up the other."
        )
    return points


def _outline_of_mask(mask: ArrayLike) -> Array:
    array = np.asarray(mask)
    binary = array.dtype.kind in "biu" or bool(((array == 0) | (array == 1)).all())
    return contour(array, _SMOOTH if binary else 0.0)


def _polygon(polygon: ArrayLike) -> Array:
    p = np.asarray(polygon, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != 2 or len(p) < 3 or not np.isfinite(p).all():
        raise GeometryError("An outline needs three or more finite points (x, y).")
    return p


def _forty(keypoints: ArrayLike) -> Array:
    points = np.asarray(keypoints, dtype=np.float64)
    if points.ndim < 2 or points.shape[-2:] != (2 * CHORDS, 2):
        raise GeometryError(
            f"A ventricle has {2 * CHORDS} key-points (x, y), an array of shape (..., 40, 2), not {points.shape}."
        )
    return points


def _middles(points: Array) -> Array:
    return (points[..., :CHORDS, :] + points[..., : CHORDS - 1 : -1, :]) / 2


def _frame(points: Array) -> tuple[Array, Array, Array]:
    """Axis direction (..., 2), where chord 0 lies along it (...), and the distance between chords (...), by least
    squares."""
    # towards the first ends, the long chords counting most
    across = (points[..., :CHORDS, :] - points[..., : CHORDS - 1 : -1, :]).sum(-2)
    u = np.stack([across[..., 1], -across[..., 0]], axis=-1)
    u = u / np.maximum(np.hypot(u[..., 0], u[..., 1]), 1e-12)[..., None]
    along = (_middles(points) * u[..., None, :]).sum(-1)
    i = np.arange(CHORDS) - (CHORDS - 1) / 2
    step = (along * i).sum(-1) / (i**2).sum()
    return u, along.mean(-1) + i[0] * step, step


def _complete(first: Array, second: Array, apex: Array, base: Array) -> Array:
    """Outline (M, 2) of chord ends (K, 2) and (K, 2), closed by a parabolic cap to the apex and by straight walls to
    the mitral plane."""
    u = (base - apex) / max(float(np.hypot(*(base - apex))), 1e-12)
    gap = max(float(((first[0] + second[0]) / 2 - apex) @ u), 0.0)
    foot = apex + gap * u
    parts = np.array([0.5, 0.75, 0.9])  # of the half width; the depth below the apex goes with its square
    up = [apex + (parts**2)[:, None] * gap * u + parts[:, None] * (end - foot) for end in (first[0], second[0])]
    ends = [end + max(float((base - end) @ u), 0.0) * u for end in (first[-1], second[-1])]
    return np.concatenate([apex[None], up[0], first, ends[0][None], ends[1][None], second[::-1], up[1][::-1]])
