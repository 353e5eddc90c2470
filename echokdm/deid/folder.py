"""`deidentify_folder`: every file of a folder is put out without its patient, or quarantined with a reason."""

import csv
import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echokdm.core.errors import ClipError, ConfigError, OutputError
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
    """inputs: how many files there were. outputs: names of the clips put out. quarantined: reason by the input's number."""

    inputs: int
    outputs: tuple[str, ...]
    quarantined: Mapping[int, Reason]

    def reasons(self) -> list[tuple[str, int]]:
        """(sentence, how many), the most frequent first."""
        return Counter(reason.value for reason in self.quarantined.values()).most_common()


def deidentify_folder(source: str | os.PathLike[str], out: str | os.PathLike[str], *, salt: bytes | None = None, shift_dates: bool = False,
                      limits: Limits | None = None, progress: Callable[[int, int], None] | None = None) -> Summary:
    """De-identify echo DICOM by PS3.15 Annex E (Basic Profile, Clean Pixel Data Option), fails closed.

    source: a folder, read with all folders in it, or one file. out: a folder that must not exist yet; it gets subject-NNN/clip-NNN.dcm,
    manifest.csv (one row an output), quarantine.csv (number and reason of each refused input) and review/ (sheets of pictures,
    to be looked at before anything is passed on). Inputs are numbered from 1 as `find SOURCE ! -type d | LC_ALL=C sort` lists them.

    salt: a secret of at least 16 bytes; the same one gives the same pseudonyms, UIDs and shifts, and the same bytes. Without it one
    is drawn for this run and forgotten. With one, a run that was stopped goes on: what it had done lies, hidden, beside `out`.
    shift_dates: keep study dates, all of a patient's moved back by the same one to ten
    years, rather than none. limits: for each single file. progress: called with (files done, files in all).

    Raises ClipError where there is no input, ConfigError for a short salt, and OutputError where `out` exists, lies inside
    the source or around it, is another run's at the moment, or can't be written. No fault of a single file raises.
    """
    source, out = Path(source), Path(out)
    if salt is not None and len(salt) < LEAST_SALT:
        raise ConfigError(f"A salt needs at least {LEAST_SALT} bytes, or pseudonyms can be guessed: "
                          "`head -c 32 /dev/urandom > FILE` makes one.")
    if not source.exists():
        raise ClipError("The input does not exist: check the path of the folder to de-identify.")
    _check_apart(source, out)
    lasting = salt is not None
    salt = salt or secrets.token_bytes(32)
    with atomic_folder(out, "deid", lasting=lasting, apart=[source]) as folder:
        inputs, closed = list_inputs(source)
        if not inputs and not closed:
            raise ClipError("This folder holds no file: give a folder of DICOM files.")
        done = folder.with_name("done")
        done.mkdir(exist_ok=True)
        journal = Journal(done, salt, shift_dates)
        quarantined = {len(inputs) + n: Reason.FOLDER_UNREADABLE for n in range(1, closed + 1)}
        accepted: dict[int, Facts] = {}
        staged: dict[int, Path] = {}
        with Worker(salt, shift_dates, limits or Limits()) as worker:
            for number, path in enumerate(inputs, 1):
                target = journal.target(path)
                outcome = journal.recall(target)
                if outcome is None:
                    outcome = _outcome(worker, path, target)
                    journal.keep(target, outcome)
                if isinstance(outcome, Reason):
                    quarantined[number] = outcome
                else:
                    accepted[number], staged[number] = outcome, target
                if progress is not None:
                    progress(number, len(inputs))
        quarantined |= _contradictions(accepted)
        clips = _named({number: facts for number, facts in accepted.items() if number not in quarantined})
        write_sheets(folder / "review", [(name, staged[number].with_suffix(".npz")) for name, number, _ in clips])
        _write_table(folder / "manifest.csv", _MANIFEST, (_manifest_row(name, facts) for name, _, facts in clips))
        _write_table(folder / "quarantine.csv", ("number", "reason"), ((n, quarantined[n].value) for n in sorted(quarantined)))
        for name, number, _ in clips:  # last, so that a run that is stopped before has all of them still
            (folder / name).parent.mkdir(exist_ok=True)
            os.replace(staged[number], folder / name)
    return Summary(len(inputs) + closed, tuple(name for name, _, _ in clips), dict(sorted(quarantined.items())))


def list_inputs(source: Path) -> tuple[list[Path], int]:
    """(what is not a folder, in the order of the paths' bytes; how many folders can't be opened). Links to folders are not followed."""
    if not source.is_dir():
        return [source], 0
    closed: list[OSError] = []
    found = []
    for here, folders, files in os.walk(source, onerror=closed.append):
        found += [Path(here, name) for name in files]
        found += [Path(here, name) for name in folders if Path(here, name).is_symlink()]
    return sorted(found, key=os.fsencode), len(closed)


def _outcome(worker: Worker, source: Path, target: Path) -> Facts | Reason:
    try:
        return worker.deidentify(source, target)
    except Refusal as refusal:
        return refusal.reason


def _check_apart(source: Path, out: Path) -> None:
    """What is put out must never be taken for an input."""
    within, around = source.resolve(), out.resolve()
    if within == around or within in around.parents or around in within.parents:
        raise OutputError("The output lies inside the input, or around it: choose a folder elsewhere.")


def _contradictions(accepted: Mapping[int, Facts]) -> dict[int, Reason]:
    """Refusals that only the files together tell: mixed patients, and several files of one SOP instance UID."""
    refused: dict[int, Reason] = {}
    for numbers in _groups(accepted, "instance"):
        # Two patients' or two pictures under one UID: which of them is right can't be told.
        alike = {tuple(accepted[n][key] for key in ("content", "subject", "study", "series")) for n in numbers}
        for number in numbers if len(alike) > 1 else numbers[1:]:
            refused[number] = Reason.CONFLICTING if len(alike) > 1 else Reason.DUPLICATE
    one_of = (("study", ("subject",), Reason.MIXED_STUDY), ("subject", ("name", "birth_date", "sex"), Reason.MIXED_PATIENT))
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
    """(output's name, number, facts): subjects and clips in the order of their pseudonyms, which says nothing of the inputs' order."""
    subjects = sorted(_groups(kept, "subject"), key=lambda numbers: kept[numbers[0]]["subject"])
    return [(f"subject-{s:03d}/clip-{c:03d}.dcm", number, kept[number]) for s, numbers in enumerate(subjects, 1)
            for c, number in enumerate(sorted(numbers, key=lambda n: kept[n]["instance"]), 1)]


def _manifest_row(name: str, facts: Facts) -> tuple[Any, ...]:
    spacing = [f"{mm:.5g}" for mm in facts["spacing_mm"]] if facts["spacing_mm"] else ["", ""]
    return (name, *(facts[key] for key in _MANIFEST[1:-2]), *spacing)


def _write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
