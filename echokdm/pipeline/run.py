"""`run_pipeline`: every stage that is not done yet, in order, each once."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from echokdm.core import defaults
from echokdm.core.errors import EchoKDMError
from echokdm.io.atomic import claim, clear_files
from echokdm.pipeline.plan import Pipeline, Step
from echokdm.pipeline.records import Records
from echokdm.pipeline.work import Say, Track, Work, untracked


def run_pipeline(
    pipeline: Pipeline, *, device: str = defaults.DEVICE, say: Say = lambda _: None, track: Track = untracked
) -> Path:
    """Run what is not done yet; returns the folder. A second run does nothing; one that was stopped goes on.

    What happens is told to `say` and kept, with the time, in run.log. Raises OutputError where the folder is another's
    or another run is at work in it, and whatever the stages raise.
    """
    from echokdm.pipeline.stages import CHECK, RUN, check_losses

    check_losses(pipeline)

    records = Records(pipeline)
    records.check()
    with claim(pipeline.out, "run", inside=True):
        records.claim()
        clear_files(pipeline.out)
        for number, step in enumerate(pipeline.steps, 1):
            head = f"{number} of {len(pipeline.steps)}, {step.name}"
            folder = records.begin(step)
            if records.is_done(step):
                say(f"{head}: done already")
                continue
            say(head)
            _log(pipeline.out, f"{step.name}: begins, {step.fingerprint[:8]}")
            try:
                figures = RUN[step.kind](_work(records, step, folder, device, say, track))
                # What a later stage would stumble over is told now, and not after a night of training.
                for later in (s for s in pipeline.steps if step.name in s.needs and s.kind in CHECK):
                    CHECK[later.kind](_work(records, later, folder, device, say, track), step.name)
                records.finish(step, figures)
            except EchoKDMError as error:
                _log(pipeline.out, f"{step.name}: stopped, {error}")
                raise
            _log(pipeline.out, f"{step.name}: done")
    return pipeline.out


def _work(records: Records, step: Step, folder: Path, device: str, say: Say, track: Track) -> Work:
    pipeline = records.pipeline

    def tell(text: str) -> None:
        _log(pipeline.out, f"{step.name}: {text}")
        say(f"  {text}")

    reads = {field: _place(pipeline, step, field) for field in step.options.reads}
    others = [(s, pipeline.out / s.name, records.figures(s)) for s in pipeline.steps if s.name in step.needs]
    return Work(step, folder, pipeline.out, pipeline.seed, device, reads, others, tell, say, track)


def _place(pipeline: Pipeline, step: Step, field: str) -> Any:
    """Where an input lies: a stage's folder, of a training its bundle; else as the YAML says."""
    value = getattr(step.options, field)
    if value not in step.needs:
        return value
    kind = next(s.kind for s in pipeline.steps if s.name == value)
    return pipeline.out / value / "bundle" if kind == "train" else pipeline.out / value


def _log(out: Path, text: str) -> None:
    with (out / "run.log").open("a", encoding="utf-8") as file:
        file.write(f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}  {text}\n")


def plan_lines(pipeline: Pipeline) -> Iterator[str]:
    """The plan, a line a stage: what is cached, what is to run, why, on how much and for about how long; at the end the
    time in all."""
    from echokdm.pipeline.estimate import MEASURED_ON, duration, estimate

    records = Records(pipeline)
    records.check()
    width = max(len(step.name) for step in pipeline.steps)
    plan, amounts = records.plan(), estimate(pipeline)
    for planned in plan:
        told = f"; {amounts[planned.step.name]}" if planned.to_do else ""
        yield f"{planned.step.name:{width}}  {planned.state:7}  {planned.why}{told}"
    left = sum(amounts[planned.step.name].seconds for planned in plan if planned.to_do)
    yield (
        f"About {duration(left)} of one core in all: a guess from clips of {MEASURED_ON}."
        if left
        else "Nothing is to run."
    )
