"""A batch: files go in one by one, from wherever they come, and come out together, each without its patient or with a
reason why not."""

import csv
import os
import secrets
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echokdm.core.errors import ConfigError
from echokdm.deid.journal import Journal
from echokdm.deid.reasons import Reason, Refusal
from echokdm.deid.review import write_sheets
from echokdm.deid.worker_process import Limits, Worker
from echokdm.io.atomic import atomic_folder

LEAST_SALT = 16
"""Bytes: with a shorter salt, patient IDs could be found again by trying salts."""

_MANIFEST = ("output", "subject", "view", "frames", "rows", "columns", "fps", "fps_from", "row_mm", "column_mm")

Facts = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """inputs: how many files there were. outputs: names of the clips put out. quarantined: reason by the input's
    number."""

    inputs: int
    outputs: tuple[str, ...]
    quarantined: Mapping[int, Reason]

    def reasons(self) -> list[tuple[str, int]]:
        """(sentence, how many), the most frequent first."""
        return Counter(reason.value for reason in self.quarantined.values()).most_common()


class Batch:
    """What `begin_batch` gives. Inputs are numbered from 1 in the order in which they were taken.

    arrivals: an empty folder for files that are brought for this run alone, open to nobody else. What a killed run left
    there is gone.
    """

    def __init__(self, folder: Path, arrivals: Path, journal: Journal, worker: Worker) -> None:
        self.arrivals = arrivals
        self._folder, self._journal, self._worker = folder, journal, worker
        self._outcomes: dict[Path, Facts | Reason] = {}
        self._others: list[Reason] = []

    def __len__(self) -> int:
        """How many inputs were taken."""
        return len(self._outcomes)

    def take(self, key: object, bring: Callable[[], AbstractContextManager[Path]]) -> Reason | None:
        """De-identify one file, or remember what became of it; the reason where it is refused.

        key: by whose `repr` the journal tells the input from others. bring: gives the file for as long as its block
        lasts, and is not called for what is remembered; it may raise Refusal. What else it raises ends the batch, as
        OutputError does.
        """
        target = self._journal.target(key)
        outcome = self._journal.recall(target)
        if outcome is None:
            try:
                with bring() as source:
                    outcome = self._worker.deidentify(source, target)
            except Refusal as refusal:
                outcome = refusal.reason
            self._journal.keep(target, outcome)
        self._outcomes[target] = outcome
        return outcome if isinstance(outcome, Reason) else None

    def take_kept(self) -> None:
        """Take all that the journal holds of runs that were stopped: for inputs that come in no order of their own."""
        for target in self._journal.kept():
            outcome = self._journal.recall(target)
            if outcome is not None:
                self._outcomes[target] = outcome

    def refuse(self, reason: Reason) -> None:
        """Count an input that is no file; its number comes after those of all files."""
        self._others.append(reason)

    def put_out(self) -> Summary:
        """Name the clips and write the tables and sheets: the last that is done with a batch."""
        accepted: dict[int, Facts] = {}
        staged: dict[int, Path] = {}
        quarantined: dict[int, Reason] = {}
        for number, (target, outcome) in enumerate(self._outcomes.items(), 1):
            if isinstance(outcome, Reason):
                quarantined[number] = outcome
            else:
                accepted[number], staged[number] = outcome, target
        inputs = len(self._outcomes) + len(self._others)
        quarantined |= dict(enumerate(self._others, len(self._outcomes) + 1)) | _contradictions(accepted)
        clips = _named({number: facts for number, facts in accepted.items() if number not in quarantined})
        folder = self._folder
        write_sheets(folder / "review", [(name, staged[number].with_suffix(".npz")) for name, number, _ in clips])
        _write_table(folder / "manifest.csv", _MANIFEST, (_manifest_row(name, facts) for name, _, facts in clips))
        _write_table(
            folder / "quarantine.csv", ("number", "reason"), ((n, quarantined[n].value) for n in sorted(quarantined))
        )
        for name, number, _ in clips:  # last, so that a run that is stopped before has all of them still
            (folder / name).parent.mkdir(exist_ok=True)
            os.replace(staged[number], folder / name)
        return Summary(inputs, tuple(name for name, _, _ in clips), dict(sorted(quarantined.items())))


