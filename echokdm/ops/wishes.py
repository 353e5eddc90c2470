"""What is asked of a ventricle's size and pump function, met together: end-diastolic volume, ejection fraction, GLS,
wall motion."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.core.errors import ConfigError, GeometryError
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.ops.strain import with_gls
from echokdm.ops.trajectory import asked_beats, with_ejection_fraction
from echokdm.ops.ventricle import axis_from_keypoints, simpson_volume
from echokdm.ops.wall_motion import with_wall_motion

Array = NDArray[np.float64]
Beat = tuple[int, int]

EDV_RANGE = (60.0, 150.0)  # percent of the source's that may be asked for: lengths of .84 to 1.14 of its own


def parse_volume(text: str) -> tuple[float, bool]:
    """ "120" (the clip's unit of volume) or "120%" (of the source's) -> (number, whether it is percent). Raises
    ConfigError."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 < value < np.inf:
        raise ConfigError(
            f"An end-diastolic volume is given as a number above zero or a percentage, such as 120 or 80%, not {text!r}."
        )
    return value, text.strip().endswith("%")


def end_diastolic_volume(
    keypoints: ArrayLike,
    beats: Sequence[Beat],
    spacing_mm: float | tuple[float, float] | None = None,
    spacing: str = "midpoint",
) -> float:
    """The mean end-diastolic volume of the beats of key-points (T, 40, 2): mL with spacing_mm, px^3 without."""
    return float(
        simpson_volume(np.asarray(keypoints, dtype=np.float64)[[ed for ed, _ in beats]], spacing_mm, spacing).mean()
    )


def with_end_diastolic_volume(
    keypoints: ArrayLike,
    beats: Sequence[Beat],
    volume: float,
    percent: bool = False,
    spacing_mm: float | tuple[float, float] | None = None,
    spacing: str = "midpoint",
) -> Array:
    """The trajectory (T, 40, 2) with another `end_diastolic_volume`, exactly; every ejection fraction and strain stays
    what it is.

    volume: mL with spacing_mm, else px^3, or percent of the source's; 60 to 150 % of it. Each frame's ventricle is made
    larger or smaller about its own apex by one factor for all. An apex lies at the probe whatever the ventricle's size,
    and there is no room above it, while the base goes down into the atrium and the walls outwards. Raises GeometryError
    with the range where it is left.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    own = end_diastolic_volume(points, beats, spacing_mm, spacing)
    low, high = EDV_RANGE
    share = volume if percent else 100 * volume / own
    if not low <= share <= high:
        unit, digits = ("px^3", 0) if spacing_mm is None else ("mL", 1)
        asked = f"{volume:g} % of the source's" if percent else f"{volume:g} {unit}"
        raise GeometryError(
            f"An end-diastolic volume of {asked} can't be had from this clip's {own:.{digits}f} {unit}; ask for one from "
            f"{low:g} to {high:g} %, that is {own * low / 100:.{digits}f} to {own * high / 100:.{digits}f} {unit}."
        )
    apex = axis_from_keypoints(points, spacing)[0][:, None]
    return apex + np.cbrt(share / 100) * (points - apex)


@dataclass(frozen=True)
class PumpFunction:
    """What may be asked of a beat.

    ef, gls: percent, see `with_ejection_fraction` and `with_gls`. walls: factors of the motion that the ejection
    fraction asks for, see `with_wall_motion`.
    """

    ef: float | None = None
    gls: float | None = None
    walls: Mapping[str, float] = field(default_factory=dict)


def with_pump_function(
    keypoints: ArrayLike,
    ed_index: int,
    beats: Sequence[Beat],
    asked: PumpFunction,
    *,
    septal_first: bool = True,
    fps: float | None = None,
    spacing: str = "midpoint",
) -> Array:
    """The trajectory (T, 40, 2) with ejection fraction, GLS and wall motion as asked, all of them exactly.

    Walls move across the long axis and GLS along it, so neither undoes the other; both change the ejection fraction, so
    the whole beat is scaled until it comes out as asked. Without one asked for it follows from them. septal_first: see
    `with_wall_motion`. beats: as of `asked_beats`. Raises GeometryError where one can't be had, or not with the others.
    """
    from scipy.optimize import newton

    points, ef = np.asarray(keypoints, dtype=np.float64), asked.ef

    def rest(moving: Array) -> Array:
        if asked.walls:
            moving = with_wall_motion(moving, asked.walls, ed_index, septal_first, spacing)
        return moving if asked.gls is None else with_gls(moving, asked.gls, ed_index, beats, spacing)

    if ef is None:
        return rest(points)
    first = with_ejection_fraction(points, ef, ed_index, fps, spacing, beats)
    beats = asked_beats(simpson_volume(points, spacing=spacing), ed_index, fps, beats)
    if not asked.walls and asked.gls is None:
        return first

    def off(wish: float) -> float:
        moving = rest(with_ejection_fraction(points, wish, ed_index, fps, spacing, beats))
        return clip_ejection_fraction(simpson_volume(moving, spacing=spacing), beats) - ef

    missing = clip_ejection_fraction(simpson_volume(rest(first), spacing=spacing), beats) - ef
    if abs(missing) < 1e-9:
        return rest(first)
    try:
        wish = newton(off, ef, x1=ef - missing, tol=1e-9)
        return rest(with_ejection_fraction(points, wish, ed_index, fps, spacing, beats))
    except (GeometryError, RuntimeError):
        raise GeometryError(
            f"An ejection fraction of {ef:g} % can't be had together with the strain or the wall motion asked for; "
            f"ask for one nearer {ef + missing:.0f} %, or leave one of them out."
        ) from None


def check_drag(drag: Mapping[int, tuple[float, float]], points: int) -> None:
    """Refuse, before any work, what --drag can't do to that many key-points. Raises ConfigError."""
    for index, offset in drag.items():
        if not 0 <= index < points:
            raise ConfigError(f"--drag names point {index}, and there are points 0 to {points - 1}.")
        if not all(math.isfinite(part) for part in offset):
            raise ConfigError(f"--drag moves point {index} by something that is not a finite number of pixels.")
