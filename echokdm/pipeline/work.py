"""What a stage is given to work with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echokdm.pipeline.plan import Step
from echokdm.pipeline.records import Figures

Say = Callable[[str], None]
Track = Callable[[Iterable[Any], int, str], Iterable[Any]]


def untracked(items: Iterable[Any], _: int, __: str) -> Iterable[Any]:
    """The progress of those who want none."""
    return items


@dataclass(frozen=True)
class Work:
    """What a stage works with. folder: to write to, perhaps half done. reads: each option of what it reads, as a place.

    others: for a report, the stages before with their folders and figures. say: tells and logs; show: tells alone.
    """

    step: Step
    folder: Path
    out: Path
    seed: int
    device: str
    reads: dict[str, Any]
    others: list[tuple[Step, Path, Figures]]
    say: Say
    show: Say
    track: Track
