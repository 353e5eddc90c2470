"""What each kind of stage does: one thin function around what the toolkit's commands call."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from echokdm.core.errors import ConfigError
from echokdm.pipeline.ingest import ingest
from echokdm.pipeline.keypoints import find_keypoints, read_keypointed
from echokdm.pipeline.options import Audit, Augment, Evaluate, Train
from echokdm.pipeline.plan import Pipeline
from echokdm.pipeline.records import Figures
from echokdm.pipeline.work import Work


def check_losses(pipeline: Pipeline) -> None:
    """Raises BundleError where a training's loss needs weights that are not on this machine: said before the first
    stage runs."""
    from echokdm.methods import train as training

    for step in pipeline.steps:
        if isinstance(step.options, Train):
            try:
                config = training.read_config(step.options.config, overrides_of(step.options.values))
            except ConfigError:
                continue  # the stage itself says what is wrong, once its other inputs are there
            training.check_losses(config)


def train(work: Work) -> Figures:
    """`echokdm train` into the stage's folder; real clips, where named, take the place of simulated hearts."""
    from echokdm.methods.train import train_config

    options = work.step.options
    assert isinstance(options, Train)
    overrides = [f"data.cache={work.out / 'cache'}", f"seed={work.seed}", *overrides_of(options.values)]
    if work.reads["clips"] is not None:
        overrides.append(f"data.clips={work.reads['clips']}")
    bundle = train_config(
        options.config,
        out=work.folder,
        from_bundle=None if options.start is None else str(work.reads["start"]),
        overrides=overrides,
    )
    if not (bundle / "model_index.json").exists():
        raise ConfigError(
            "The training left stages out that its bundle needs: give them steps, or start from a bundle that has them."
        )
    figures: Figures = {}
    for record in sorted(work.folder.glob("*/done.json")):
        done = json.loads(record.read_text(encoding="utf-8"))
        figures |= {
            f"{done['stage']}, steps": done["steps"],
            **{f"{done['stage']}, {name}": round(value, 4) for name, value in done["figures"].items()},
        }
    return figures


def evaluate(work: Work) -> Figures:
    """`echokdm evaluate` into the stage's folder; of a stage's real clips those of VAL and TEST."""
    from echokdm.echo.wish import Sampling
    from echokdm.evaluation.run import evaluate as score

    options = work.step.options
    assert isinstance(options, Evaluate)
    data: Any = work.reads["data"]
    if options.data in work.step.needs:
        data = [source.clip for source in read_keypointed(Path(data), ("VAL", "TEST"))]
    score(
        work.reads["bundle"],
        data,
        options.patients,
        work.folder,
        Sampling(work.seed),
        device=work.device,
        overwrite=True,
        show=False,
    )
    return {}


def augment(work: Work) -> Figures:
    """`echokdm augment` from the key-points that were found before."""
    from echokdm.cohort.make import Making, augment_cohort
    from echokdm.cohort.motion import borrow_motions
    from echokdm.cohort.plan import check_wishes, plan_cohort
    from echokdm.cohort.workers import serial
    from echokdm.echo.bundle import load_pipeline

    options = work.step.options
    assert isinstance(options, Augment)
    check_wishes(options.per_clip, options.ef, options.split)
    sources = read_keypointed(Path(work.reads["clips"]), (options.split,))
    plan = plan_cohort(sources, options.per_clip, options.ef, work.seed, options.split)
    if options.motion == "others":
        plan = borrow_motions(plan, sources, work.seed)
    making = Making(**{field.name: getattr(options, field.name) for field in fields(Making)})
    manifest = augment_cohort(
        plan,
        sources,
        work.folder,
        making,
        bundle=load_pipeline(work.reads["bundle"], work.device),
        drivers=sources,
        engine=lambda build, items: iter(work.track(serial(build, items), len(plan), "making clips")),
    )
    kept = manifest[manifest["accepted"]]
    figures: Figures = {"planned": len(manifest), "accepted": len(kept), "source clips": len(sources)}
    if len(kept):
        figures["EF measured against asked, mean absolute error"] = round(
            float((kept["measured"] - kept["asked"]).abs().mean()), 2
        )
    return figures


def audit(work: Work) -> Figures:
    """`echokdm audit` into the stage's folder."""
    from echokdm.cohort.audit import audit_cohort
    from echokdm.cohort.audit.report import write_audit

    options = work.step.options
    assert isinstance(options, Audit)
    found = audit_cohort(
        Path(work.reads["real"]),
        Path(work.reads["synth"]),
        bundle=work.reads["bundle"],
        device=work.device,
        progress=work.show,
    )
    write_audit(found, work.folder, overwrite=True)
    return {"verdict": found.verdict, "planted copies found, percent": round(100 * found.found)}


def report(work: Work) -> Figures:
    """One page of all stages' figures and pictures."""
    from echokdm.pipeline.summary import write_summary

    write_summary(work)
    return {}


def check_split(work: Work, ready: str) -> None:
    """Raises ConfigError where the stage `ready`, just done, has no clip in the splits that this one will want."""
    options = work.step.options
    if isinstance(options, Evaluate) and options.data == ready:
        read_keypointed(Path(work.reads["data"]), ("VAL", "TEST"))
    if isinstance(options, Augment) and options.clips == ready:
        read_keypointed(Path(work.reads["clips"]), (options.split,))


CHECK: Mapping[str, Callable[[Work, str], None]] = {"evaluate": check_split, "augment": check_split}

RUN: Mapping[str, Callable[[Work], Figures]] = {
    "ingest": ingest,
    "keypoints": find_keypoints,
    "train": train,
    "evaluate": evaluate,
    "augment": augment,
    "audit": audit,
    "report": report,
}


def overrides_of(values: Mapping[str, Any], before: str = "") -> list[str]:
    """Nested values as overrides: {"f2i": {"steps": 5}} -> ["f2i.steps=5"]."""
    flat = []
    for key, value in values.items():
        if isinstance(value, dict):
            flat += overrides_of(value, f"{before}{key}.")
        else:
            flat.append(f"{before}{key}={json.dumps(value)}")
    return flat
