"""Fit a fan (two straight edges that meet at the apex, a far arc, a near face) to where a clip is alive.

All coordinates are (x, y) in pixels of the activity map, rows already stretched to square pixels.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from echokdm.core.errors import ClipError

_NO_FAN = ("No ultrasound sector can be found in this clip: give an apical 4-chamber clip of a phased-array probe, "
           "with its whole fan in the picture and the apex up.")

# Contrast of a step (in the activity's logarithm) from which it counts as seen.
_EVIDENT = 0.3
_SATURATION = 0.55
# Share of the far radius: a picture stretched by a fifth.
_MAX_SINK = 0.2


@dataclass(frozen=True)
class Fan:
    """apex (x, y). left, right: angles of the edges from straight down, radians, positive to the right. near, far: distances of
    the near face and the far arc from the apex, on the fan's axis. bend: how much deeper (per pixel, times the squared
    distance from the axis) the near face lies beside the axis: -1 / (2 near) is an arc around the apex, 0 is flat, positive
    bulges towards the probe. sink: how far along the axis the far arc's centre lies beyond the apex; 0 where pixels are
    square and the scan lines start at the apex."""

    apex: tuple[float, float]
    left: float
    right: float
    near: float
    far: float
    bend: float
    sink: float = 0.0

    @property
    def axis(self) -> float:
        """The angle of the fan's middle line."""
        return (self.left + self.right) / 2

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether points lie in the fan."""
        dx, dy = x - self.apex[0], y - self.apex[1]
        angle = np.arctan2(dx, dy)
        along, across = self.along_across(x, y)
        # The face ends at the edges; its curve is not followed beyond them.
        beyond_face = along >= self.near + self.bend * np.minimum(np.abs(across), self.face_half_width) ** 2
        before_arc = np.hypot(along - self.sink, across) <= self.far - self.sink
        return (angle >= self.left) & (angle <= self.right) & beyond_face & before_arc

    @property
    def face_half_width(self) -> float:
        """Distance from the axis where the near face meets the edges: w = tan(half angle) (near + bend w^2)."""
        slope = float(np.tan((self.right - self.left) / 2))
        return 2 * slope * self.near / (1 + float(np.sqrt(max(1 - 4 * slope**2 * self.bend * self.near, 0.0))))

    def along_across(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances from the apex along the axis, and from the axis (positive to the right)."""
        dx, dy = x - self.apex[0], y - self.apex[1]
        s, c = np.sin(self.axis), np.cos(self.axis)
        return dx * s + dy * c, dx * c - dy * s

    def point(self, along: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `along_across`."""
        s, c = np.sin(self.axis), np.cos(self.axis)
        return self.apex[0] + along * s + across * c, self.apex[1] + along * c - across * s

    def arc_radius(self, angle: np.ndarray) -> np.ndarray:
        """Distance of the far arc from the apex in a direction."""
        turn = angle - self.axis
        return self.sink * np.cos(turn) + np.sqrt((self.far - self.sink) ** 2 - (self.sink * np.sin(turn)) ** 2)

    def outline(self, count: int = 64) -> np.ndarray:
        """(M, 2) points (x, y) around the fan: the far arc from left to right, then the near face back."""
        angles = np.linspace(self.left, self.right, count)
        radius = self.arc_radius(angles)
        far = np.stack([self.apex[0] + radius * np.sin(angles), self.apex[1] + radius * np.cos(angles)], 1)
        across = np.linspace(self.face_half_width, -self.face_half_width, count)
        near = np.stack(self.point(self.near + self.bend * across**2, across), 1)
        return np.concatenate([far, near])


def activity_map(frames: np.ndarray) -> np.ndarray:
    """(T, H, W) gray in [0, 1] -> (H, W): log of the temporal deviation where the clip moves, else of the brightness.

    Text and scales stand still; inside the sector the receiver's noise moves everywhere. The logarithm lets the dark far
    corners count beside bright walls.
    """
    deviation = frames.std(0) if len(frames) > 1 else np.zeros(frames.shape[1:], frames.dtype)
    if (deviation > 1 / 255).mean() < 0.02:
        peak = frames.max(0)
        deviation = np.maximum(peak - np.percentile(peak, 5), 0)
    return np.log1p(deviation * (255 / 0.4))


def fit_fan(activity: np.ndarray) -> Fan:
    """The fan in an `activity_map`. Raises ClipError where there is none."""
    body = _body(activity)
    rows = np.flatnonzero(body.any(1))
    first = body.argmax(1)[rows].astype(float)
    last = (body.shape[1] - 1 - body[:, ::-1].argmax(1))[rows].astype(float)
    # Lines are x = offset + slope y; the left edge runs to the left as it goes down. Half a pixel: from centre to border.
    left = _edge_line(rows.astype(float), first - 0.5)
    mirrored = _edge_line(rows.astype(float), -last - 0.5)
    right = (-mirrored[0], -mirrored[1])
    fan = _first_fan(body, left, right)
    level = np.expm1(activity)
    for reach in (8.0, 5.0, 3.0, 3.0):
        fan = _refined(level, fan, reach)
    if fan.near < 0.025 * fan.far or _hides_life(level, fan):
        fan = replace(fan, near=0.0, bend=0.0)
    return fan


def _body(activity: np.ndarray) -> np.ndarray:
    """The largest connected lively region, holes filled."""
    # In linear terms: well above the ringing that compression leaves beside bright moving walls.
    threshold = np.log1p(max(1.5 / 0.4, 0.12 * float(np.percentile(np.expm1(activity), 90))))
    lively = ndimage.binary_opening(activity > threshold, np.ones((3, 3)))
    labels, count = ndimage.label(lively)
    if not count:
        raise ClipError(_NO_FAN)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = ndimage.binary_fill_holes(labels == sizes.argmax())
    if body.mean() < 0.04:
        raise ClipError(_NO_FAN)
    return body


def _edge_line(rows: np.ndarray, first: np.ndarray) -> tuple[float, float]:
    """(offset, slope) of the fan's left edge among the first lively pixels of each row.

    All pairs of a sample of rows are tried. Points to the right of a line (dark or cut corners, the far arc) cost nothing;
    points to its left contradict it.
    """
    picks = np.unique(np.linspace(0, len(rows) - 1, 60).astype(int))
    i, j = np.triu_indices(len(picks), 3)
    y0, y1, x0, x1 = rows[picks[i]], rows[picks[j]], first[picks[i]], first[picks[j]]
    slope = (x1 - x0) / (y1 - y0)
    keep = (slope < -np.tan(np.radians(8))) & (slope > -np.tan(np.radians(75)))
    if not keep.any():
        raise ClipError(_NO_FAN)
    slope = slope[keep]
    offset = x0[keep] - slope * y0[keep]
    # Distance to the line, positive inside.
    inside = (first - offset[:, None] - slope[:, None] * rows) / np.sqrt(1 + slope[:, None] ** 2)
    score = (np.abs(inside) < 1.2).sum(1) - 1.0 * (inside < -1.2).sum(1)
    best = int(score.argmax())
    near = np.abs(inside[best]) < 1.5
    if near.sum() < max(6, 0.12 * len(rows)):
        raise ClipError(_NO_FAN)
    slope_fit, offset_fit = np.polyfit(rows[near], first[near], 1)
    return float(offset_fit), float(slope_fit)


def _meet(left: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
    """Where x = a + b y of both lines agree."""
    if left[1] - right[1] > -1e-3:
        raise ClipError(_NO_FAN)
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
        raise ClipError(_NO_FAN)
    first_near = float(np.median(near[len(near) // 4 : -len(near) // 4 or None]))
    return Fan(apex, a, b, first_near, _mode(far) + 0.5, -0.5 / max(first_near, 1.0))


def _mode(values: np.ndarray) -> float:
    """The densest value: the far arc's radius, whatever dark or text-ridden directions say."""
    width = 0.01 * float(values.max())
    density = np.exp(-0.5 * ((values[:, None] - values) / width) ** 2).sum(1)
    return float(values[density.argmax()])


def _steps(level: np.ndarray, x: np.ndarray, y: np.ndarray, nx: np.ndarray, ny: np.ndarray, reach: float
           ) -> tuple[np.ndarray, np.ndarray]:
    """Best step from low (outwards) to high (inwards) along profiles at (x, y) with inward normals: (offset inwards, contrast).

    level: linear, so that compression's ringing beside the border counts for little. Each profile saturates at a share of what
    is usual at its inner end, so that neither a bright wall further in nor the fade of the outermost scan lines is a step.
    contrast is the logarithm of the two sides' ratio.
    """
    offsets = np.arange(-reach, reach + 0.125, 0.25)
    px, py = x[:, None] + nx[:, None] * offsets, y[:, None] + ny[:, None] * offsets
    values = ndimage.map_coordinates(level, [py, px], order=1, mode="constant", cval=0.0)
    inner = np.median(values[:, -(len(offsets) // 3) :], axis=1, keepdims=True)
    values = np.minimum(values, _SATURATION * inner)
    count = np.arange(1, len(offsets))
    low = np.cumsum(values, 1)[:, :-1] / count
    high = (values.sum(1, keepdims=True) - np.cumsum(values, 1)[:, :-1]) / (len(offsets) - count)
    gain = np.where(high > low, count * (len(offsets) - count) * (high - low) ** 2, 0)
    best = gain.argmax(1)
    index = np.arange(len(x))
    contrast = (np.log1p(high) - np.log1p(low))[index, best]
    # A step at a profile's end is none of this border's, and the picture's own border is no step of the sector's.
    hidden = (best <= 2) | (best >= len(count) - 3) | ~_all_inside(px, py, level.shape)
    return offsets[best] + 0.125, np.where(hidden, 0, contrast)


def _all_inside(x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return ((x >= 0) & (x <= shape[1] - 1) & (y >= 0) & (y <= shape[0] - 1)).all(1)


def _robust_fit(u: np.ndarray, v: np.ndarray, weights: np.ndarray, powers: tuple[int, ...]) -> np.ndarray:
    """Coefficients of v = sum c_k u^powers_k by reweighted least squares (Cauchy weights, scale 0.6 pixel)."""
    design = np.stack([u**p for p in powers], 1)
    current = weights
    coefficients = np.zeros(len(powers))
    for _ in range(12):
        scaled = design * current[:, None]
        coefficients = np.linalg.lstsq(scaled.T @ design + 1e-9 * np.eye(len(powers)), scaled.T @ v, rcond=None)[0]
        current = weights / (1 + ((v - design @ coefficients) / 0.6) ** 2)
    return coefficients


def _hides_life(level: np.ndarray, fan: Fan) -> bool:
    """Whether the near face cuts off what is about as alive as the rest: then it is some bright layer below the real one."""
    y, x = np.mgrid[0 : level.shape[0], 0 : level.shape[1]]
    inside = fan.contains(x, y)
    tip = replace(fan, near=0.0, bend=0.0).contains(x, y) & ~inside
    return bool(tip.any() and level[tip].mean() > 0.25 * np.median(level[inside]))


def _refined(level: np.ndarray, fan: Fan, reach: float) -> Fan:
    """One round: each border moves to where the level steps, within `reach` pixels."""
    left = _refined_edge(level, fan, fan.left, 1.0, reach)
    right = _refined_edge(level, fan, fan.right, -1.0, reach)
    fan = replace(fan, apex=_meet(left, right), left=float(np.arctan(left[1])), right=float(np.arctan(right[1])))
    far, sink = _refined_far(level, fan, reach)
    near, bend = _refined_near(level, fan, reach)
    return replace(fan, near=near, far=far, bend=bend, sink=sink)


def _refined_edge(level: np.ndarray, fan: Fan, angle: float, sign: float, reach: float) -> tuple[float, float]:
    """(offset, slope) of one straight edge, x = offset + slope y; sign +1 for the left, -1 for the right."""
    t = np.linspace(max(fan.near, 0) + 0.06 * fan.far, 0.97 * fan.far, 96)
    x, y = fan.apex[0] + t * np.sin(angle), fan.apex[1] + t * np.cos(angle)
    normal_x, normal_y = sign * np.cos(angle), -sign * np.sin(angle)
    moved, weights = _steps(level, x, y, np.full_like(x, normal_x), np.full_like(x, normal_y), reach)
    if (weights > _EVIDENT).sum() < 12:
        slope = float(np.tan(angle))
        return fan.apex[0] - slope * fan.apex[1], slope
    # Fitted across the edge's own direction, so that flat and steep edges weigh the same.
    shift, turn = _robust_fit(t - t.mean(), moved, weights, (0, 1))
    slope = float((np.sin(angle) + normal_x * turn) / (np.cos(angle) + normal_y * turn))
    return float(x.mean() + normal_x * shift - slope * (y.mean() + normal_y * shift)), slope


def _refined_far(level: np.ndarray, fan: Fan, reach: float) -> tuple[float, float]:
    """(far, sink): a circle with its centre on the axis, through the steps."""
    angles = np.linspace(fan.left, fan.right, 98)[1:-1]
    radius = fan.arc_radius(angles)
    x, y = fan.apex[0] + radius * np.sin(angles), fan.apex[1] + radius * np.cos(angles)
    moved, weights = _steps(level, x, y, -np.sin(angles), -np.cos(angles), reach)
    evident = weights > _EVIDENT
    if evident.sum() < 10:
        return fan.far, fan.sink
    radius = radius - moved
    if np.ptp(angles[evident]) < 0.6 * (fan.right - fan.left):
        return fan.far + float(_robust_fit(angles, -moved, weights, (0,))[0]), fan.sink
    # To first order in sink: radius = far + sink (cos(turn) - 1).
    turn = np.cos(angles - fan.axis) - 1
    far, sink = (float(v) for v in _robust_fit(turn, radius, weights, (0, 1)))
    round_far = float(_robust_fit(turn, radius, weights, (0,))[0])
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
    near, bend = _robust_fit(across, along + moved, weights, (0, 2))
    return float(near), float(np.clip(bend, -1 / max(near, 1), 0.5 / max(near, 1)))
