"""From what a user writes to an archive that is open."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from echokdm.core.errors import ConfigError
from echokdm.pacs.archive import Archive
from echokdm.pacs.dicomweb import TOKEN, DicomWeb
from echokdm.pacs.dimse import Dimse, Peer
from echokdm.pacs.receiver import Station, check_title

FORMS = "https://HOST/dicom-web, or dimse://AET@HOST:PORT (dimses for TLS)"


class Address(NamedTuple):
    """An archive's place, without what is asked of it, and that: values by DICOM keyword."""

    place: SplitResult
    query: dict[str, str]


def read_address(url: str) -> Address:
    """A URL, which may hold a query as a web page's does: https://HOST/dicom-web?ModalitiesInStudy=US. Raises
    ConfigError."""
    try:
        place = urlsplit(url)
        port, pairs = place.port, parse_qsl(place.query, keep_blank_values=True, strict_parsing=bool(place.query))
    except ValueError:
        raise ConfigError(f"The archive's URL can't be read: its form is {FORMS}.") from None
    older = place.scheme in ("dimse", "dimses")
    if place.password is not None or (place.username is not None and not older):
        raise ConfigError(
            f"A URL with a user or password ends in logs: leave them out, and set {TOKEN} to a token instead."
        )
    if (
        place.scheme not in ("http", "https", "dimse", "dimses")
        or not place.hostname
        or (older and not (place.username and port))
    ):
        raise ConfigError(f"The archive's URL can't be read: its form is {FORMS}.")
    return Address(place._replace(query="", fragment=""), read_query(f"{key}={value}" for key, value in pairs))


def read_query(texts: Iterable[str]) -> dict[str, str]:
    """KEYWORD=VALUE texts. Raises ConfigError for what is no attribute of DICOM, one named twice, or a value that can't
    be one."""
    from pydicom.datadict import tag_for_keyword

    query: dict[str, str] = {}
    for text in texts:
        keyword, _, value = text.partition("=")
        if tag_for_keyword(keyword) is None or keyword in query or not value.isprintable() or not 0 < len(value) <= 64:
            raise ConfigError(
                "--query takes KEYWORD=VALUE, each keyword of DICOM once, such as ModalitiesInStudy=US or "
                "StudyDate=20240101-20241231: check how it was written."
            )
        query[keyword] = value
    return query


def read_study(uid: str) -> str:
    """A study's UID. Raises ConfigError where it is none."""
    if not re.fullmatch(r"[0-9.]{1,64}", uid):
        raise ConfigError("--study takes a Study Instance UID, of digits and dots: check how it was written.")
    return uid


@contextmanager
def open_archive(place: SplitResult, station: Station | None = None) -> Iterator[Archive]:
    """The archive at an `Address.place`, until the block ends. station: this side of it, for DIMSE. Raises
    ConfigError."""
    archive: Archive
    if place.scheme in ("http", "https"):
        archive = DicomWeb(urlunsplit(place))
    else:
        assert place.username and place.hostname and place.port  # `read_address` asks for them
        archive = Dimse(
            Peer(check_title(place.username), place.hostname, place.port, place.scheme == "dimses"),
            station or Station(),
        )
    try:
        yield archive
    finally:
        archive.close()
