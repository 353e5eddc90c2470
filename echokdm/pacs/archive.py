"""What both doors of an archive have in common: what can be asked of it, what it lists, and how long a fault is waited
out."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from echokdm.core.errors import ArchiveError
from echokdm.core.quiet import quiet

if TYPE_CHECKING:
    from pydicom import Dataset

Answer = TypeVar("Answer")

WAITS = (1.0, 2.0, 4.0)
"""Seconds before each further try: an archive that is started anew, or a line that is dropped, is mostly back by
then."""


@contextmanager
def untold() -> Iterator[None]:
    """Within it the libraries that speak to archives log nothing: they quote URLs, UIDs and what was read."""
    with quiet("dicomweb_client"), quiet("pydicom"), quiet("pynetdicom"), quiet("urllib3"):
        yield


class Instance(NamedTuple):
    """One object of an archive, by the UIDs of its study, its series and itself. Only an archive is ever told them.

    kind: the UID of its storage class, "" where the archive does not tell.
    """

    study: str
    series: str
    uid: str
    kind: str


class Archive(Protocol):
    """A door that is open. Every method raises ArchiveError: a fault that stays, or one that `WAITS` did not
    outlast."""

    def studies(self, query: Mapping[str, str]) -> list[str]:
        """UIDs of the studies whose attributes match, as C-FIND and QIDO-RS match them (PS3.4 C.2.2.2). query: values
        by keyword."""

    def instances(self, study: str) -> list[Instance]:
        """What a study holds."""

    def retrieve(self, instance: Instance, file: Path) -> None:
        """Write an object, as it is stored or in another transfer syntax, to `file`. Raises Refusal where it is listed
        and not given."""

    def store(self, file: Path) -> bool:
        """Store a DICOM file; whether the archive took it."""

    def close(self) -> None:
        """End what was begun."""


class PassingError(ArchiveError):
    """A fault that may pass: no answer, a busy archive, a reply cut off."""


def patiently(ask: Callable[[], Answer]) -> Answer:
    """What `ask` gives, asked again after each of `WAITS` while it raises PassingError. Raises the last of these."""
    for wait in WAITS:
        try:
            return ask()
        except PassingError:
            time.sleep(wait)
    return ask()


def listed(found: "Dataset", study: str) -> Instance | None:
    """An object of a study as an archive lists it; None where a UID is missing."""
    series, uid, kind = (str(found.get(name) or "") for name in ("SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"))
    return Instance(study, series, uid, kind) if series and uid else None
