"""What a pipeline's folder remembers of its stages, and what is to be done by it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from echokdm.core.errors import OutputError
from echokdm.core.naming import called
from echokdm.io.atomic import LOCK, atomic_file
from echokdm.pipeline.plan import Pipeline, Step

OWNER = "pipeline.json"
FOLDER = "stages"

State = Literal["cached", "kept", "stopped", "to run"]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """What is to be done for a stage, and why."""

    step: Step
    state: State
    why: str

    @property
    def to_do(self) -> bool:
        """Whether anything of it is still to run."""
        return self.state in ("to run", "stopped")


class Records:
    """`out`/stages/NAME.json for each stage in `out`/NAME: its recipe, whether it is done, its figures.

    A result whose recipe is asked for no more is moved aside to NAME.<fingerprint>, and back when it is asked for
    again.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.out = pipeline, pipeline.out

    def claim(self) -> None:
        """Make the folder this pipeline's. Raises OutputError where it is another's or holds something else."""
        self.check()
        if not (self.out / OWNER).exists():
            self._write(self.out / OWNER, {"pipeline": self.pipeline.name})

    def check(self) -> None:
        """Raises OutputError where the folder is another pipeline's or holds something else."""
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise OutputError(f"{called('The output', self.out)} is a file; name a folder with --out.")
        owner = _read(self.out / OWNER)
        if owner is None and any(entry.name not in (LOCK, FOLDER) for entry in self.out.iterdir()):
            raise OutputError(
                f"{called('The output folder', self.out)} exists already and holds no pipeline; choose another with --out."
            )
        if owner is not None and owner.get("pipeline") != self.pipeline.name:
            raise OutputError(
                f"{called('The output folder', self.out)} belongs to another pipeline; choose another with --out."
            )

    def plan(self) -> list[Planned]:
        """Each stage's state, in their order."""
        return [self._planned(step) for step in self.pipeline.steps]

    def begin(self, step: Step) -> Path:
        """The stage's folder to work in: what another recipe left there is moved aside, what this one left is gone on
        with."""
        record = self._record(step.name)
        if record is not None and record["fingerprint"] != step.fingerprint:
            self._move(step.name, f"{step.name}.{record['fingerprint'][:8]}")
            record = None
        if record is None:
            kept = f"{step.name}.{step.fingerprint[:8]}"
            if self._record(kept) is not None:
                self._move(kept, step.name)
            else:
                self._write(
                    self._place(step.name), {"fingerprint": step.fingerprint, "recipe": step.recipe, "done": False}
                )
        return self.out / step.name

    def is_done(self, step: Step) -> bool:
        """Whether the stage's result of this very recipe lies in its folder."""
        record = self._record(step.name)
        return bool(record and record["fingerprint"] == step.fingerprint and record["done"])

    def finish(self, step: Step, figures: Figures) -> None:
        """Say that the stage is done, with what it found."""
        self._write(
            self._place(step.name),
            {"fingerprint": step.fingerprint, "recipe": step.recipe, "done": True, "figures": figures},
        )

    def figures(self, step: Step) -> Figures:
        """What a finished stage found; nothing of one that is not done."""
        record = self._record(step.name)
        return dict(record.get("figures", {})) if record else {}

    def _planned(self, step: Step) -> Planned:
        record = self._record(step.name)
        if record is None or record["fingerprint"] != step.fingerprint:
            kept = self._record(f"{step.name}.{step.fingerprint[:8]}")
            if kept is not None:
                return Planned(step, "kept" if kept["done"] else "stopped", "was made before, with the same options")
            return Planned(step, "to run", "never ran" if record is None else _difference(record["recipe"], step))
        return (
            Planned(step, "cached", "nothing changed")
            if record["done"]
            else Planned(step, "stopped", "goes on where it was")
        )

    def _record(self, name: str) -> dict[str, Any] | None:
        record = _read(self._place(name))
        return record if record is not None and (not record["done"] or (self.out / name).exists()) else None

    def _move(self, name: str, to: str) -> None:
        """The folder first: a record without a folder is no result."""
        if (self.out / name).exists():
            os.replace(self.out / name, self.out / to)
        os.replace(self._place(name), self._place(to))

    def _place(self, name: str) -> Path:
        return self.out / FOLDER / f"{name}.json"

    @staticmethod
    def _write(path: Path, record: Mapping[str, Any]) -> None:
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _difference(before: Mapping[str, Any], step: Step) -> str:
    """What of a recipe changed, in words."""
    changed = []
    for key, value in step.recipe["options"].items():
        old = before["options"].get(key)
        if old != value:
            changed.append(f"{key} is {_short(value)}, was {_short(old)}")
    for field, value in step.recipe["inputs"].items():
        if before["inputs"].get(field) != value:
            source = getattr(step.options, field, field)
            changed.append(f"{source if source in step.needs else f'what {field} names'} changed")
    changed += [f"{key} changed" for key in ("kind", "seed", "echokdm") if before.get(key) != step.recipe[key]]
    return ", ".join(changed) or "an input is gone from its recipe"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 40 else f"{text[:36]} ..."
