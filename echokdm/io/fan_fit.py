"""Fit a fan to where a clip is alive: robust lines and arcs through the steps of its activity.

All coordinates are (x, y) in pixels of the activity map, rows already stretched to square pixels.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from echokdm.core.errors import ClipError
from echokdm.io.fan import Fan

NO_SECTOR = (
    "No ultrasound sector can be found in this clip, so nothing can be cleared of what is burned in around it: "
    "give an apical 4-chamber clip of a phased-array probe with its whole fan in the picture and the apex up."
)

# The deviation or brightness, in [0, 1], that compression leaves where nothing is: the unit of the activity maps.
_NOISE = 0.4 / 255
# Activity from which a pixel counts as alive at all, and shares of the lively pixels' level above which compression's
# ringing beside bright moving walls does not reach.
_ALIVE = 1.5 / 255 / _NOISE
_SHARES = (0.03, 0.12)
# Contrast of a step (in the activity's logarithm) from which it counts as seen.
_EVIDENT = 0.3
_SATURATION = 0.55
# Share of the far radius: a picture stretched by a fifth.
_MAX_SINK = 0.2
# Share of the border along which a step must be seen.
_LEAST_SEEN = 0.3

# `_is_sound`: angles in degrees, lengths of the far radius, shares of pixels. In brackets what 39 CAMUS patients, both
# real clips and 20 phantoms have (benchmarks/deid_text.py names them); sectors open 60 to 90 degrees by their makers,
# and steered ones lean.
_ANGLE, _MOST_LEAN = (35, 120), 25  # [55 to 90, 3]
_MOST_NEAR = 0.6  # [.08]
_LEAST_FAR = 0.25  # of the picture's shorter side [.68]
_LEAST_AREA, _LEAST_LIFE = 0.05, 0.35  # of the picture; alive within the fan [.32, .68]
_LIVELY, _MOST_LIFE_BESIDE = 0.25, 0.25  # of the median activity within; so lively in the ring around the fan [.02]


def find_fan(frames: np.ndarray, region: np.ndarray | None = None) -> tuple[Fan, np.ndarray]:
    """(fan, level): the fan along whose border most steps are seen, and the (H, W) activity in which they are.

    frames: (T, H, W) gray in [0, 1]. region: (H, W) bool, where the scanner says that the picture is.
    The fan is looked for in what moves (text and scales stand still, inside the sector the receiver's noise moves
    everywhere), and in what is bright (clutter at the probe stands still too).

    Raises ClipError where no fan is found that looks like a cardiac phased array's.
    """
    moving, bright = _moving(frames), _bright(frames)
    maps = [moving, bright] if (moving > _ALIVE).mean() > 0.02 else [bright]
    levels = [_within(level, region) for level in maps]
    shapes = [[_body(level, share) for share in _SHARES] for level in levels]
    bodies = [widest for widest, *_ in shapes if widest is not None]
    best, best_level, best_seen = None, maps[0], 0.0
    for level, shape in zip(levels, shapes, strict=True):
        for body in shape:
            if body is None:
                continue
            try:
                fan = _fit(level, body)
            except ClipError:
                continue
            if fan.near < 0.025 * fan.far or _hides_life(maps, fan):
                fan = replace(fan, near=0.0, bend=0.0)
            seen = _seen(level, fan)
            # What is bright may be text; it must do clearly better than what moves.
            if seen > best_seen * (1 if level is maps[0] or best is None else 1.1) and _is_sound(level, bodies, fan):
                best, best_level, best_seen = fan, level, seen
    if best is None or best_seen < _LEAST_SEEN:
        raise ClipError(NO_SECTOR)
    return best, best_level


def _moving(frames: np.ndarray) -> np.ndarray:
    """(H, W) temporal deviation, in units of what compression leaves."""
    return frames.std(0) / _NOISE


def _bright(frames: np.ndarray) -> np.ndarray:
    """(H, W) greatest brightness above the background, in the same units."""
    peak = frames.max(0)
    return np.maximum(peak - np.percentile(peak, 5), 0) / _NOISE


def _within(level: np.ndarray, region: np.ndarray | None) -> np.ndarray:
    """Nothing outside the region; unless the region leaves out much of what is alive: then it is wrong, and the pixels
    decide."""
    if region is None or (np.log1p(level) * region).sum() < 0.9 * np.log1p(level).sum():
        return level
    return level * region


def _fit(level: np.ndarray, body: np.ndarray) -> Fan:
    rows = np.flatnonzero(body.any(1))
    first = body.argmax(1)[rows].astype(float)
    last = (body.shape[1] - 1 - body[:, ::-1].argmax(1))[rows].astype(float)
    # Lines are x = offset + slope y; the left edge runs to the left as it goes down. Half a pixel: from centre to
    # border.
    left = _edge_line(rows.astype(float), first - 0.5)
    mirrored = _edge_line(rows.astype(float), -last - 0.5)
    fan = _first_fan(body, left, (-mirrored[0], -mirrored[1]))
    for reach in (8.0, 5.0, 3.0, 3.0):
        fan = _refined(level, fan, reach)
    return fan


def _body(level: np.ndarray, share: float) -> np.ndarray | None:
    """The largest connected lively region, holes filled; None where it is too small for a sector."""
    threshold = max(_ALIVE, share * float(np.percentile(level, 90)))
    lively = ndimage.binary_opening(level > threshold, np.ones((3, 3)))
    labels, count = ndimage.label(lively)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = ndimage.binary_fill_holes(labels == sizes.argmax())
    return body if body.mean() >= 0.04 else None


def _leaves_out(body: np.ndarray, inside: np.ndarray, outer: np.ndarray) -> bool:
    """Whether a part of the body lies outside the fan; a body that lies elsewhere altogether is a menu or a picture
    beside it."""
    return (body & inside).sum() > 0.5 * body.sum() and (body & ~outer).sum() > 0.03 * body.sum()


def _seen(level: np.ndarray, fan: Fan) -> float:
    """Share of both edges and the far arc along which the activity steps within a pixel and a half of the border."""
    borders = [
        _edge_steps(level, fan, fan.left, 1.0, 4.0),
        _edge_steps(level, fan, fan.right, -1.0, 4.0),
        _arc_steps(level, fan, 4.0),
    ]
    return float(np.mean([((weights > _EVIDENT) & (np.abs(moved) < 1.5)).mean() for moved, weights in borders]))


def _is_sound(level: np.ndarray, bodies: list[np.ndarray], fan: Fan) -> bool:
    """Fail closed: a cardiac phased array's shape, filled with life, with darkness around it and no life beside it."""
    height, width = level.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    inside = fan.contains(x, y)
    if inside.mean() < _LEAST_AREA:
        return False
    # A ring around the fan; text and menus farther away are no evidence against it.
    outer = replace(fan, apex=(fan.apex[0], fan.apex[1] - 8), near=0.0, bend=0.0, far=fan.far + 14).contains(x, y)
    inner = replace(fan, apex=(fan.apex[0], fan.apex[1] - 3), near=0.0, bend=0.0, far=fan.far + 6).contains(x, y)
    ring = outer & ~inner
    alive = level > max(_ALIVE, _LIVELY * float(np.median(level[inside])))
    return bool(
        _ANGLE[0] <= np.degrees(fan.right - fan.left) <= _ANGLE[1]
        and abs(np.degrees(fan.axis)) <= _MOST_LEAN
        and 0 <= fan.near < _MOST_NEAR * fan.far
        and fan.far >= _LEAST_FAR * min(height, width)
        and (level > _ALIVE)[inside].mean() >= _LEAST_LIFE
        and (not ring.any() or alive[ring].mean() <= _MOST_LIFE_BESIDE)
        and not any(_leaves_out(body, inside, outer) for body in bodies)
    )


