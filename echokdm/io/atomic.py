"""Outputs appear whole or not at all: written under a temporary name, moved into place when done."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from echokdm.core.errors import OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_SPACE_FLOOR = 1 << 20  # bytes; a write that fails with less than this left failed for want of space


def _make_parents(folder: Path) -> list[Path]:
    """Create `folder` and what is missing above it; returns what was created, outermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    missing.reverse()
    for parent in missing:
        try:
            parent.mkdir(exist_ok=True)
        except OSError as error:
            raise _output_error(error, parent) or error from error
    return missing


def _remove_if_empty(folders: list[Path]) -> None:
    for folder in reversed(folders):
        try:
            folder.rmdir()
        except OSError:
            return


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> Path:
    """A hidden name in the same folder, so that the move is a rename; the suffix is kept, since writers go by it."""
    return path.with_name(f".{secrets.token_hex(4)}.tmp.{path.name}")


def _error_number(error: BaseException) -> int | None:
    """The system's error number; safetensors tells it in its text alone."""
    told = re.search(r"\(os error (\d+)\)", str(error))
    return getattr(error, "errno", None) or (int(told[1]) if told else None)


def _output_error(error: BaseException, path: Path) -> OutputError | None:
    """The one sentence for a failure of the disk; None where the failure is another."""
    origin: BaseException | None = error
    while origin is not None and _error_number(origin) is None:
        origin = origin.__cause__ or origin.__context__  # some writers wrap the system's error in one of their own
    number = None if origin is None else _error_number(origin)
    at_fault = Path(getattr(origin, "filename", None) or path)  # forbidden may also be a file that the block reads elsewhere
    if number in _FORBIDDEN and (at_fault == path.parent or path.parent in at_fault.parents):
        return OutputError(f"'{path.name}' can't be written here: no permission; choose another output with --out.")
    full = number in _FULL
    if not full and isinstance(error, Exception):
        # Some writers, torch.save among them, raise an exception of their own without a number.
        folder = next(p for p in (path, *path.parents) if p.exists())
        full = shutil.disk_usage(folder).free < _SPACE_FLOOR
    if full:
        return OutputError(f"The disk is full: '{path.name}' was not written; free some space or choose another output with --out.")
    return None


def _check_absent(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputError(f"The output '{path.name}' exists already; pass --overwrite to replace it or choose another with --out.")


@contextmanager
def atomic_file(path: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; it becomes `path` when the block ends without an exception.

    On any exception, Ctrl-C among them, nothing is left behind and an older file stays as it was. Missing parent
    folders are made. Raises OutputError where the file exists and `overwrite` is false, where `path` is a folder,
    the disk is full or the place can't be written.
    """
    path = Path(os.path.realpath(path))  # a link keeps pointing; what it points to is replaced
    if path.is_dir():
        raise OutputError(f"The output '{path.name}' is a folder; name a file.")
    _check_absent(path, overwrite)
    made = _make_parents(path.parent)
    temporary = _temporary_beside(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        translated = _output_error(error, path)
        _remove_if_empty(made)
        if translated is not None:
            raise translated from error
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a new temporary folder beside `path` to fill; it becomes `path` when the block ends without an exception.

    On any exception, Ctrl-C among them, nothing is left behind and an older folder stays as it was. With `overwrite`,
    each entry written replaces its namesake in the older folder; entries that were not written again are kept, so
    that a folder of other things named by mistake loses nothing. Raises OutputError at once, before any work, where
    the folder exists and `overwrite` is false, where `path` is a file, or the place can't be written; later where the
    disk is full.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_dir():
        raise OutputError(f"The output '{path.name}' is a file; name a folder.")
    _check_absent(path, overwrite)
    made = _make_parents(path.parent)
    temporary = _temporary_beside(path)
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            _merge(temporary, path)
        else:
            os.rename(temporary, path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        translated = _output_error(error, path)
        _remove_if_empty(made)
        if translated is not None:
            raise translated from error
        raise


def _merge(new: Path, old: Path) -> None:
    """Move each entry of `new` into `old` over its namesake, then drop `new`."""
    for entry in sorted(new.iterdir()):
        target = old / entry.name
        if target.is_dir() or (target.exists() and entry.is_dir()):
            aside = _temporary_beside(target)
            os.rename(target, aside)
            os.rename(entry, target)
            _remove(aside)
        else:
            os.replace(entry, target)
    new.rmdir()
