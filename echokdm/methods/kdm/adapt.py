"""`echokdm adapt`: a bundle's segmenter taught the outlined clips of one scanner, kept only where it is better on
held-out patients."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch.utils.data import Dataset

from echokdm.core import defaults
from echokdm.core.config import validate
from echokdm.core.errors import ConfigError, DataError, NoGainError
from echokdm.core.seeding import derive_seed
from echokdm.data.adapters import find_adapter
from echokdm.data.adapters.phantoms import HELD_OUT
from echokdm.data.outlined import OutlinedFrames, OutlinedSource, find_source, outlined_store
from echokdm.data.pairs import PhantomClips, phantom_store, procedural_store
from echokdm.data.store import ArrayStore
from echokdm.engine.loop import LoopSettings, train_stage
from echokdm.io.atomic import atomic_folder
from echokdm.methods.bundle import CONFIG, bundle_config, find_bundle, set_confidence
from echokdm.methods.kdm.card import adapted_card
from echokdm.methods.kdm.config import KDMConfig
from echokdm.methods.kdm.segmentation import AugmentedClips, EmptyClips, SegmenterStage, frame_dice
from echokdm.methods.train import load_component, save_component
from echokdm.networks.segmenter import FINDS_AT, Segmenter

BATCH = 12  # frames
OUTLINED_SHARE = 0.7  # of the items that show hearts; the rest are phantoms
ALSO_SHARE = 0.3  # of the outlined items, where there is a second data set
HELD_OUT_SHARE = 0.2  # of the patients
PHANTOMS, PHANTOMS_HELD_OUT, PROCEDURAL = 60, 20, 60  # half a minute of one core
PHANTOM_LOSS = 0.01  # Dice: what a retraining by another seed may cost


@dataclass(frozen=True)
class Lesson:
    """How long and how fast is learned. The rate's cosine passes half of it at most, since the first 100 steps warm
    up."""

    steps: int = 200
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Scores:
    """Mean Dice of the ventricle by the network's likeliest class, each frame by itself, in the model's square.

    ed, es: of the held-out patients' largest and smallest outlined ventricle. phantoms: of all frames of held-out
    phantoms.
    """

    ed: float
    es: float
    phantoms: float

    @property
    def patients(self) -> float:
        """Mean of ed and es."""
        return (self.ed + self.es) / 2


@dataclass(frozen=True)
class Part:
    """Numbers of patients and of their clips."""

    patients: int
    clips: int

    def __str__(self) -> str:
        return f"{self.clips} clip{'s' * (self.clips != 1)} of {self.patients} patient{'s' * (self.patients != 1)}"


@dataclass(frozen=True)
class Adapted:
    """What was learned and what came of it. also: of the second data set. unused: clips without an outline or a
    sector."""

    learned: Part
    held_out: Part
    also: Part | None
    unused: int
    before: Scores
    after: Scores
    minutes: float


class _Either(Dataset):
    """Items of `own` or, with probability `share`, of `other`."""

    def __init__(self, own: Dataset, other: Dataset, share: float, seed: int) -> None:
        self.own, self.other, self.share, self.seed = own, other, share, seed

    def __getitem__(self, key: tuple[int, int]) -> dict:
        other = np.random.default_rng(derive_seed(self.seed, *key)).random() < self.share
        return (self.other if other else self.own)[key]


def adapt_bundle(
    data: str | Path,
    out: str | Path,
    *,
    bundle: str | Path = defaults.BUNDLE,
    also: str | Path | None = None,
    lesson: Lesson = Lesson(),
    seed: int = defaults.SEED,
    cache: str | Path | None = None,
    overwrite: bool = False,
) -> Adapted:
    """Write the bundle `out`: `bundle` with its segmenter taught further on outlined clips beside phantoms, with a
    model card.

    data: outlined clips, "adapter:FOLDER" or a folder, see `data.outlined.find_source`; patients of a split "test" are
    left alone. also: a second data set that is learned from too and never scored by. cache: a folder that keeps the
    phantoms for the next time; nothing of a patient is kept but in the weights. Raises NoGainError, with nothing
    written, unless held-out patients are found better than before and phantoms no worse by more than PHANTOM_LOSS;
    DataError of fewer than two patients; ConfigError, BundleError, OutputError.
    """
    if lesson.steps < 1:
        raise ConfigError(f"Training takes at least one step, not {lesson.steps}.")
    began, base = time.monotonic(), find_bundle(bundle)
    config = validate(bundle_config(base), KDMConfig, CONFIG)
    size = min(config.size, FINDS_AT)
    network = load_component(base, "segmenter", Segmenter)
    source, second = find_source(data), None if also is None else find_source(also)
    with atomic_folder(out, "adapt", overwrite) as folder, TemporaryDirectory() as scratch:
        own = _store(Path(scratch) / "own", source, size)
        learn, judge = split_rows(own, seed)
        outlined: Dataset = OutlinedFrames(own, derive_seed(seed, 1), learn)
        beside = None
        if second is not None:
            other = _store(Path(scratch) / "also", second, size)
            # A patient of the same name may be the same patient, who must not be learned from.
            beside = np.flatnonzero(other["usable"] & ~np.isin(other["subject"], own["subject"][judge]))
            if not len(beside):
                raise DataError(
                    "All patients of --also are held out to judge by, so nothing is left to learn from: leave it out."
                )
            outlined = _Either(
                outlined, OutlinedFrames(other, derive_seed(seed, 2), beside), ALSO_SHARE, derive_seed(seed, 3)
            )
        kept = Path(scratch) if cache is None else Path(cache)
        phantoms = phantom_store(kept / f"phantoms-{size}-{PHANTOMS}", PHANTOMS, size)
        unseen = phantom_store(kept / f"held-out-{size}-{PHANTOMS_HELD_OUT}", PHANTOMS_HELD_OUT, size, HELD_OUT)
        procedural = procedural_store(kept / f"procedural-{size}-{PROCEDURAL}", PROCEDURAL, size)

        def scores() -> Scores:
            frames, hearts = OutlinedFrames(own, 0), PhantomClips(unseen, 0)
            ed, es = frame_dice(network, map(frames.row, judge)).mean(0).tolist()
            return Scores(ed, es, float(frame_dice(network, map(hearts.row, range(unseen.count))).mean()))

        before = scores()
        clips = AugmentedClips(
            PhantomClips(phantoms, seed, config.segmenter.warped_share),
            seed,
            EmptyClips(procedural, seed),
            outlined=outlined,
            outlined_share=OUTLINED_SHARE,
        )
        stage = SegmenterStage(clips, batch_size=BATCH, learning_rate=lesson.learning_rate, network=network)
        train_stage(
            stage,
            Path(scratch) / "training",
            steps=lesson.steps,
            seed=derive_seed(seed, 4),
            settings=LoopSettings(save_every=lesson.steps, device="cpu"),
        )
        network.half().float()  # as it is kept
        result = Adapted(
            _part(own, learn),
            _part(own, judge),
            None if beside is None else _part(other, beside),
            int((~own["usable"]).sum()),
            before,
            scores(),
            (time.monotonic() - began) / 60,
        )
        check_gain(result)
        shutil.copytree(base, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("segmenter", "README.md"))
        save_component(network, folder / "segmenter")
        set_confidence(folder, None)  # it holds for the segmenter that was
        told = (base / "README.md").read_text(encoding="utf-8") if (base / "README.md").is_file() else ""
        adapters = [source.adapter] if second is None else [source.adapter, second.adapter]
        (folder / "README.md").write_text(
            adapted_card(config.name, told, result, adapters, lesson.steps, seed), encoding="utf-8"
        )
    return result


def split_rows(store: ArrayStore, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Usable rows of an outlined store to learn from and to judge by, no patient in both.

    Judged by: HELD_OUT_SHARE of the patients, from five patients on two at least. Who they are depends on the seed and
    each patient's number, so that a few patients more or less move few others. Raises DataError of fewer than two
    patients.
    """
    usable = np.flatnonzero(store["usable"])
    subjects = store["subject"][usable]
    ranked = sorted(set(subjects.tolist()), key=lambda subject: derive_seed(seed, subject))
    if len(ranked) < 2:
        raise DataError(
            "Outlined clips of at least two patients are needed, one of them to judge by, and there is one: outline more."
        )
    count = max(1 if len(ranked) < 5 else 2, round(HELD_OUT_SHARE * len(ranked)))
    judged = np.isin(subjects, ranked[:count])
    return usable[~judged], usable[judged]


