"""How much a pipeline's stages have to do, and a guess of how long it takes: told by a dry run, before anything is
done."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echokdm.pipeline.options import Audit, Augment, Evaluate, Ingest, Keypoints, Train
from echokdm.pipeline.plan import SIMULATED, Pipeline, Step, archive_url
from echokdm.pipeline.records import Records

SECONDS = {"ingest": 6.0, "keypoints": 4.5, "evaluate": 8.0, "augment": 11.5, "audit": 0.5, "train": 0.1, "report": 1.0}
"""Of one core, for each file, clip or phantom: measured on copies of pydicom's clip (`MEASURED_ON`), three of them, and
on four phantoms; `audit` as docs/audit.md. `train` is for each picture of 112 x 112 px in each step: .04 to .14 s by
the model card of a4c-phantom."""

MEASURED_ON = "30 frames of 240 x 320 px"

TRAINED_SIZE = 112  # px
TABLES = 120.0  # seconds for the tables of a method beyond echo, which says itself how much it scores

Clips = Mapping[str, float]  # how many by split, "" where it is not known yet


@dataclass(frozen=True)
class Known:
    """steps: all of them by name. clips: what those before give."""

    steps: Mapping[str, Step]
    clips: dict[str, Clips]


@dataclass(frozen=True)
class Amount:
    """What a stage has to do: so many of `what`, such as files, and a guess of how many seconds that takes one core."""

    count: int
    what: str
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.count:,} {self.what}, about {duration(self.seconds)}"
            if self.what
            else f"about {duration(self.seconds)}"
        )


def duration(seconds: float) -> str:
    """Seconds in a unit that suits a guess: "10 s" at least, "12 min", "3 h", "2 days"."""
    if seconds < 95:
        return f"{max(round(seconds, -1), 10):g} s"
    for unit, length, until in (("min", 60, 90), ("h", 3600, 48)):
        if (number := round(seconds / length)) < until:
            return f"{number} {unit}"
    return f"{round(seconds / 86_400)} days"


def estimate(pipeline: Pipeline) -> dict[str, Amount]:
    """Each stage's amount by its name, whether it is done or not.

    What a stage gave that is done is counted; of another nothing is taken to be refused, and patients to have as many
    clips each. Raises DataError and ConfigError where a source or a training's configuration is faulty, as the run
    would.
    """
    records, amounts = Records(pipeline), {}
    known = Known({step.name: step for step in pipeline.steps}, {})
    for step in pipeline.steps:
        amounts[step.name], gives = _COUNT[step.kind](step, known)
        done = records.is_done(step)
        known.clips[step.name] = _gave(step, records.figures(step), gives) if done else gives
    return amounts


def _gave(step: Step, figures: Mapping[str, Any], planned: Clips) -> Clips:
    """Clips of a stage that is done."""
    if isinstance(step.options, Keypoints) and figures:
        return {split: figures.get(f"clips in {split}", 0) for split in planned}
    total = sum(planned.values())
    found = figures.get("clips kept" if isinstance(step.options, Ingest) else "accepted", total)
    return {split: found * count / total for split, count in planned.items() if total}


def _amount(step: Step, count: float, what: str) -> Amount:
    return Amount(round(count), what, count * SECONDS[step.kind])


def _ingest(step: Step, _: Known) -> tuple[Amount, Clips]:
    from echokdm.deid.folder import list_inputs
    from echokdm.pacs.fetch import count_listed

    options = step.options
    assert isinstance(options, Ingest)
    if (url := archive_url(options.source)) is not None:
        count = count_listed(url)
        return _amount(step, count, "objects"), {"": count}
    listed = _sequences(options.source)
    if listed is not None:
        return _amount(step, sum(listed.values()), "sequences"), listed
    count = len(list_inputs(Path(options.source))[0])
    return _amount(step, count, "files"), {"": count}


def _keypoints(step: Step, known: Known) -> tuple[Amount, Clips]:
    from echokdm.cohort.plan import SPLITS, split_shares

    options = step.options
    assert isinstance(options, Keypoints)
    clips = known.clips[options.clips] if options.clips in known.clips else _kept(Path(options.clips))
    shares = dict(zip(SPLITS, split_shares(options.split), strict=True))
    return (
        _amount(step, sum(clips.values()), "clips"),
        {split: clips.get(split, 0) + float(share) * clips.get("", 0) for split, share in shares.items()},
    )


def _train(step: Step, _: Known) -> tuple[Amount, Clips]:
    from echokdm.methods.base import find_method

    options = step.options
    assert isinstance(options, Train)
    config = _config(options)
    parts = [getattr(config, name) for name in find_method(config.method).stages(config)]
    pictures = sum(part.steps * part.batch for part in parts) * (config.size / TRAINED_SIZE) ** 2
    return Amount(sum(part.steps for part in parts), "steps", pictures * SECONDS["train"]), {}


def _evaluate(step: Step, known: Known) -> tuple[Amount, Clips]:
    from echokdm.evaluation.run import is_echo
    from echokdm.io.folder import clip_files

    options = step.options
    assert isinstance(options, Evaluate)
    if options.data in known.clips:
        return _amount(step, sum(known.clips[options.data].get(split, 0) for split in ("VAL", "TEST")), "clips"), {}
    trained = known.steps[options.bundle].options if options.bundle in known.steps else None
    hearts = (
        getattr(_config(trained).data, "phantom", "") == "heart"
        if isinstance(trained, Train)
        else is_echo(options.bundle)
    )
    if not hearts:
        return Amount(0, "", TABLES), {}
    if options.data == SIMULATED:
        return _amount(step, options.patients, "simulated patients"), {}
    listed = _sequences(options.data)
    return _amount(step, len(clip_files(Path(options.data))) if listed is None else sum(listed.values()), "clips"), {}


def _config(options: Train) -> Any:
    from echokdm.methods.train import read_config
    from echokdm.pipeline.stages import overrides_of

    return read_config(options.config, overrides_of(options.values))


def _augment(step: Step, known: Known) -> tuple[Amount, Clips]:
    options = step.options
    assert isinstance(options, Augment)
    clips = known.clips[options.clips] if options.clips in known.clips else _cohort(Path(options.clips))
    amount = _amount(step, clips.get(options.split, 0) * options.per_clip, "clips")
    return amount, {options.split: amount.count}


def _audit(step: Step, known: Known) -> tuple[Amount, Clips]:
    options = step.options
    assert isinstance(options, Audit)
    both = [
        known.clips[value] if value in known.clips else _cohort(Path(value)) for value in (options.real, options.synth)
    ]
    return _amount(step, sum(sum(clips.values()) for clips in both), "clips"), {}


def _report(step: Step, _: Known) -> tuple[Amount, Clips]:
    return Amount(0, "", SECONDS[step.kind]), {}


_COUNT: Mapping[str, Callable[[Step, Known], tuple[Amount, Clips]]] = {
    "ingest": _ingest,
    "keypoints": _keypoints,
    "train": _train,
    "evaluate": _evaluate,
    "augment": _augment,
    "audit": _audit,
    "report": _report,
}


def _sequences(value: str) -> Clips | None:
    """Of ADAPTER:ROOT the sequences that it lists; None of a path."""
    from echokdm.data.adapters import find_adapter

    adapter, colon, root = value.partition(":")
    return _by_split(find_adapter(adapter).index(root)["split"]) if colon and not Path(value).exists() else None


def _kept(folder: Path) -> Clips:
    from echokdm.pipeline.ingest import kept_clips

    return _by_split(clip["split"] for clip in kept_clips(folder))


def _cohort(folder: Path) -> Clips:
    from echokdm.cohort.audit.clips import list_clips

    return Counter(clip.split for clip in list_clips(folder, "real"))


def _by_split(splits: Any) -> Clips:
    from echokdm.pipeline.keypoints import SPLITS

    return Counter(SPLITS.get(str(split).lower(), "") for split in splits)
