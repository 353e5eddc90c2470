"""Outlines of a ventricle: mask -> sub-pixel contour -> long axis -> chords. Points are (x, y) in pixels, float64.

The blood pool of an apical view is a bullet: a rounded apex and a cut at the mitral plane. The long axis joins the apex
to the middle of that cut.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from echokdm.core.errors import GeometryError

Array = NDArray[np.float64]

CHORDS = 20
SPACINGS = ("midpoint", "interior")
_SAMPLES = 160  # points an outline is resampled to before its axis is sought
# the annulus ends where the outline has turned half-way from the mitral plane to the wall
_HINGE_COS = np.cos(np.pi / 4)
_FLAT, _ROUND = 0.10, 0.18  # sagitta / width of the basal end; the ends of circles and ellipses have .21 and more
_STUB = 0.06  # half width, in parts of the square root of the area, below which an arm of a mask is not ventricle
_IRREGULAR = 18.0  # perimeter^2 / area from which stubs are looked for; 13-17 in ventricles, 4 pi in a circle
_CAP = 0.15  # part of the length, at the far end, whose middle is the apex


def chord_positions(spacing: str = "midpoint") -> Array:
    """(20,) distances of the chords from the apex in parts of the long axis: (i + 1/2)/20, or (i + 1)/21 for
    "interior"."""
    if spacing not in SPACINGS:
        raise GeometryError(f"Chord spacing is one of {', '.join(SPACINGS)}, not {spacing!r}.")
    i = np.arange(CHORDS)
    return (i + 0.5) / CHORDS if spacing == "midpoint" else (i + 1.0) / (CHORDS + 1)


def cross(a: Array, b: Array) -> Array:
    """z component of the cross product of plane vectors (..., 2)."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _largest(field: Array) -> Array:
    """A field (H, W) with every component above 0.5 but the largest set to 0."""
    inside = field > 0.5
    labels, count = ndimage.label(inside)
    if count < 2:
        return field
    return np.where(inside & (labels != np.bincount(labels.ravel())[1:].argmax() + 1), 0.0, field)


def _without_stubs(field: Array) -> Array:
    """A field (H, W) of one component without arms much thinner than the component: a morphological opening, corners
    kept, holes filled."""
    inside = field > 0.5
    radius = int(round(_STUB * float(np.sqrt(inside.sum()))))
    if radius < 1:
        return field
    box = ndimage.find_objects(inside.astype(np.int8))[0]
    body = ndimage.binary_fill_holes(np.pad(inside[box], radius + 2))
    plus, square = ndimage.generate_binary_structure(2, 1), np.ones((3, 3), dtype=bool)
    shapes = [square if i % 2 else plus for i in range(radius)]  # in turn they make an octagon
    opened = body
    for shape in shapes:
        opened = ndimage.binary_erosion(opened, shape)
    for shape in [*shapes, plus, square]:  # two steps more give the corners back
        opened = ndimage.binary_dilation(opened, shape)
    stub = inside[box] & ~opened[radius + 2 : -radius - 2, radius + 2 : -radius - 2]
    if not stub.any() or (stub == inside[box]).all():
        return field
    field = field.copy()
    field[box][stub] = 0.0
    return _largest(field)


def contour(mask: ArrayLike, smooth: float = 0.0) -> Array:
    """Outer outline (M, 2), not repeated at its end, of a mask's largest component without stubs: marching squares at
    0.5.

    smooth: sigma in pixels of a Gaussian over the mask, for hand-drawn or noisy binary masks; 0 leaves it as it is.
    Raises GeometryError on an empty mask.
    """
    array = np.asarray(mask)
    if array.ndim != 2:
        raise GeometryError(f"A mask has the shape (height, width), not {array.shape}.")
    inside = array > 0.5
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        raise GeometryError(
            "No left ventricle was found: the mask is empty. Give key-points or a mask of the left ventricle."
        )
    margin = 1 + int(np.ceil(3 * smooth))
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    crop = array[top : rows[-1] + 1 + margin, left : columns[-1] + 1 + margin]
    # the frame of zeros closes outlines at the border
    field = np.zeros((crop.shape[0] + 2 * margin, crop.shape[1] + 2 * margin))
    field[margin:-margin, margin:-margin] = crop
    field, corner = _largest(field), np.array([left - margin, top - margin], dtype=np.float64)
    outline = _trace(field, smooth) + corner
    around = np.roll(outline, 1, axis=0) - outline
    if np.sqrt((around**2).sum(1)).sum() ** 2 > _IRREGULAR * abs(_area(outline)):
        outline = _trace(_without_stubs(field), smooth) + corner
    return outline


def _trace(field: Array, smooth: float) -> Array:
    """The outline (M, 2) of largest area of a field (H, W) that is 0 at its border."""
    from skimage.measure import find_contours

    if smooth > 0:
        blurred = ndimage.gaussian_filter(field, smooth, mode="constant", truncate=3.0)
        if blurred.max() > 0.5:  # a speck of a pixel or two would vanish
            field = blurred
    outlines = find_contours(field, 0.5)
    outline = outlines[0] if len(outlines) == 1 else max(outlines, key=lambda c: abs(_area(c)))
    return outline[:-1, ::-1]


