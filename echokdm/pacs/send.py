"""`send`: DICOM files into an archive, each once."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from echokdm.core.errors import ArchiveError, ClipError, ConfigError, one_sentence
from echokdm.core.files import check_plain
from echokdm.core.naming import called
from echokdm.deid.folder import list_inputs
from echokdm.pacs.archive import Archive, untold
from echokdm.pacs.door import open_archive, read_address
from echokdm.pacs.receiver import Station


@dataclass(frozen=True)
class Sent:
    """How many files were stored, how many the archive had already, and how many it refused."""

    stored: int
    there: int
    refused: int


class _Outgoing(NamedTuple):
    file: Path
    study: str
    uid: str


@untold()
def send(
    url: str,
    files: Sequence[str | os.PathLike[str]],
    *,
    station: Station | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sent:
    """Store DICOM files in an archive, byte for byte what they hold: nothing is taken out of them, which is for `deid`
    to do before.

    url: as of `fetch`. files: files, and folders that are read with all folders in them; what in a folder is no DICOM
    is left out. What the archive has already is not sent again, so that a run which was stopped goes on. progress:
    called with (files done, files in all).

    Raises ConfigError for a URL that can't be, ClipError where a named file is no DICOM or there is none, ArchiveError
    where the archive can't be reached or refuses the access.
    """
    place, query = read_address(url)
    if query:
        raise ConfigError("A URL to send to holds no query: leave out what comes after the question mark.")
    outgoing = list(dict.fromkeys(_outgoing(Path(file) for file in files)))
    if not outgoing:
        raise ClipError("There is no DICOM file to send: check the paths.")
    stored = there = refused = 0
    with open_archive(place, station) as archive:
        known = {study: _known(archive, study) for study in dict.fromkeys(one.study for one in outgoing)}
        for number, one in enumerate(outgoing, 1):
            if one.uid in known[one.study]:
                there += 1
            elif _store(archive, one.file):
                stored += 1
                known[one.study].add(one.uid)
            else:
                refused += 1
            if progress is not None:
                progress(number, len(outgoing))
    return Sent(stored, there, refused)


def _known(archive: Archive, study: str) -> set[str]:
    """UIDs of what the archive has of a study; nothing where it can be stored to and not be asked."""
    with suppress(ArchiveError):
        return {instance.uid for instance in archive.instances(study)}
    return set()


def _store(archive: Archive, file: Path) -> bool:
    with one_sentence("A file to send is damaged, or was moved meanwhile: leave it out."):
        return archive.store(file)


def _outgoing(paths: Iterable[Path]) -> Iterable[_Outgoing]:
    from pydicom import dcmread

    for path in paths:
        for file in list_inputs(path)[0]:
            try:
                header = dcmread(
                    check_plain(file), specific_tags=["StudyInstanceUID", "SOPInstanceUID"], stop_before_pixels=True
                )
                study, uid = (str(header[name].value) for name in ("StudyInstanceUID", "SOPInstanceUID"))
            except Exception:  # pydicom raises many types, with values of the header in their text
                if file == path:
                    raise ClipError(
                        f"{called('A file to send', file)} is no DICOM object that an archive takes: check the path."
                    ) from None
                continue
            yield _Outgoing(file, study, uid)