@contextmanager
def begin_batch(
    out: Path,
    *,
    salt: bytes | None = None,
    shift_dates: bool = False,
    limits: Limits | None = None,
    apart: Sequence[Path] = (),
) -> Iterator[Batch]:
    """A batch that becomes the folder `out`, see `deidentify_folder`, once the block ends; with a salt, one that was
    stopped goes on.

    apart: inputs on this disk. Raises ConfigError for a short salt, and OutputError where `out` exists, is another
    run's at the moment, or can't be written.
    """
    if salt is not None and len(salt) < LEAST_SALT:
        raise ConfigError(
            f"A salt needs at least {LEAST_SALT} bytes, or pseudonyms can be guessed: "
            "`head -c 32 /dev/urandom > FILE` makes one."
        )
    with atomic_folder(out, "deid", lasting=salt is not None, apart=apart) as folder:
        salt = salt or secrets.token_bytes(32)
        done, arrivals = folder.with_name("done"), folder.with_name("arrivals")
        done.mkdir(exist_ok=True)
        shutil.rmtree(arrivals, ignore_errors=True)  # files of patients, where a run was killed
        arrivals.mkdir()
        try:
            with Worker(salt, shift_dates, limits or Limits()) as worker:
                yield Batch(folder, arrivals, Journal(done, salt, shift_dates), worker)
        finally:
            shutil.rmtree(arrivals, ignore_errors=True)
            with suppress(OSError):
                done.rmdir()  # where nothing is in it, so that nothing is left of a run that did nothing


def _contradictions(accepted: Mapping[int, Facts]) -> dict[int, Reason]:
    """Refusals that only the files together tell: mixed patients, and several files of one SOP instance UID."""
    refused: dict[int, Reason] = {}
    for numbers in _groups(accepted, "instance"):
        # Two patients' or two pictures under one UID: which of them is right can't be told.
        alike = {tuple(accepted[n][key] for key in ("content", "subject", "study", "series")) for n in numbers}
        for number in numbers if len(alike) > 1 else numbers[1:]:
            refused[number] = Reason.CONFLICTING if len(alike) > 1 else Reason.DUPLICATE
    one_of = (
        ("study", ("subject",), Reason.MIXED_STUDY),
        ("subject", ("name", "birth_date", "sex"), Reason.MIXED_PATIENT),
    )
    for key, told_by, reason in one_of:
        for numbers in _groups(accepted, key):
            if any(len({accepted[n][what] for n in numbers} - {""}) > 1 for what in told_by):
                refused |= dict.fromkeys(numbers, reason)
    return refused


def _groups(accepted: Mapping[int, Facts], key: str) -> list[list[int]]:
    groups = defaultdict(list)
    for number, facts in sorted(accepted.items()):
        groups[facts[key]].append(number)
    return list(groups.values())


def _named(kept: Mapping[int, Facts]) -> list[tuple[str, int, Facts]]:
    """(output's name, number, facts): subjects and clips in the order of their pseudonyms, which says nothing of the
    inputs' order."""
    subjects = sorted(_groups(kept, "subject"), key=lambda numbers: kept[numbers[0]]["subject"])
    return [
        (f"subject-{s:03d}/clip-{c:03d}.dcm", number, kept[number])
        for s, numbers in enumerate(subjects, 1)
        for c, number in enumerate(sorted(numbers, key=lambda n: kept[n]["instance"]), 1)
    ]


def _manifest_row(name: str, facts: Facts) -> tuple[Any, ...]:
    spacing = [f"{mm:.5g}" for mm in facts["spacing_mm"]] if facts["spacing_mm"] else ["", ""]
    return (name, *(facts[key] for key in _MANIFEST[1:-2]), *spacing)


def _write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