def _edge_line(rows: np.ndarray, first: np.ndarray) -> tuple[float, float]:
    """(offset, slope) of the fan's left edge among the first lively pixels of each row.

    All pairs of a sample of rows are tried. Points to the right of a line (dark or cut corners, the far arc) cost
    nothing; points to its left contradict it.
    """
    picks = np.unique(np.linspace(0, len(rows) - 1, 60).astype(int))
    i, j = np.triu_indices(len(picks), 3)
    y0, y1, x0, x1 = rows[picks[i]], rows[picks[j]], first[picks[i]], first[picks[j]]
    slope = (x1 - x0) / (y1 - y0)
    keep = (slope < -np.tan(np.radians(8))) & (slope > -np.tan(np.radians(75)))
    if not keep.any():
        raise ClipError(NO_SECTOR)
    slope = slope[keep]
    offset = x0[keep] - slope * y0[keep]
    # Distance to the line, positive inside.
    inside = (first - offset[:, None] - slope[:, None] * rows) / np.sqrt(1 + slope[:, None] ** 2)
    score = (np.abs(inside) < 1.2).sum(1) - 2.0 * (inside < -1.2).sum(1)
    best = int(score.argmax())
    near = np.abs(inside[best]) < 1.5
    if near.sum() < max(6, 0.12 * len(rows)):
        raise ClipError(NO_SECTOR)
    slope_fit, offset_fit = np.polyfit(rows[near], first[near], 1)
    return float(offset_fit), float(slope_fit)