def check_gain(result: Adapted) -> None:
    """Raise NoGainError unless held-out patients are found better than before, and phantoms as well within
    PHANTOM_LOSS."""
    before, after = result.before, result.after
    if not after.patients > before.patients:
        raise NoGainError(
            f"Nothing was written: on the {result.held_out.patients} held-out patients the Dice is {after.patients:.3f}, and "
            f"was {before.patients:.3f} before; outline more patients, or check the outlines (echokdm data preview)."
        )
    if not after.phantoms >= before.phantoms - PHANTOM_LOSS:
        raise NoGainError(
            f"Nothing was written: on held-out phantoms the Dice falls from {before.phantoms:.3f} to {after.phantoms:.3f}, "
            f"by more than {PHANTOM_LOSS:g}; check the outlines (echokdm data preview), or take fewer steps."
        )


def _store(folder: Path, source: OutlinedSource, size: int) -> ArrayStore:
    """The outlined frames of a data set without its split "test". Raises DataError where nothing else is there."""
    index = find_adapter(source.adapter).index(source.root)
    subjects = tuple(index["subject"][index["split"] != "test"].unique())
    if not subjects:
        raise DataError("All patients of this folder are kept for testing, so there is none to learn from.")
    return outlined_store(folder, OutlinedSource(source.adapter, source.root, subjects), size)


def _part(store: ArrayStore, rows: np.ndarray) -> Part:
    return Part(len(np.unique(store["subject"][rows])), len(rows))
