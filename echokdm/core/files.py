"""What may be opened at all: plain files. A pipe or a device never ends, and a socket is none."""

import os
import stat
from pathlib import Path

from echokdm.core.errors import ClipError, EchoKDMError


def check_plain(path: str | os.PathLike[str], kind: type[EchoKDMError] = ClipError) -> Path:
    """`path`, where it is a file, a folder or not there; every reader asks before it opens.

    Raises `kind`: a FIFO, a socket or a device, or a name that no file can have. What is not there is left to the
    reader's own words.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except ValueError:  # a NUL in it
        raise kind("A path holds a character that no file's name can have: check how it was written.") from None
    except OSError:
        return path
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise kind("A path leads to a pipe, a socket or a device: save what comes from there as a file first.")
    return path
