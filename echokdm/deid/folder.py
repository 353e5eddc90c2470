"""`deidentify_folder`: every file of a folder is put out without its patient, or quarantined with a reason."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from echokdm.core.errors import ClipError, OutputError
from echokdm.deid.batch import Summary, begin_batch
from echokdm.deid.reasons import Reason
from echokdm.deid.worker_process import Limits


def deidentify_folder(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    salt: bytes | None = None,
    shift_dates: bool = False,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """De-identify echo DICOM by PS3.15 Annex E (Basic Profile, Clean Pixel Data Option), fails closed.

    source: a folder, read with all folders in it, or one file. out: a folder that must not exist yet; it gets
    subject-NNN/clip-NNN.dcm, manifest.csv (one row an output), quarantine.csv (number and reason of each refused input)
    and review/ (sheets of pictures, to be looked at before anything is passed on). Inputs are numbered from 1 as `find
    SOURCE ! -type d | LC_ALL=C sort` lists them.

    salt: a secret of at least 16 bytes; the same one gives the same pseudonyms, UIDs and shifts, and the same bytes.
    Without it one is drawn for this run and forgotten. With one, a run that was stopped goes on: what it had done lies,
    hidden, beside `out`. shift_dates: keep study dates, all of a patient's moved back by the same one to ten years,
    rather than none. limits: for each single file. progress: called with (files done, files in all).

    Raises ClipError where there is no input, ConfigError for a short salt, and OutputError where `out` exists, lies
    inside the source or around it, is another run's at the moment, or can't be written. No fault of a single file
    raises.
    """
    source, out = Path(source), Path(out)
    if not source.exists():
        raise ClipError("The input does not exist: check the path of the folder to de-identify.")
    _check_apart(source, out)
    with begin_batch(out, salt=salt, shift_dates=shift_dates, limits=limits, apart=[source]) as batch:
        inputs, closed = list_inputs(source)
        if not inputs and not closed:
            raise ClipError("This folder holds no file: give a folder of DICOM files.")
        for number, path in enumerate(inputs, 1):
            batch.take(_state(path), partial(_in_place, path))
            if progress is not None:
                progress(number, len(inputs))
        for _ in range(closed):
            batch.refuse(Reason.FOLDER_UNREADABLE)
        return batch.put_out()


def list_inputs(source: Path) -> tuple[list[Path], int]:
    """(what is not a folder, in the order of the paths' bytes; how many folders can't be opened). Links to folders are
    not followed."""
    if not source.is_dir():
        return [source], 0
    closed: list[OSError] = []
    found = []
    for here, folders, files in os.walk(source, onerror=closed.append):
        found += [Path(here, name) for name in files]
        found += [Path(here, name) for name in folders if Path(here, name).is_symlink()]
    return sorted(found, key=os.fsencode), len(closed)


def _in_place(path: Path) -> nullcontext[Path]:
    return nullcontext(path)


def _state(path: Path) -> tuple[bytes, tuple[int, ...]]:
    """By which a file is known again: its path, size and time of change."""
    try:
        found = path.stat()
        state: tuple[int, ...] = (found.st_size, found.st_mtime_ns)
    except OSError:
        state = ()
    return os.fsencode(os.path.abspath(path)), state


def _check_apart(source: Path, out: Path) -> None:
    """What is put out must never be taken for an input."""
    within, around = source.resolve(), out.resolve()
    if within == around or within in around.parents or around in within.parents:
        raise OutputError("The output lies inside the input, or around it: choose a folder elsewhere.")
