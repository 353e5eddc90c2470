"""This station on the DICOM network: who it is, and its ear for C-STORE (PS3.4 B)."""

import errno
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from echokdm.core import defaults
from echokdm.core.errors import ConfigError
from echokdm.deid.one_file import STORAGE_CLASSES

STORED, NOT_UNDERSTOOD = 0x0000, 0xC000  # PS3.4 B.2.3
MISSING = "C-STORE, C-FIND and C-MOVE need pynetdicom, which is not installed: pip install 'echokdm[pacs]'."


@dataclass(frozen=True)
class Station:
    """aet: its AE title (PS3.5 6.2), by which archives know it. host, port: where it listens, as long as it has to.

    certificate: a PEM file with certificate and key; with it, what arrives has to come by TLS. Raises ConfigError for a
    title that can't be.
    """

    aet: str = defaults.AET
    host: str = defaults.HOST
    port: int = defaults.PORT
    certificate: Path | None = None

    def __post_init__(self) -> None:
        check_title(self.aet)


def check_title(title: str) -> str:
    """An AE title, where it is one. Raises ConfigError."""
    if (
        not 1 <= len(title) <= 16
        or not title.isascii()
        or not title.isprintable()
        or "\\" in title
        or title.strip() != title
    ):
        raise ConfigError("An AE title is of 1 to 16 ASCII characters without a backslash: check how it was written.")
    return title


@contextmanager
def receiving(station: Station, keep: Callable[[str, bytes], int]) -> Iterator[None]:
    """While the block lasts, ultrasound images that are sent to the station go to `keep`, each as (SOP instance UID,
    DICOM file).

    keep: called in threads of the associations; gives the status of C-STORE's response. Raises ConfigError where
    pynetdicom is missing, the place can't be listened at, or the certificate is none.
    """
    try:
        from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
        from pynetdicom.dimse_primitives import C_STORE
        from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time
    except ImportError:
        raise ConfigError(MISSING) from None

    def store(event: evt.Event) -> int:
        assert isinstance(event.request, C_STORE)  # as the event says
        return keep(str(event.request.AffectedSOPInstanceUID), event.encoded_dataset())

    ear = AE(station.aet)
    ear.require_called_aet = True
    ear.add_supported_context(Verification)
    for kind in STORAGE_CLASSES:
        ear.add_supported_context(kind, ALL_TRANSFER_SYNTAXES)
    context = None if station.certificate is None else serving(station.certificate)
    try:
        server = ear.start_server(
            (station.host, station.port), block=False, ssl_context=context, evt_handlers=[(evt.EVT_C_STORE, store)]
        )
    except (OSError, OverflowError) as error:
        why = (
            "is taken by another program"
            if getattr(error, "errno", None) == errno.EADDRINUSE
            else "can't be listened at on this host"
        )
        raise ConfigError(
            f"The port {station.port} {why}: choose another with --port, or another address with --host."
        ) from None
    try:
        yield
    finally:
        assert server is not None  # it does not block
        server.shutdown()


def serving(certificate: Path) -> ssl.SSLContext:
    """The context of a TLS server with a PEM file. Raises ConfigError where it holds no certificate with its key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_certificate(context, certificate)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path) -> None:
    """Give a context the certificate and key in a PEM file. Raises ConfigError where it holds none."""
    try:
        context.load_cert_chain(certificate)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            "The file of --certificate holds no certificate with its key: give one PEM file that has both."
        ) from None