def _area(polygon: Array) -> float:
    """Signed area of a closed polygon (M, 2)."""
    return 0.5 * float(cross(polygon, np.roll(polygon, -1, axis=0)).sum())


def _moments(polygon: Array) -> tuple[Array, Array, float]:
    """Centre of gravity (2,), principal direction (2,) and elongation (ratio of the principal radii) of a filled
    polygon."""
    origin = polygon.mean(0)
    x, y = (polygon - origin).T
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    c = x * y2 - x2 * y
    area = c.sum() / 2
    if abs(area) < 1e-9:
        cx = cy = 0.0
        xx, xy, yy = x @ x, x @ y, y @ y
    else:
        cx, cy = c @ (x + x2) / (6 * area), c @ (y + y2) / (6 * area)
        xx = c @ (x * x + x * x2 + x2 * x2) / (12 * area) - cx * cx
        yy = c @ (y * y + y * y2 + y2 * y2) / (12 * area) - cy * cy
        xy = c @ (x * y2 + 2 * x * y + 2 * x2 * y2 + x2 * y) / (24 * area) - cx * cy
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    spread, mean = np.hypot((xx - yy) / 2, xy), (xx + yy) / 2
    elongation = float(np.sqrt((mean + spread) / max(mean - spread, 1e-6 * (mean + spread), 1e-12)))
    return origin + (cx, cy), np.array([np.cos(angle), np.sin(angle)]), elongation


