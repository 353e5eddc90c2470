"""What is asked of a clip on the page, and the history of it in a session's file."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from echokdm.core.errors import ConfigError
from echokdm.echo.wish import Wish
from echokdm.io.atomic import atomic_file

MOST_STEPS = 100  # of the history; what is older can't be undone

Point = tuple[float, float]
Told = Annotated[float, AfterValidator(lambda number: float(f"{number:g}"))]
"""A number as a command tells it, with six digits, so that the command asks for the same."""


class Value(BaseModel):
    """A value that comes as JSON: nothing but its own fields, no number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The value that JSON holds. Raises ConfigError, which quotes nothing of it, where it holds something else."""
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            raise ConfigError("What was sent is nothing that this page asks for: reload it.") from None


class Edit(Value):
    """All that is asked of one clip.

    outlines: source frame -> its 40 key-points put right, in the clip's own pixels. drag, walls, ef, gls, heart_rate:
    as of `echo.wish.Wish`. edv: percent of the clip's own. m_mode: x0, y0, x1, y1 px of the line.
    """

    outlines: dict[int, list[Point]] = {}
    drag: dict[int, Point] = {}
    walls: dict[str, Told] = {}
    ef: Told | None = None
    edv: Told | None = None
    gls: Told | None = None
    heart_rate: Told | None = None
    m_mode: tuple[Told, Told, Told, Told] | None = None

    def wish(self) -> Wish:
        """What `synth` is asked for. Raises GeometryError or ConfigError where no clip could fulfil it."""
        edv = None if self.edv is None else f"{self.edv:g}%"
        wish = Wish(self.ef, edv, self.gls, self.walls, self.drag, self.heart_rate)
        wish.check()
        return wish

    @property
    def key(self) -> str:
        """By which the result is known: the same for all edits that ask for the same clip."""
        return hashlib.blake2b(
            self.model_copy(update={"m_mode": None}).model_dump_json().encode(), digest_size=8
        ).hexdigest()


class Move(Value):
    """Key-point `point` moved to a place (x, y) px of the clip.

    picture: in the `source`, whose outline was wrong, or in the `result`, whose heart is to be another. frame: of the
    result; the source shows its own of the same phase.
    """

    picture: Literal["source", "result"]
    frame: int = Field(ge=0)
    point: int = Field(ge=0, lt=40)
    to: Point


class Wishes(Value):
    """Sliders that were moved, the others stay; null is a wish taken back, and so is a wall's factor of 1."""

    walls: dict[str, Told] | None = None
    ef: Told | None = None
    edv: Told | None = None
    gls: Told | None = None
    heart_rate: Told | None = None
    m_mode: tuple[Told, Told, Told, Told] | None = None


class Change(Value):
    """One step: a point moved, sliders moved, or what was dragged, what was corrected or everything taken back.

    frame: the result's that is looked at.
    """

    frame: int = Field(default=0, ge=0)
    move: Move | None = None
    wishes: Wishes | None = None
    clear: Literal["drag", "outlines", "all"] | None = None


class History(Value):
    """The steps of a session, the first the clip as it is, and which of them is shown."""

    steps: list[Edit] = [Edit()]
    at: int = 0

    @property
    def edit(self) -> Edit:
        """What is shown."""
        return self.steps[self.at]

    def then(self, edit: Edit) -> "History":
        """The history with one step more; what was undone is gone."""
        if edit == self.edit:
            return self
        steps = [*self.steps[: self.at + 1], edit][-MOST_STEPS:]
        return History(steps=steps, at=len(steps) - 1)

    def back(self, steps: int) -> "History":
        """So many steps undone or, negative, done again; as far as there are any."""
        return History(steps=self.steps, at=min(max(self.at - steps, 0), len(self.steps) - 1))


def read_history(file: Path) -> History:
    """The session's file; a new history where there is none yet."""
    return History.parse(file.read_bytes()) if file.exists() else History()


def write_history(file: Path, history: History) -> None:
    """Keep a history in the session's file. Raises OutputError where the disk is full."""
    with atomic_file(file) as temporary:
        temporary.write_text(history.model_dump_json(), encoding="utf-8")
