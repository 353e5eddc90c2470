"""What may be asked: of the heart and of the clip's time and size (`Wish`), and of the networks (`Sampling`)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from echokdm.core import defaults
from echokdm.core.errors import ConfigError, GeometryError
from echokdm.core.samplers import SAMPLERS
from echokdm.core.types import A4C_BLOODPOOL_40
from echokdm.methods.kdm.drawing import Drawing
from echokdm.ops.strain import GLS_RANGE
from echokdm.ops.timing import BEATS_RANGE, RATE_RANGE
from echokdm.ops.trajectory import EF_RANGE
from echokdm.ops.wishes import check_drag, parse_volume

SIZES = 64, 1024  # px of a square output
FRAMES_RANGE, FPS_RANGE = (2, 1000), (1.0, 500.0)


@dataclass(frozen=True)
class Wish:
    """What to change. Nothing of it: the clip as it is.

    ef, gls: percent, 5 to 80 and -30 to 0, see `ops.wishes.with_pump_function`. edv: in the clip's unit of volume, or
    such as "80%" of its own. walls: factors of the six walls' motion, such as {"apical-septal": 0}, see
    `ops.wall_motion.with_wall_motion`. drag: point index -> (dx, dy) in the source clip's own pixels; it moves every
    frame's outline, and grows from nothing where the source is a single frame. heart_rate: beats a minute. beats: so
    many times one beat, looped. frames, fps: see `echo.plan.frame_times`. size: px, a square around the sector instead
    of the clip's own picture.
    """

    ef: float | None = None
    edv: str | float | None = None
    gls: float | None = None
    walls: Mapping[str, float] = field(default_factory=dict)
    drag: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    heart_rate: float | None = None
    beats: int | None = None
    frames: int | None = None
    fps: float | None = None
    size: int | None = None

    @property
    def volume(self) -> tuple[float, bool] | None:
        """`edv` as a number, and whether it is percent of the source's. Raises ConfigError."""
        return None if self.edv is None else parse_volume(str(self.edv))

    @property
    def shaped(self) -> bool:
        """Whether something is asked that only a motion can show."""
        return bool(self.walls) or any(
            v is not None for v in (self.ef, self.edv, self.gls, self.heart_rate, self.beats)
        )

    def check(self) -> None:
        """Refuse what no clip could fulfil, before any work. Raises GeometryError (EF) or ConfigError."""
        if self.ef is not None and not EF_RANGE[0] <= self.ef <= EF_RANGE[1]:
            low, high = EF_RANGE
            raise GeometryError(
                f"An ejection fraction of {self.ef:g} % is outside {low:g} to {high:g} %; choose one inside."
            )
        _ = self.volume
        for name, value, (low, high) in (
            ("--gls", self.gls, GLS_RANGE),
            ("--heart-rate", self.heart_rate, RATE_RANGE),
            ("--beats", self.beats, BEATS_RANGE),
            ("--frames", self.frames, FRAMES_RANGE),
            ("--fps", self.fps, FPS_RANGE),
        ):
            if value is not None and not low <= value <= high:  # nan is outside, too
                raise ConfigError(f"{name} {value:g} is outside {low:g} to {high:g}; choose one inside.")
        if self.size is not None and not SIZES[0] <= self.size <= SIZES[1]:
            raise ConfigError(
                f"--size {self.size} is outside {SIZES[0]} to {SIZES[1]}; choose one inside, or leave it out for the clip's "
                "own size."
            )
        check_drag(self.drag, len(A4C_BLOODPOOL_40))
        if self.frames is not None and (self.beats is not None or self.heart_rate is not None):
            raise ConfigError(
                "--frames can't be had with --beats or --heart-rate, which say how long the clip lasts; use --fps."
            )

    def record(self) -> dict[str, Any]:
        """For run.json."""
        return asdict(self) | {
            "edv": None if self.edv is None else str(self.edv),
            "drag": {str(i): list(offset) for i, offset in self.drag.items()},
        }


@dataclass(frozen=True)
class Sampling:
    """How the networks are run.

    seed: of their noise. from_frame: make every frame from this one alone, as KDM does (Oh et al., the echo task),
    instead of each from the clip's own of the same phase. steps, strength, without: of that one-frame mode, see
    `Drawing`. sampler: "own", or "paper" for the paper's, which steps and strength belong to: see `core.samplers`.
    """

    seed: int = defaults.SEED
    from_frame: int | None = None
    steps: int = defaults.STEPS
    strength: float = defaults.STRENGTH
    without: str | None = None
    sampler: str = "own"

    def check(self, frames: int | None = None) -> None:
        """Refuse what is out of range, of a clip of `frames` frames where that is known. Raises ConfigError."""
        if not 1 <= self.steps <= 1000:
            raise ConfigError(f"--steps {self.steps} is outside 1 to 1000; choose one inside.")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"--seed {self.seed} is outside 0 to 2^63 - 1; choose one inside.")
        if self.without not in (None, "f2i", "k2f"):
            raise ConfigError(f"--without takes f2i or k2f, not {self.without!r}.")
        if self.sampler not in SAMPLERS:
            raise ConfigError(f"--sampler takes {' or '.join(SAMPLERS)}, not {self.sampler!r}.")
        if self.sampler != "own" and (self.from_frame is None or self.steps != defaults.STEPS):
            raise ConfigError(
                "--sampler is of the one-frame mode, and says how many steps there are: name the frame with --from-frame N, "
                "and leave --steps out."
            )
        if self.without is not None and self.from_frame is None:
            raise ConfigError(
                "--without leaves out a network of the one-frame mode; name the frame with --from-frame N too."
            )
        if self.from_frame is not None and frames is not None and not 0 <= self.from_frame < frames:
            raise ConfigError(f"--from-frame {self.from_frame} is not in the clip, which has frames 0 to {frames - 1}.")

    def drawing(self) -> Drawing:
        """How the networks are run in the one-frame mode."""
        own = {"steps": self.steps, "strength": self.strength, "seed": self.seed, "without": self.without}
        return Drawing(**{**own, **SAMPLERS[self.sampler]})

    def record(self) -> dict[str, Any]:
        """For run.json."""
        return asdict(self)
