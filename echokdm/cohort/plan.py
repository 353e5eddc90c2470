"""What a cohort is to hold: the clips it is made from, and for each planned clip the ejection fraction to ask for."""

import hashlib
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from echokdm.cohort.validate import SPLITS
from echokdm.cohort.workers import Engine, serial
from echokdm.core import defaults
from echokdm.core.errors import ClipError, ConfigError, EchoKDMError
from echokdm.core.files import check_plain
from echokdm.core.frames import parts, to_levels
from echokdm.core.naming import called
from echokdm.core.seeding import derive_seed
from echokdm.core.types import Clip
from echokdm.echo.bundle import HeartPipeline
from echokdm.echo.derive import Derived, Progress, derive_keypoints, quiet
from echokdm.ops.trajectory import EF_RANGE, ef_limits

FORMS = "uniform:20-70, match:FILE (a FileList's EF column) or balance"
BIN = 5.0  # points of EF, of the histogram that `balance` makes flat
REDRAWS = 20  # of a wish that its source doesn't allow, before it is clipped

Draw = Callable[[np.random.Generator], float]


@dataclass(frozen=True, eq=False)
class Source:
    """A clip to make others from. Its frames are read again when they are needed, so that many sources fit in memory.

    number: its place among the clips given, from 1, by which messages and manifests tell it. keypoints: (T, 40, 2) in
    the model's frame. found: (T,). subject: 16 hexadecimal digits of the masked pixels of the patient's first clip. ef:
    of its own motion, percent. limits: (lowest, highest) that can be asked of it. doubt: why it may be no apical
    4-chamber view, or "". confidence: (T,), as of `Derived`, or None. searched: as of `Derived`. size: px a side of the
    model's frame.
    """

    clip: Clip | Path
    number: int
    keypoints: np.ndarray
    found: np.ndarray
    subject: str
    ef: float
    limits: tuple[float, float]
    doubt: str = ""
    confidence: np.ndarray | None = None
    searched: bool = False
    size: int = defaults.FRAME_SIZE

    def open(self) -> Derived:
        """The clip again, with the key-points known. Raises ClipError where its file is another by now."""
        from echokdm.io import find_sector, read_clip, to_model_frame

        clip = self.clip if isinstance(self.clip, Clip) else read_clip(self.clip)
        if len(clip) != len(self.keypoints):
            raise ClipError(
                "A clip changed while the cohort was made from it: leave the folder of clips as it is, and start anew."
            )
        sector = find_sector(clip)
        model = to_model_frame(clip, sector, self.size)
        return Derived(
            clip, sector, model, self.keypoints, self.found, False, self.doubt, self.confidence, self.searched
        )


_Found = tuple[Source, str]


def read_sources(
    clips: Sequence[Clip | str | Path],
    pipeline: HeartPipeline,
    progress: Progress = quiet,
    *,
    engine: Engine = serial,
    any_view: bool = False,
    allow_print: bool = False,
) -> tuple[list[Source], list[str]]:
    """The clips whose ventricle was found and moves, and for each other one "clip 3: why not".

    Clips are numbered from 1 in the order given and never named. DICOM clips of one patient get one subject.
    engine: see `augment_cohort`.
    any_view, allow_print: see `derive_keypoints`. Raises ClipError where no clip can be used.
    """
    given = [clip if isinstance(clip, Clip) else Path(clip).absolute() for clip in clips]
    found: dict[int, _Found | str] = {}
    # new each run: it tells patients apart here and leads back to none from what is written
    salt = secrets.token_hex(16)
    for number, result in engine(partial(_Reader, pipeline, salt, any_view, allow_print), list(enumerate(given, 1))):
        found[number] = result
        progress(f"Looked for the ventricle in {len(found)} of {len(clips)} clips")
    subjects: dict[str, str] = {}
    sources, refused = [], []
    for number, result in sorted(found.items()):
        if isinstance(result, str):
            refused.append(f"clip {number}: {result}")
        else:
            source, patient = result
            sources.append(replace(source, subject=subjects.setdefault(patient, source.subject)))
    if not sources:
        raise ClipError(
            refused[0].split(": ", 1)[1]
            if refused
            else "There is no clip to make a cohort from; name a folder of apical 4-chamber clips."
        )
    return sources, refused


