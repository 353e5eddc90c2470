"""Where in the heart's beat each frame lies, so that frames of two clips can be matched in phase and direction of
motion."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.ops.trajectory import beat_profile

_SYSTOLE = 0.37  # of a resting beat, where `beat_profile` has its end-systole
_TURNED = 0.15  # of the stroke volume; what has come back by so much after an extreme was one
# phases of `beat_profile`, by where a half begins
_HALVES = {0.0: np.linspace(0.0, _SYSTOLE, 64), 0.5: np.linspace(_SYSTOLE, 1.0, 64)}


def beat_phases(volumes: ArrayLike, beats: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Phases (T,) in beats of a clip's frames: end-diastole at whole numbers, end-systole at halves, never falling with
    time.

    volumes: (T,). beats: (end-diastole, end-systole) frames, one or more; an end-systole may come first. Between them
    time runs evenly. Beyond the first and the last, further turns of the volume count too, and the clip's ends lie
    where a resting beat has emptied as far.
    """
    v = np.asarray(volumes, np.float64)
    (ed, es) = beats[0]
    emptied = (v[ed] - v) / max(v[ed] - v[es], 1e-9)
    events = sorted([(ed, 0.0) for ed, _ in beats] + [(es, 0.5) for _, es in beats])
    events += _turns(emptied, events[-1], 1)
    events = _turns(emptied, events[0], -1)[::-1] + events
    frames, phases = [events[0][0]], [events[0][1]]
    for frame, kind in events[1:]:
        if frame > frames[-1]:
            frames.append(frame)
            phases.append(phases[-1] + ((kind - phases[-1]) % 1.0 or 1.0))
    if frames[-1] < len(v) - 1:
        phases.append(phases[-1] + _passed(emptied[-1], phases[-1] % 1.0))
        frames.append(len(v) - 1)
    if frames[0] > 0:
        phases.insert(0, phases[0] - 0.5 + _passed(emptied[0], (phases[0] - 0.5) % 1.0))
        frames.insert(0, 0)
    return np.interp(np.arange(len(v)), frames, phases)


def _turns(emptied: NDArray[np.float64], event: tuple[int, float], step: int) -> list[tuple[int, float]]:
    """Ends of systole and diastole in turn beyond `event`, forward in time (step 1) or backward (-1), nearest first."""
    found: list[tuple[int, float]] = []
    frame, kind = event
    while True:
        kind = 0.5 - kind
        sign = 1.0 if kind else -1.0  # an end-systole has emptied most
        rest = sign * emptied[frame + 1 :] if step > 0 else sign * emptied[:frame][::-1]
        if not len(rest):
            return found
        far = int(rest.argmax())
        if rest[far] < (0.5 if kind else -0.5) or rest[far] - rest[far:].min() < _TURNED:
            return found
        frame += step * (far + 1)
        found.append((frame, kind))


def _passed(emptied: float, begin: float) -> float:
    """How much of a half beat that begins at phase `begin` has passed where so much is emptied, 0 to 0.5."""
    shares = beat_profile(_HALVES[begin])
    return 0.5 * float(np.abs(shares - emptied).argmin()) / (len(shares) - 1)


def matching_frames(phases: ArrayLike, wanted: ArrayLike, start: float) -> NDArray[np.int64]:
    """The frames (N,), of a clip with phases (T,), that are nearest in phase to `wanted` (N,), which is so in direction
    of motion too.

    start: the phase at which the beat begins that they are taken from, as far as the clip shows it whole: frames of
    several beats in turn would not follow one another.
    """
    own, asked = np.asarray(phases, np.float64), np.asarray(wanted, np.float64)
    first = float(np.clip(start, own[0], max(own[-1] - 1, own[0])))
    beat = np.flatnonzero((own >= first - 1e-9) & (own < first + 1))
    apart = asked[:, None] - own[beat]
    return beat[np.abs(apart - np.rint(apart)).argmin(1)]
