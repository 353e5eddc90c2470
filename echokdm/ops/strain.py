"""Longitudinal strain of the left ventricle's outline, measured on 40 key-points and asked of them.

What is measured is the endocardial line of this view, from one mitral hinge over the apex to the other: its length
against that at end-diastole, in percent, negative where it is shorter (Lagrangian strain). That of the whole line is
the view's global longitudinal strain, GLS, in the sense of the EACVI/ASE task force (Voigt et al., Eur Heart J
Cardiovasc Imaging 2015;16:1-11: from the whole line's length rather than the mean of segments; 4-chamber view alone,
endocardial). It is the mean of the six segments' strains, each counted by its length at end-diastole.

Key-points are places on an outline, not tissue. A segment is the line between the places, told by parts of the long
axis, that cut its wall into thirds at end-diastole; tissue keeps to such places as far as the base's descent is shared
evenly along the wall, and what slides along the outline beyond that is not seen. Against the tissue of 40 phantoms at
end-systole, GLS differs by .7 points on average (r .99), a segment's strain by 2.4 to 5.4 (r .35 to .95). Reported is
the strain at end-systole, the task force's first choice of the peaks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.core.errors import GeometryError
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.ops.trajectory import Shape, compose, decompose
from echokdm.ops.ventricle import simpson_volume
from echokdm.ops.walls import WALLS, along_walls, in_order, wall_lines

Array = NDArray[np.float64]
Beat = tuple[int, int]

# percent that may be asked for; healthy adults have -16 to -22 (Yingchoncharoen et al., JASE 2013;26:185-91)
GLS_RANGE = (-30.0, 0.0)
_STILL = 5.0  # percent; a ventricle that ejects less has no beat that shortening could follow, as in `ops.trajectory`
# part of its length by which a ventricle shortens of itself, a pixel at 112 px, below which that is not worth scaling
_OWN = 0.02
# up to this factor its own shortening is scaled; past it an even one that follows the volumes is added
_OWN_MOTION = 2.0
_SHORTEST = 0.55  # part of the length at end-diastole that is left, as in `ops.trajectory`
_ADDED = 0.16  # log strain of the length that a wish of 1 adds
_SLACK = 1e-6  # points of strain; a limit that was measured may be asked for


class Strain(NamedTuple):
    """Percent of the length at end-diastole over time. whole: (T,) GLS. segments: (T, 6) in the order of
    `walls.WALLS`."""

    whole: Array
    segments: Array


def longitudinal_strain(
    keypoints: ArrayLike, ed_index: int, septal_first: bool = True, spacing: str = "midpoint"
) -> Strain:
    """The strain curves of key-points (T, 40, 2) against frame `ed_index`. septal_first: as of
    `walls.septum_is_first`."""
    along = along_walls(wall_lines(keypoints, spacing))
    lengths, segments = along[..., -1].sum(1), in_order(_thirds(along, ed_index), septal_first)
    return Strain(100 * (lengths / lengths[ed_index] - 1), 100 * (segments / segments[ed_index] - 1))


def end_systolic_strain(
    keypoints: ArrayLike, beats: Sequence[Beat], septal_first: bool = True, spacing: str = "midpoint"
) -> dict[str, float]:
    """Percent at end-systole, "global" and each of `walls.WALLS`: means over the beats (end-diastole, end-systole) of
    frames (T, 40, 2)."""
    points, found = np.asarray(keypoints, dtype=np.float64), []
    for ed, es in beats:
        strain = longitudinal_strain(points[[ed, es]], 0, septal_first, spacing)
        found.append([strain.whole[1], *strain.segments[1]])
    return dict(zip(("global", *WALLS), np.mean(found, axis=0).tolist(), strict=True))


def _thirds(along: Array, ed: int) -> Array:
    """Lengths (T, 2, 3) of the walls' thirds at frame `ed`, apical to basal, followed through the frames; along (T, 2,
    M)."""
    parts = []
    for wall in range(2):
        # points and parts of sides
        at = np.interp(np.arange(4) / 3 * along[ed, wall, -1], along[ed, wall], np.arange(along.shape[2]))
        low = np.minimum(at.astype(int), along.shape[2] - 2)
        ends = along[:, wall, low] + (at - low) * (along[:, wall, low + 1] - along[:, wall, low])
        parts.append(np.diff(ends, axis=1))
    return np.stack(parts, axis=1)


class _Shortenings:
    """Trajectories with the long axis' shortening since end-diastole from none (wish 0) over its own (1) to the most
    that is allowed."""

    def __init__(self, points: Array, ed: int, beats: Sequence[Beat], spacing: str) -> None:
        volume = simpson_volume(points, spacing=spacing)
        if clip_ejection_fraction(volume, beats) < _STILL:
            raise GeometryError(
                "This ventricle ejects under 5 %, so there is no beat to shorten in; ask for an ejection fraction too."
            )
        self.shape, self.spacing, self.beats = decompose(points, spacing), spacing, beats
        self.full = self.shape.length[ed]
        self.amount = np.clip((volume[ed] - volume) / (volume[ed] - volume.min()), 0, 1)
        shortens = np.mean([1 - self.shape.length[es] / self.shape.length[first] for first, es in beats]) >= _OWN
        self.own, self.least = (_OWN_MOTION, 0.0) if shortens else (1.0, 1.0)
        shortest = min(_SHORTEST * self.full, 0.8 * self.shape.length.min())
        wishes = np.linspace(self.least, self.own + 4, 121)
        self.most = max((wish for wish in wishes if self.lengths(wish).min() >= shortest), default=1.0)

    def lengths(self, wish: float) -> Array:
        own = self.full * (self.shape.length / self.full) ** min(wish, self.own)
        return own * np.exp(-_ADDED * max(wish - self.own, 0.0) * self.amount)

    def at(self, wish: float) -> Array:
        return compose(self.shape._replace(length=self.lengths(wish)), self.spacing)

    def gls(self, wish: float) -> float:
        lengths, strains = self.lengths(wish), []
        for beat in self.beats:
            frames = Shape(*(part[list(beat)] for part in self.shape))._replace(length=lengths[list(beat)])
            ed, es = along_walls(wall_lines(compose(frames, self.spacing), self.spacing))[..., -1].sum(1)
            strains.append(100 * (es / ed - 1))
        return float(np.mean(strains))


def gls_limits(
    keypoints: ArrayLike, ed_index: int, beats: Sequence[Beat], spacing: str = "midpoint"
) -> tuple[float, float]:
    """(strongest, weakest) GLS in percent that `with_gls` can give this trajectory (T, 40, 2)."""
    return _limits(_Shortenings(np.asarray(keypoints, dtype=np.float64), ed_index, beats, spacing))


def _limits(family: _Shortenings) -> tuple[float, float]:
    return max(GLS_RANGE[0], family.gls(family.most)), min(GLS_RANGE[1], family.gls(family.least))


def with_gls(
    keypoints: ArrayLike, gls_percent: float, ed_index: int, beats: Sequence[Beat], spacing: str = "midpoint"
) -> Array:
    """The trajectory (T, 40, 2) with another global longitudinal strain: "global" of `end_systolic_strain`, exactly.

    gls_percent: negative for shortening, -30 to 0. beats: (end-diastole, end-systole) frames by which it is told. The
    long axis' shortening since frame `ed_index`, which stays as it is, is scaled by one factor found by bisection, the
    apex and every chord's width in place: so the ejection fraction follows, and wall motion across the axis stays. Past
    twice its own shortening, and where the axis shortens by under 2 %, an even one that follows the volumes is added.
    Raises GeometryError with the range that can be had where gls_percent is out of it, and for a ventricle that ejects
    under 5 %.
    """
    from scipy.optimize import brentq

    family = _Shortenings(np.asarray(keypoints, dtype=np.float64), ed_index, beats, spacing)
    strongest, weakest = _limits(family)
    if not strongest - _SLACK <= gls_percent <= weakest + _SLACK:
        sign = "; shortening is negative" if gls_percent > 0 else ""
        raise GeometryError(
            f"A global longitudinal strain of {gls_percent:g} % can't be had from this clip{sign}; ask for one from "
            f"{np.ceil(10 * strongest) / 10:.1f} to {np.floor(10 * weakest) / 10:.1f} %, or for another ejection fraction."
        )
    goal = float(np.clip(gls_percent, family.gls(family.most), family.gls(family.least)))
    wish = brentq(lambda w: family.gls(w) - goal, family.least, family.most, xtol=1e-12)
    return family.at(wish)