class _Reader:
    """A worker that finds the ventricle of one clip: (number, (its Source, what tells the patient from others)) or
    (number, why not)."""

    def __init__(self, pipeline: HeartPipeline, salt: str, any_view: bool, allow_print: bool, device: str) -> None:
        self.pipeline, self.salt, self.any_view, self.allow_print = (
            placed(pipeline, device),
            salt,
            any_view,
            allow_print,
        )

    def __call__(self, item: tuple[int, Clip | Path]) -> list[tuple[int, _Found | str]]:
        number, given = item
        try:
            return [(number, self._read(number, given))]
        except EchoKDMError as error:
            return [(number, str(error))]

    def _read(self, number: int, given: Clip | Path) -> _Found:
        from echokdm.io import read_clip, require_motion

        clip = given if isinstance(given, Clip) else read_clip(given, salt=self.salt)
        require_motion(clip)
        derived = derive_keypoints(clip, any_view=self.any_view, allow_print=self.allow_print, bundle=self.pipeline)
        limits = ef_limits(derived.keypoints, derived.ed, fps=clip.fps, beats=derived.beats)
        # Plans hold two decimals, and those are kept inside.
        limits = math.ceil(limits[0] * 100) / 100, math.floor(limits[1] * 100) / 100
        if limits[0] > limits[1]:
            raise ClipError(f"Its ventricle allows no ejection fraction from {EF_RANGE[0]:g} to {EF_RANGE[1]:g} %.")
        pixels = hashlib.blake2b(digest_size=8)
        for part in parts(derived.model.clip.frames):
            pixels.update(to_levels(part.numpy()).tobytes())
        own = pixels.hexdigest()
        source = Source(
            given,
            number,
            derived.keypoints,
            derived.found,
            own,
            derived.ejection_fraction,
            limits,
            derived.doubt,
            derived.confidence,
            derived.searched,
            derived.model.clip.size[0],
        )
        return source, clip.subject or own


def placed(pipeline: Any, device: str) -> Any:
    """A pipeline on a device; one on the CPU stays where its owner has put it."""
    return pipeline if device == "cpu" else pipeline.to(device)


def plan_cohort(
    sources: Sequence[Source],
    per_clip: int = defaults.PER_CLIP,
    ef: str = defaults.EF,
    seed: int = defaults.SEED,
    split: str = defaults.SPLIT,
) -> pd.DataFrame:
    """One row a planned clip, in the order of the sources; the same for the same arguments.

    ef: "uniform:LOW-HIGH" percent; "match:FILE", drawn from a FileList's EF column; "balance", which fills up the
    sources' own histogram over the range it spans. split: one of TRAIN, VAL, TEST for all, or shares of the subjects
    such as "80/10/10". Columns: id, source (its place in `sources`), clip (its number), subject, split, source_ef,
    driver (-1) and motion ("own"), for which see `cohort_motion.borrow_motions`, wished (first drawn), asked (what the
    source allows: redrawn, else clipped to its range), low, high (that range), note, seed. Raises ConfigError as
    `check_wishes` does.
    """
    draw = check_wishes(per_clip, ef, split)
    rows = pd.DataFrame(
        [
            {
                "source": i,
                "clip": s.number,
                "subject": s.subject,
                "source_ef": round(s.ef, 2),
                "low": s.limits[0],
                "high": s.limits[1],
                "seed": derive_seed(seed, i, k),
            }
            for i, s in enumerate(sources)
            for k in range(per_clip)
        ]
    )
    if draw is None:
        wishes = _balance(sources, per_clip, seed)
    else:
        wishes = [
            _within(draw, np.random.default_rng(derive_seed(row.seed, 1)), row.low, row.high)
            for row in rows.itertuples()
        ]
    rows["wished"], rows["asked"], rows["note"] = zip(*wishes, strict=True)
    rows["split"] = rows["subject"].map(split_subjects(rows["subject"].unique(), split, seed))
    rows["id"] = [f"SYN{number:06d}" for number in range(1, len(rows) + 1)]
    rows["driver"], rows["motion"] = -1, "own"
    return rows[
        [
            "id",
            "source",
            "clip",
            "subject",
            "split",
            "source_ef",
            "driver",
            "motion",
            "wished",
            "asked",
            "low",
            "high",
            "note",
            "seed",
        ]
    ]


def check_wishes(per_clip: int, ef: str, split: str) -> Draw | None:
    """Refuse what no plan can be made of, before any work; returns the draw of an EF in percent, None for "balance".

    Raises ConfigError: another form, a range outside 5 to 80 %, a file without EFs.
    """
    if per_clip < 1:
        raise ConfigError(f"--per-clip takes a number from 1, not {per_clip}.")
    split_shares(split)
    return None if ef == "balance" else _drawer(ef)