def _meet(left: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
    """Where x = a + b y of both lines agree."""
    if left[1] - right[1] > -1e-3:
        raise ClipError(NO_SECTOR)
    y = (right[0] - left[0]) / (left[1] - right[1])
    return left[0] + left[1] * y, y


def _first_fan(body: np.ndarray, left: tuple[float, float], right: tuple[float, float]) -> Fan:
    apex = _meet(left, right)
    a, b = float(np.arctan(left[1])), float(np.arctan(right[1]))
    y, x = np.nonzero(body)
    angle, radius = np.arctan2(x - apex[0], y - apex[1]), np.hypot(x - apex[0], y - apex[1])
    bins = np.floor((angle - a) / (b - a) * 48).astype(int)
    usable = (bins >= 0) & (bins < 48)
    far, near = np.zeros(48), np.full(48, np.inf)
    np.maximum.at(far, bins[usable], radius[usable])
    np.minimum.at(near, bins[usable], radius[usable])
    far, near = far[far > 0], near[np.isfinite(near)]
    if len(far) < 24:
        raise ClipError(NO_SECTOR)
    first_near = float(np.median(near[len(near) // 4 : -len(near) // 4 or None]))
    return Fan(apex, a, b, first_near, _mode(far) + 0.5, -0.5 / max(first_near, 1.0))


def _mode(values: np.ndarray) -> float:
    """The densest value: the far arc's radius, whatever dark or text-ridden directions say."""
    width = 0.01 * float(values.max())
    density = np.exp(-0.5 * ((values[:, None] - values) / width) ** 2).sum(1)
    return float(values[density.argmax()])


def _steps(
    level: np.ndarray, x: np.ndarray, y: np.ndarray, nx: np.ndarray, ny: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Best step from low (outwards) to high (inwards) along profiles at (x, y) with inward normals: (offset inwards,
    contrast).

    level: linear, so that compression's ringing beside the border counts for little. Each profile saturates at a share
    of what is usual at its inner end, so that neither a bright wall further in nor the fade of the outermost scan lines
    is a step. contrast is the logarithm of the two sides' ratio.
    """
    offsets = np.arange(-reach, reach + 0.125, 0.25)
    px, py = x[:, None] + nx[:, None] * offsets, y[:, None] + ny[:, None] * offsets
    values = ndimage.map_coordinates(level, [py, px], order=1, mode="constant", cval=0.0)
    inner = np.median(values[:, -(len(offsets) // 3) :], axis=1, keepdims=True)
    sums = np.cumsum(np.minimum(values, _SATURATION * inner), 1)
    count = np.arange(1, len(offsets))
    low = sums[:, :-1] / count
    high = (sums[:, -1:] - sums[:, :-1]) / (len(offsets) - count)
    gain = np.where(high > low, count * (len(offsets) - count) * (high - low) ** 2, 0)
    best = gain.argmax(1)
    index = np.arange(len(x))
    contrast = np.log1p(high[index, best]) - np.log1p(low[index, best])
    # A step at a profile's end is none of this border's, and the picture's own border is no step of the sector's.
    ends = np.s_[:, [0, -1]]
    hidden = (best <= 2) | (best >= len(count) - 3) | ~_all_inside(px[ends], py[ends], level.shape)
    return offsets[best] + 0.125, np.where(hidden, 0, contrast)


def _all_inside(x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.all((x >= 0) & (x <= shape[1] - 1) & (y >= 0) & (y <= shape[0] - 1), axis=1)


def _robust_fit(u: np.ndarray, v: np.ndarray, weights: np.ndarray, power: int | None = None) -> tuple[float, float]:
    """(c, d) of v = c + d u^power, or of v = c without one, by reweighted least squares (Cauchy weights, scale 0.6
    pixel).

    The normal equations, written out: a fan's fit solves some hundred of them.
    """
    term = np.zeros_like(u) if power is None else u**power
    moments, sides = np.stack([np.ones_like(u), term, term**2]), np.stack([v, term * v])
    current, ridge = weights, 1e-9
    constant = slope = 0.0
    for _ in range(12):
        (one, mixed, square), (b, c) = (moments @ current).tolist(), (sides @ current).tolist()
        determinant = (one + ridge) * (square + ridge) - mixed * mixed
        constant, slope = (
            ((square + ridge) * b - mixed * c) / determinant,
            ((one + ridge) * c - mixed * b) / determinant,
        )
        current = weights / (1 + ((v - constant - slope * term) / 0.6) ** 2)
    return constant, slope


def _hides_life(maps: list[np.ndarray], fan: Fan) -> bool:
    """Whether the near face cuts off what is in a map about as alive as the rest: then it is some bright layer below
    the real one."""
    y, x = np.mgrid[0 : maps[0].shape[0], 0 : maps[0].shape[1]]
    inside = fan.contains(x, y)
    tip = replace(fan, near=0.0, bend=0.0).contains(x, y) & ~inside
    return bool(tip.any() and any(level[tip].mean() > 0.25 * np.median(level[inside]) for level in maps))


def _refined(level: np.ndarray, fan: Fan, reach: float) -> Fan:
    """One round: each border moves to where the level steps, within `reach` pixels."""
    left = _refined_edge(level, fan, fan.left, 1.0, reach)
    right = _refined_edge(level, fan, fan.right, -1.0, reach)
    fan = replace(fan, apex=_meet(left, right), left=float(np.arctan(left[1])), right=float(np.arctan(right[1])))
    far, sink = _refined_far(level, fan, reach)
    near, bend = _refined_near(level, fan, reach)
    return replace(fan, near=near, far=far, bend=bend, sink=sink)


def _edge_steps(level: np.ndarray, fan: Fan, angle: float, sign: float, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """`_steps` along one straight edge, (96,) each; sign +1 for the left edge, -1 for the right."""
    t = _edge_range(fan)
    x, y = fan.apex[0] + t * np.sin(angle), fan.apex[1] + t * np.cos(angle)
    return _steps(level, x, y, np.full_like(x, sign * np.cos(angle)), np.full_like(x, -sign * np.sin(angle)), reach)


def _edge_range(fan: Fan) -> np.ndarray:
    """Distances from the apex at which the edges are looked at."""
    return np.linspace(fan.near + 0.06 * fan.far, 0.97 * fan.far, 96)


def _refined_edge(level: np.ndarray, fan: Fan, angle: float, sign: float, reach: float) -> tuple[float, float]:
    """(offset, slope) of one straight edge, x = offset + slope y."""
    moved, weights = _edge_steps(level, fan, angle, sign, reach)
    if (weights > _EVIDENT).sum() < 12:
        slope = float(np.tan(angle))
        return fan.apex[0] - slope * fan.apex[1], slope
    t = _edge_range(fan)
    # Fitted across the edge's own direction, so that flat and steep edges weigh the same.
    shift, turn = _robust_fit(t - t.mean(), moved, weights, 1)
    normal_x, normal_y = sign * np.cos(angle), -sign * np.sin(angle)
    slope = float((np.sin(angle) + normal_x * turn) / (np.cos(angle) + normal_y * turn))
    x, y = fan.apex[0] + t.mean() * np.sin(angle), fan.apex[1] + t.mean() * np.cos(angle)
    return float(x + normal_x * shift - slope * (y + normal_y * shift)), slope


def _arc_steps(level: np.ndarray, fan: Fan, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """`_steps` along the far arc, (96,) each."""
    angles = _arc_range(fan)
    radius = fan.arc_radius(angles)
    x, y = fan.apex[0] + radius * np.sin(angles), fan.apex[1] + radius * np.cos(angles)
    return _steps(level, x, y, -np.sin(angles), -np.cos(angles), reach)


def _arc_range(fan: Fan) -> np.ndarray:
    return np.linspace(fan.left, fan.right, 98)[1:-1]


def _refined_far(level: np.ndarray, fan: Fan, reach: float) -> tuple[float, float]:
    """(far, sink): a circle with its centre on the axis, through the steps."""
    moved, weights = _arc_steps(level, fan, reach)
    evident = weights > _EVIDENT
    if evident.sum() < 10:
        return fan.far, fan.sink
    angles = _arc_range(fan)
    radius = fan.arc_radius(angles) - moved
    if np.ptp(angles[evident]) < 0.6 * (fan.right - fan.left):
        return fan.far + _robust_fit(angles, -moved, weights)[0], fan.sink
    # To first order in sink: radius = far + sink (cos(turn) - 1).
    turn = np.cos(angles - fan.axis) - 1
    far, sink = _robust_fit(turn, radius, weights, 1)
    round_far, _ = _robust_fit(turn, radius, weights)
    fits_bent = (weights * (np.abs(radius - far - sink * turn) < 1)).sum()
    fits_round = (weights * (np.abs(radius - round_far) < 1)).sum()
    # An ECG trace across the arc bends it; a picture stretched on its way here does so far more clearly.
    if abs(sink) > _MAX_SINK * far or fits_bent < 1.3 * fits_round:
        return round_far, 0.0
    return far, sink


def _refined_near(level: np.ndarray, fan: Fan, reach: float) -> tuple[float, float]:
    """(near, bend) of the near face."""
    half = np.tan((fan.right - fan.left) / 2) * fan.near * 0.9
    if half < 3:
        return 0.0, 0.0
    across = np.linspace(-half, half, 33)
    along = fan.near + fan.bend * across**2
    x, y = fan.point(along, across)
    moved, weights = _steps(level, x, y, np.full_like(x, np.sin(fan.axis)), np.full_like(x, np.cos(fan.axis)), reach)
    if (weights > _EVIDENT).sum() < 10:
        # No face to be seen: the fan begins at its apex, or above the picture.
        return 0.0, 0.0
    near, bend = _robust_fit(across, along + moved, weights, 2)
    return near, float(np.clip(bend, -1 / max(near, 1), 0.5 / max(near, 1)))
