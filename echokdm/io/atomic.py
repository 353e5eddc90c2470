"""Outputs appear whole or not at all, and are one run's at a time: written under a temporary name, moved into place
when done.

What a killed run leaves is known again: files by their temporary name, which only folders of the caller's own are
searched for; folders by that and a mark inside, a file that says which command made it. Nothing else is ever removed.
"""

import errno
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from echokdm.core.errors import BusyError, OutputError
from echokdm.core.naming import called
from echokdm.core.stopping import undisturbed

LOCK = ".lock"
"""The lock's name in a folder that grows in its place, see `claim`."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_SPACE_FLOOR = 1 << 20  # bytes; a write that fails with less than this left failed for want of space
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp\.(.+)", re.DOTALL)
_MARK, _RESULT = "made-by-echokdm-", "result"  # in a staging folder: the first is followed by the command's name


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
    # forbidden may also be a file that the block reads elsewhere
    at_fault = Path(getattr(origin, "filename", None) or path)
    if number in _FORBIDDEN and (at_fault == path.parent or path.parent in at_fault.parents):
        return OutputError(
            f"{called('The output', path)} can't be written here: no permission; choose another output with --out."
        )
    full = number in _FULL
    if not full and isinstance(error, Exception):
        # Some writers, torch.save among them, raise an exception of their own without a number.
        folder = next(p for p in (path, *path.parents) if p.exists())
        full = shutil.disk_usage(folder).free < _SPACE_FLOOR
    if full:
        return OutputError(
            f"The disk is full: {called('the output', path)} was not written; free some space or choose "
            "another output with --out."
        )
    return None


def _check_absent(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputError(
            f"{called('The output', path)} exists already; pass --overwrite to replace it or choose another with --out."
        )


@contextmanager
def atomic_file(path: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; it becomes `path` when the block ends without an exception.

    On any exception, Ctrl-C among them, nothing is left behind and an older file stays as it was. Missing parent
    folders are made. Raises OutputError where the file exists and `overwrite` is false, where `path` is a folder,
    the disk is full or the place can't be written.
    """
    path = Path(os.path.realpath(path))  # a link keeps pointing; what it points to is replaced
    if path.is_dir():
        raise OutputError(f"{called('The output', path)} is a folder; name a file.")
    _check_absent(path, overwrite)
    made = _make_parents(path.parent)
    temporary = _temporary_beside(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with undisturbed():
            temporary.unlink(missing_ok=True)
            _remove_if_empty(made)
        translated = _output_error(error, path)
        if translated is not None:
            raise translated from error
        raise


@contextmanager
def claim(
    out: str | os.PathLike[str],
    command: str,
    *,
    inside: bool = False,
    lasting: bool = False,
    apart: Sequence[Path] = (),
) -> Iterator[None]:
    """Hold the folder `out` for this run alone, and clear away what killed runs of the same command left hidden beside
    it.

    The lock is an empty file beside `out` that a dead process does not hold or, with `inside`, for folders that grow in
    their place, one in it, and then nothing is cleared away: see `clear_files`. Both go at the end, with the parent
    folders that were made and stayed empty. A claim within a claim of the same process does nothing. lasting: keep what
    a killed run did of its work, see `atomic_folder`. apart: inputs; a staging folder that is or holds one stays as it
    is. Raises BusyError where another run holds `out`, OutputError where the place can't be written.
    """
    from filelock import FileLock, Timeout

    out = Path(os.path.realpath(out))
    path = out / LOCK if inside else out.parent / f".{out.name}.echokdm-lock"
    made = _make_parents(path.parent)
    try:
        lock = FileLock(path, timeout=0, is_singleton=True)
        outermost = not lock.is_locked
        if outermost and path.exists() and (not path.is_file() or path.stat().st_size):
            raise OutputError(
                f"Where the lock of {called('the output folder', out)} belongs lies something else; choose another with "
                "--out."
            )
        try:
            lock.acquire()
        except Timeout:
            raise BusyError(
                f"Another run is at work in {called('the output folder', out)}: wait for its end, or stop it."
            ) from None
        except OSError as error:
            raise _output_error(error, path) or error from error
        try:
            for left in _staging(out, command, apart) if outermost and not inside else ():
                if not lasting or _is_spent(left):
                    shutil.rmtree(left, ignore_errors=True)
            yield
        finally:
            with undisturbed():
                if outermost:
                    with suppress(OSError):  # Windows lets the release alone do it
                        path.unlink()  # while it is held: whoever waits at the file that goes is refused
                lock.release()
    finally:
        _remove_if_empty(made)


def clear_files(folder: Path) -> None:
    """Remove what `atomic_file` left anywhere in a folder, all of which is the caller's own, when its process was
    killed."""
    for left in folder.rglob(".*.tmp.*"):
        if _TEMPORARY.fullmatch(left.name) and left.is_file():
            left.unlink(missing_ok=True)


def _staging(out: Path, command: str, apart: Sequence[Path]) -> list[Path]:
    """The staging folders that a command which is dead left for `out`; empty ones lack their mark yet, or no longer
    have it."""
    inputs = [path.resolve() for path in apart]
    found = []
    for path in sorted(out.parent.glob(f".*.tmp.{glob.escape(out.name)}")):
        if (
            _TEMPORARY.fullmatch(path.name)
            and path.is_dir()
            and not path.is_symlink()
            and os.access(path, os.R_OK | os.W_OK | os.X_OK)
        ):
            entries = [entry.name for entry in path.iterdir()]
            ours = not entries or f"{_MARK}{command}" in entries
            if ours and not any(path == near or path in near.parents for near in inputs):
                found.append(path)
    return found


def _is_spent(staging: Path) -> bool:
    """Whether a staging folder holds nothing but its mark."""
    return all(entry.name.startswith(_MARK) for entry in staging.iterdir())


@contextmanager
def atomic_folder(
    path: str | os.PathLike[str],
    command: str,
    overwrite: bool = False,
    *,
    lasting: bool = False,
    apart: Sequence[Path] = (),
) -> Iterator[Path]:
    """Yield a new folder to fill; it becomes `path` when the block ends without an exception. The whole time `path` is
    claimed.

    command: whose output it is. The folder lies alone in a staging folder beside `path`, open to nobody else, of a name
    that was free; what the block puts beside it there goes at the end. On any exception, Ctrl-C and a stop among them,
    nothing is left behind and an older folder stays as it was; with `lasting` what lies beside it stays, also after a
    kill, for the next run to go on with. With `overwrite`, each entry written replaces its namesake in the older
    folder; entries that were not written again are kept, so that a folder of other things named by mistake loses
    nothing. apart: see `claim`, which it raises as. Raises OutputError at once, before any work, where the folder
    exists and `overwrite` is false, where `path` is a file, or the place can't be written; later where the disk is
    full.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_dir():
        raise OutputError(f"{called('The output', path)} is a file; name a folder.")
    with claim(path, command, lasting=lasting, apart=apart):
        _check_absent(path, overwrite)
        left = _staging(path, command, apart) if lasting else []
        staging = left[0] if left else _temporary_beside(path)
        folder, made, stays = staging / _RESULT, bool(left), lasting
        try:
            with undisturbed():
                if not made:
                    staging.mkdir(0o700)
                    made = True
                    (staging / f"{_MARK}{command}").touch()
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
            yield folder
            with undisturbed():
                _check_absent(path, overwrite)
                stays = False
                if path.exists():
                    _merge(folder, path, staging / "aside")
                else:
                    for entry in staging.iterdir():  # before the move: what is left after it is known to be spent
                        if entry != folder and not entry.name.startswith(_MARK):
                            _remove(entry)
                    os.rename(folder, path)
                shutil.rmtree(staging, ignore_errors=True)
        except BaseException as error:
            with undisturbed():
                if made:
                    shutil.rmtree(folder, ignore_errors=True)
                    if staging.exists() and (not stays or _is_spent(staging)):
                        shutil.rmtree(staging, ignore_errors=True)
            translated = _output_error(error, path)
            if translated is not None:
                raise translated from error
            raise


def _merge(new: Path, old: Path, aside: Path) -> None:
    """Move each entry of `new` into `old` over its namesake; `aside`, a new folder, takes folders that give way."""
    aside.mkdir()
    for entry in sorted(new.iterdir()):
        target = old / entry.name
        if target.is_dir() or (target.exists() and entry.is_dir()):
            os.rename(target, aside / entry.name)
        try:
            os.replace(entry, target)
        except OSError:
            if (aside / entry.name).exists():
                os.rename(aside / entry.name, target)
            raise