def resample(polygon: Array, count: int) -> Array:
    """(count, 2) points at equal arc length along a closed polygon (M, 2)."""
    closed = np.concatenate([polygon, polygon[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.arange(count) * (length[-1] / count)
    return np.stack([np.interp(at, length, closed[:, 0]), np.interp(at, length, closed[:, 1])], axis=1)


class _Outline(NamedTuple):
    points: Array  # (n, 2) at equal arc length, counter-clockwise in (x, y)
    smooth: Array  # (n, 2) the same, smoothed
    normals: Array  # (n, 2) outward, unit


def _outline(polygon: Array) -> _Outline:
    points = resample(polygon if _area(polygon) > 0 else polygon[::-1], _SAMPLES)
    smooth = ndimage.gaussian_filter1d(points, 2.0, axis=0, mode="wrap")
    tangent = np.roll(smooth, -1, axis=0) - np.roll(smooth, 1, axis=0)
    normals = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    return _Outline(points, smooth, normals / np.maximum(np.hypot(*normals.T), 1e-12)[:, None])


def _facing(outline: _Outline, direction: Array) -> tuple[int, int]:
    """The run (first, last) of outline points that faces `direction`.

    It is the run of largest sum of cos(normal, direction) - cos 45, so that small notches and bumps don't end it.
    """
    gain = outline.normals @ direction - _HINGE_COS
    start = int((outline.points @ direction).argmin())  # cut the ring at the far end, where no such run can be
    total = np.cumsum(np.roll(gain, -start))
    before = np.minimum.accumulate(np.concatenate([[0.0], total[:-1]]))
    last = int((total - before).argmax())
    lows = np.concatenate([[0.0], total[:last]]) if last else np.zeros(1)
    first = int(lows.argmin())
    n = len(gain)
    return (first + start) % n, (last + start) % n


def _hinges(outline: _Outline, direction: Array) -> tuple[Array, Array, float]:
    """The two ends (2,) of the basal cut in `direction`, and how far the outline bulges between them in parts of its
    width."""
    first, last = _facing(outline, direction)
    n = len(outline.points)
    run = outline.points[(first + np.arange((last - first) % n + 1)) % n]
    a, b = run[0], run[-1]
    width = float(np.hypot(*(b - a)))
    if width < 1e-9:
        return a, b, 1.0
    normal = np.array([b[1] - a[1], a[0] - b[0]]) / width
    return a, b, float(np.abs((run - a) @ normal).max()) / width


def _start_direction(outline: _Outline, principal: Array, elongation: float, previous: Array | None) -> Array:
    """A first guess of the direction apex -> base, near the axis of the frame before, else downwards in the image.

    What counts: a flat end, a long shape along it, and the hint; weights set so that bullets tilted up to 75 degrees,
    and bullets wider than long, are told right.
    """
    hint = np.array([0.0, 1.0]) if previous is None else previous
    angles = np.deg2rad(np.arange(-75, 76, 15))
    fan = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ np.stack([hint, [-hint[1], hint[0]]])
    candidates = np.concatenate([[principal, -principal], fan])
    gain = candidates @ outline.normals.T - _HINGE_COS
    total = np.cumsum(gain, axis=1)
    # Largest sum of a circular run: a plain run, or everything but the plain run of least sum.
    padded = np.concatenate([np.zeros((len(total), 1)), total[:, :-1]], axis=1)
    most = (total - np.minimum.accumulate(padded, axis=1)).max(1)
    least = (total - np.maximum.accumulate(padded, axis=1)).min(1)
    step = np.hypot(*(outline.points[1] - outline.points[0])) / max(float(np.ptp(outline.points, axis=0).max()), 1e-9)
    score = np.maximum(most, total[:, -1] - least) * step + 0.2 * candidates @ hint
    score[:2] += min(0.6 * (elongation - 1), 0.6)
    return candidates[int(score.argmax())]


def _crossings(polygon: Array, origin: Array, direction: Array) -> tuple[Array, Array]:
    """The outermost points (2,), (2,) where the line through `origin` along `direction` meets a closed polygon."""
    normal = np.array([-direction[1], direction[0]])
    low, high = _line_ends((polygon - origin) @ normal, (polygon - origin) @ direction, np.zeros(1))
    if not np.isfinite(low[0]):  # the line misses: a start point outside the outline
        along = (polygon - origin) @ direction
        return polygon[along.argmin()], polygon[along.argmax()]
    return origin + low[0] * direction, origin + high[0] * direction


def _line_ends(across: Array, along: Array, levels: Array) -> tuple[Array, Array]:
    """Outermost values of `along` (M,) where the closed curve's `across` (M,) passes each level (K,) -> (K,), (K,)."""
    across2, along2 = np.roll(across, -1), np.roll(along, -1)
    step = across2 - across
    slope = (along2 - along) / np.where(step == 0, 1.0, step)
    hit = (across[None] < levels[:, None]) != (across2[None] < levels[:, None])
    value = along[None] + (levels[:, None] - across[None]) * slope[None]
    return np.where(hit, value, np.inf).min(1), np.where(hit, value, -np.inf).max(1)


def axis_of_outline(polygon: Array, previous_axis: ArrayLike | None = None) -> tuple[Array, Array]:
    """(apex (2,), base (2,)) of a closed outline (M, 2), both on it.

    base: the middle of the mitral cut; apex: the far end. Where the basal end is round (an ellipse), the principal
    axis. previous_axis: (2, 2) apex and base of a neighbouring frame; without it the apex is the upper end.
    """
    outline = _outline(polygon)
    centre, principal, elongation = _moments(polygon)
    hint = None
    if previous_axis is not None:
        p = np.asarray(previous_axis, dtype=np.float64)
        hint = (p[1] - p[0]) / max(float(np.hypot(*(p[1] - p[0]))), 1e-12)
    direction = _start_direction(outline, principal, elongation, hint)
    if principal @ direction < 0:
        principal = -principal
    bulge, cut = 1.0, direction
    for _ in range(4):
        a, b, bulge = _hinges(outline, cut)
        base = (a + b) / 2
        distance = np.hypot(*(outline.points - base).T)
        weight = np.maximum(distance - (1 - _CAP) * distance.max(), 0)
        apex = (weight[:, None] * outline.points).sum(0) / weight.sum()
        before, direction = direction, (base - apex) / max(float(np.hypot(*(base - apex))), 1e-12)
        cut = direction
        if bulge < _FLAT:  # a true cut: judge its ends by its own normal, which may lean against the axis
            normal = np.array([b[1] - a[1], a[0] - b[0]])
            cut = normal / np.hypot(*normal) * (1.0 if normal @ direction > 0 else -1.0)
        if before @ direction > 1 - 1e-6:  # within a twelfth of a degree
            break
    roundness = float(np.clip((bulge - _FLAT) / (_ROUND - _FLAT), 0, 1)) * float(
        np.clip((elongation - 1.1) / 0.15, 0, 1)
    )
    if roundness > 0:
        mixed = (1 - roundness) * direction + roundness * principal
        direction = mixed / np.hypot(*mixed)
        base = (1 - roundness) * base + roundness * centre
    return _crossings(polygon, base, direction)


def chords_of_outline(polygon: Array, apex: Array, base: Array, spacing: str = "midpoint") -> Array:
    """(40, 2) ends of the 20 chords perpendicular to apex -> base: the outermost intersections with a closed outline
    (M, 2).

    Points 0-19 lie on the image-left of an upright ventricle, apex to base; 20-39 on the other side, base to apex.
    """
    axis = base - apex
    length = float(np.hypot(*axis))
    if length < 1e-9:
        raise GeometryError("The left ventricle's outline has no length: its apex and its base are the same point.")
    u = axis / length
    v = np.array([-u[1], u[0]])
    relative = polygon - apex
    across, along = relative @ u, relative @ v
    low, high = across.min(), across.max()
    eps = 1e-9 * max(high - low, 1e-9)
    s = chord_positions(spacing) * length
    right, left = _line_ends(across, along, np.clip(s, low + eps, high - eps))
    return np.concatenate(
        [apex + s[:, None] * u + left[:, None] * v, (apex + s[:, None] * u + right[:, None] * v)[::-1]]
    )