def _drawer(ef: str) -> Draw:
    kind, _, rest = ef.partition(":")
    if kind == "uniform" and rest:
        try:
            low, high = (float(part) for part in rest.split("-"))
        except ValueError:
            raise ConfigError(f"--ef takes {FORMS}, not {ef!r}.") from None
        if not EF_RANGE[0] <= low <= high <= EF_RANGE[1]:
            raise ConfigError(
                f"--ef {ef} does not lie inside {EF_RANGE[0]:g}-{EF_RANGE[1]:g} %; choose a range inside."
            )
        return lambda rng: float(rng.uniform(low, high))
    if kind == "match" and rest:
        values = _listed_efs(Path(rest))
        return lambda rng: float(rng.choice(values))
    raise ConfigError(f"--ef takes {FORMS}.")


def _listed_efs(path: Path) -> np.ndarray:
    """The EF column (R,) of a FileList, percent."""
    try:
        column = pd.read_csv(check_plain(path, ConfigError), encoding="utf-8-sig", skipinitialspace=True).rename(
            columns=str.strip
        )["EF"]
    except FileNotFoundError:
        raise ConfigError(f"{called('The file list of --ef match', path)} does not exist.") from None
    except (OSError, ValueError, KeyError):  # pandas' parser errors and bad UTF-8 are ValueErrors
        raise ConfigError(f"{called('The file list of --ef match', path)} is no CSV with a column EF.") from None
    values = pd.to_numeric(column, errors="coerce").dropna().to_numpy(float)
    values = values[(values >= EF_RANGE[0]) & (values <= EF_RANGE[1])]
    if not len(values):
        raise ConfigError(
            f"{called('The file list of --ef match', path)} holds no EF from {EF_RANGE[0]:g} to {EF_RANGE[1]:g} %."
        )
    return values


def _within(draw: Draw, rng: np.random.Generator, low: float, high: float) -> tuple[float, float, str]:
    """(wished, asked, note): the first draw that the source allows, else the end of its range next to the first."""
    wished = [round(draw(rng), 2)]
    while not low <= wished[-1] <= high:
        if len(wished) == REDRAWS:
            return wished[0], min(max(wished[0], low), high), f"clipped to {low:g}-{high:g}"
        wished.append(round(draw(rng), 2))
    return wished[0], wished[-1], "" if len(wished) == 1 else f"redrawn inside {low:g}-{high:g}"


def _balance(sources: Sequence[Source], per_clip: int, seed: int) -> list[tuple[float, float, str]]:
    """Each planned clip falls into the emptiest bin that its source reaches, sources in turn so that none fills the
    gaps alone."""
    own = np.clip([s.ef for s in sources], *EF_RANGE)
    first, last = int(own.min() // BIN), int(own.max() // BIN)
    counts = np.bincount((own // BIN).astype(int), minlength=last + 1).astype(float)
    wishes: dict[tuple[int, int], tuple[float, float, str]] = {}
    for k in range(per_clip):
        for i, source in enumerate(sources):
            rng = np.random.default_rng(derive_seed(seed, i, k, 1))
            low, high = source.limits
            bins = [b for b in range(first, last + 1) if low < (b + 1) * BIN and b * BIN < high]
            if not bins:
                end = min(max(first * BIN, low), high)
                wishes[i, k] = end, end, f"clipped to {low:g}-{high:g}"
                continue
            emptiest = [b for b in bins if counts[b] == min(counts[bins])]
            chosen = int(rng.choice(emptiest))
            counts[chosen] += 1
            asked = round(float(rng.uniform(max(chosen * BIN, low), min((chosen + 1) * BIN, high))), 2)
            wishes[i, k] = asked, asked, ""
    return [wishes[i, k] for i in range(len(sources)) for k in range(per_clip)]


def split_shares(split: str) -> np.ndarray:
    """Parts (3,) of TRAIN, VAL and TEST, of one in all."""
    if split.upper() in SPLITS:
        return np.array([float(split.upper() == name) for name in SPLITS])
    try:
        shares = np.array([float(part) for part in split.split("/")])
    except ValueError:
        shares = np.zeros(0)
    if len(shares) != len(SPLITS) or not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise ConfigError(f"--split takes TRAIN, VAL, TEST, or shares of the patients such as 80/10/10, not {split!r}.")
    return shares / shares.sum()


def split_subjects(subjects: Sequence[str], split: str, seed: int) -> dict[str, str]:
    """Each subject's split, so that no patient is in two. split: as of `plan_cohort`; seed: deals them out."""
    order = np.random.default_rng(derive_seed(seed, 2)).permutation(len(subjects))
    ends = np.rint(np.cumsum(split_shares(split)) * len(subjects))
    return {subjects[i]: SPLITS[int(np.searchsorted(ends, place, side="right"))] for place, i in enumerate(order)}
