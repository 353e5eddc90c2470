"""How what is on a disk is told: by what it is, its place or a salted hash, since names of files and folders may be
patients' names.

Names themselves are shown only where the user asks, `--show-names` of every command; whatever puts out a text goes by
this module.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

_shown = ContextVar("shown", default=False)


@contextmanager
def showing_names(on: bool = True) -> Iterator[None]:
    """Show names within the block, or don't."""
    before = _shown.set(on)
    try:
        yield
    finally:
        _shown.reset(before)


def names_shown() -> bool:
    """Whether names are shown."""
    return _shown.get()


def called(what: str, path: str | os.PathLike[str]) -> str:
    """`what`, such as "The tracing file", by which a message tells the one that is meant; its name after it where names
    are shown."""
    return f"{what} '{Path(path).name}'" if names_shown() else what


def pseudonym(name: str) -> str:
    """What stands for a name that has no place: the same for the same name, in this run alone."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), key=_salt(), digest_size=4)
    return f"name {digest.hexdigest()}"


@cache
def _salt() -> bytes:
    return secrets.token_bytes(32)
