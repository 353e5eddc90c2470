"""Errors a user can cause and mend. The command line prints their one sentence and exits with code 2."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class EchoKDMError(Exception):
    """Base of every error whose message is one clear sentence: what, why, and the way out."""


class ClipError(EchoKDMError):
    """A file is not a usable clip: unreadable, not ultrasound, a single frame where motion is needed."""


class PrintError(ClipError):
    """Something that may be print lies over a clip's sector, so that a name might leave with its pixels."""

    def __init__(self) -> None:
        super().__init__(
            "What may be burned-in text lies over the sector: crop or blacken it (`echokdm deid` would quarantine the clip "
            "too) or, if it names nobody, pass --allow-print (allow_print=True in Python)."
        )


class SearchError(ClipError):
    """A clip's sector can't be searched for print, since the network that finds words is missing or fails; so no clip
    may be put out."""

    def __init__(self) -> None:
        super().__init__(
            "The sector can't be searched for print, since the text detector that comes with rapidocr is missing or does not "
            "run here: install again with `pip install -c constraints.txt -e .`, or pass --allow-print (allow_print=True in "
            "Python) if the clip's print names nobody."
        )


class GeometryError(EchoKDMError):
    """Key-points, a mask or a sector are not usable: empty, self-crossing, outside, of the wrong count."""


class ViewError(GeometryError):
    """The heart is seen from elsewhere than an apical four-chamber view. finding: the sentence that says so, without
    the way out."""

    def __init__(self, finding: str) -> None:
        super().__init__(
            f"{finding} Give an apical 4-chamber clip, or pass --any-view (any_view=True in Python) to work on this one."
        )
        self.finding = finding


class ConfigError(EchoKDMError):
    """A configuration names something that does not exist or has a value of the wrong kind."""


class BundleError(EchoKDMError):
    """A bundle of trained weights is missing or damaged."""


class OutputError(EchoKDMError):
    """An output can't be written: the folder exists, the disk is full."""


class BusyError(OutputError):
    """Another run is at work in the output folder."""


class ArchiveError(EchoKDMError):
    """A hospital's archive can't be reached, refuses what is asked, or answers with something else."""


class NoGainError(EchoKDMError):
    """What was learned is no better than what was there before, and is not kept."""


class DataError(EchoKDMError):
    """A folder of data is not what its adapter expects; the message counts every problem.

    problems: for each kind of problem, what it concerns. usable: the index of the sequences without one, where there is
    one.
    """

    def __init__(self, message: str, problems: Mapping[str, list[str]] | None = None, usable: Any = None) -> None:
        super().__init__(message)
        self.problems, self.usable = dict(problems or {}), usable


@contextmanager
def one_sentence(sentence: str, kind: type[EchoKDMError] = ClipError) -> Iterator[None]:
    """The guard around a parser: whatever it throws becomes `kind(sentence)`, since damaged input raises what no list
    of types foresees.

    The package's own errors, which say more, pass.
    """
    try:
        yield
    except EchoKDMError:
        raise
    except Exception:
        raise kind(sentence) from None
