"""`fetch`: clips out of an archive, each de-identified as it arrives."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from echokdm.core.errors import ArchiveError, ConfigError
from echokdm.deid import Batch, Summary, begin_batch
from echokdm.deid.one_file import STORAGE_CLASSES
from echokdm.pacs.archive import Archive, Instance, untold
from echokdm.pacs.door import open_archive, read_address, read_study
from echokdm.pacs.receiver import Station


@dataclass(frozen=True)
class Asked:
    """What is fetched: these studies and all that match the query. studies: UIDs. query: values by keyword, at the
    level of studies."""

    studies: Sequence[str] = ()
    query: Mapping[str, str] = field(default_factory=dict)


@untold()
def fetch(
    url: str,
    out: str | os.PathLike[str],
    asked: Asked | None = None,
    *,
    salt: bytes | None = None,
    shift_dates: bool = False,
    station: Station | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Fetch ultrasound from an archive; what arrives is de-identified before the next is asked for.

    url: https://HOST/dicom-web for DICOMweb or dimse://AET@HOST:PORT for C-FIND and C-MOVE, perhaps with a query. out,
    salt, shift_dates: as `deidentify_folder` takes them, and the folder is as it writes; with a salt, a run that was
    stopped goes on, and fetches nothing twice.
    Inputs are numbered in the order of their UIDs. station: this side, for DIMSE. progress: called with (objects done,
    objects in all).

    An object is on this disk as it came only until the next, in a hidden folder that nobody else can open; where the
    process is killed meanwhile, the next run into `out` removes it.

    Raises ConfigError for a URL, query or salt that can't be, ArchiveError where the archive can't be reached, refuses,
    or has nothing of what is asked, and OutputError as `deidentify_folder` does.
    """
    place, query = read_address(url)
    asked = asked or Asked()
    query |= asked.query
    if not query and not asked.studies:
        raise ConfigError(
            "What to fetch is not said: name a study with --study, or attributes with --query, such as ModalitiesInStudy=US."
        )
    studies = [read_study(uid) for uid in asked.studies]
    with open_archive(place, station) as archive, begin_batch(Path(out), salt=salt, shift_dates=shift_dates) as batch:
        found = _listed(archive, studies, query)
        for number, instance in enumerate(found, 1):
            batch.take((place.geturl(), instance.uid), partial(_brought, archive, instance, batch))
            if progress is not None:
                progress(number, len(found))
        return batch.put_out()


@untold()
def count_listed(url: str) -> int:
    """How many objects `fetch` would fetch by the query of a URL. Raises as `fetch` does."""
    place, query = read_address(url)
    with open_archive(place) as archive:
        return len(_listed(archive, [], query))


def _listed(archive: Archive, studies: Sequence[str], query: Mapping[str, str]) -> list[Instance]:
    """Ultrasound images of studies and of those that match a query, in the order of their UIDs. Raises ArchiveError
    where there is none."""
    matching = archive.studies(query) if query else []
    found = {instance for study in dict.fromkeys([*studies, *matching]) for instance in archive.instances(study)}
    ultrasound = sorted((one for one in found if one.kind in ("", *STORAGE_CLASSES)), key=lambda one: one.uid)
    if not ultrasound:
        raise ArchiveError("The archive has no ultrasound image of what is asked for: check the studies and the query.")
    return ultrasound


@contextmanager
def _brought(archive: Archive, instance: Instance, batch: Batch) -> Iterator[Path]:
    file = batch.arrivals / "arrived.dcm"
    try:
        archive.retrieve(instance, file)
        yield file
    finally:
        file.unlink(missing_ok=True)
