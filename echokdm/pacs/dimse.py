"""An archive's older door (PS3.4 B, C): C-FIND to search, C-MOVE to retrieve, C-STORE to store."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from echokdm.core.errors import ArchiveError, ConfigError
from echokdm.deid.reasons import Reason, Refusal
from echokdm.pacs.archive import Instance, PassingError, listed, patiently
from echokdm.pacs.receiver import MISSING, NOT_UNDERSTOOD, STORED, Station, load_certificate, receiving

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom.association import Association

_SECONDS = 120.0  # until the next message
_CONNECT_SECONDS = 10.0
_UNKNOWN_DESTINATION, _BUSY = 0xA801, (0xA700, 0xA701, 0xA702)  # PS3.4 C.4.2.1.5
_LOST = "The archive can't be reached, or ends the talk: check host and port, that its server runs, and with TLS its certificate."


class Peer(NamedTuple):
    """The archive's AE title, host, port, and whether it is spoken to by TLS."""

    aet: str
    host: str
    port: int
    tls: bool


class Dimse:
    """An `Archive` that is spoken to by DIMSE. station: this side of it, where C-MOVE has the archive send what is
    retrieved.

    Raises ConfigError where pynetdicom is missing.
    """

    def __init__(self, peer: Peer, station: Station) -> None:
        try:
            import pynetdicom  # noqa: F401
        except ImportError:
            raise ConfigError(MISSING) from None
        self._peer, self._station = peer, station
        self._ear = ExitStack()
        self._listens = False
        self._awaited, self._content = "", b""
        self._arrived = 0

    def studies(self, query: Mapping[str, str]) -> list[str]:
        """See `Archive.studies`."""
        found = self._find("STUDY", {"StudyInstanceUID": "", **query})
        return list(dict.fromkeys(uid for study in found if (uid := str(study.get("StudyInstanceUID") or ""))))

    def instances(self, study: str) -> list[Instance]:
        """See `Archive.instances`."""
        found: list[Instance] = []
        for series in self._find("SERIES", {"StudyInstanceUID": study, "SeriesInstanceUID": ""}):
            uid = str(series.get("SeriesInstanceUID") or "")
            keys = {"StudyInstanceUID": study, "SeriesInstanceUID": uid, "SOPInstanceUID": "", "SOPClassUID": ""}
            for one in self._find("IMAGE", keys) if uid else ():
                one.SeriesInstanceUID = uid
                found += [instance] if (instance := listed(one, study)) else []
        return list(dict.fromkeys(found))

    def retrieve(self, instance: Instance, file: Path) -> None:
        """See `Archive.retrieve`."""
        if not self._listens:
            self._ear.enter_context(receiving(self._station, self._keep))
            self._listens = True
        file.write_bytes(patiently(lambda: self._move(instance)))

    def store(self, file: Path) -> bool:
        """See `Archive.store`."""
        from pydicom.filereader import read_file_meta_info

        meta = read_file_meta_info(file)

        def once() -> bool:
            with self._association(str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)) as talk:
                if talk is None:
                    return False
                status = talk.send_c_store(file)
                if "Status" not in status:
                    raise PassingError(_LOST)
                if status.Status in _BUSY:
                    raise PassingError("The archive has no room or no time for more: run the same command again later.")
                return bool(status.Status == STORED or status.Status >> 12 == 0xB)  # stored, perhaps with a warning

        return patiently(once)

    def close(self) -> None:
        """See `Archive.close`."""
        self._ear.close()

    def _keep(self, uid: str, content: bytes) -> int:
        """Of what arrives, what was ordered."""
        if uid != self._awaited:
            return NOT_UNDERSTOOD
        self._content = content
        self._arrived += 1
        return STORED

    def _move(self, instance: Instance) -> bytes:
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as MODEL  # type: ignore[attr-defined]

        keys = {
            "StudyInstanceUID": instance.study,
            "SeriesInstanceUID": instance.series,
            "SOPInstanceUID": instance.uid,
        }
        self._awaited, self._content = instance.uid, b""
        try:
            with self._association(MODEL) as talk:
                if talk is None:
                    raise ArchiveError(
                        "The archive does no C-MOVE: use its DICOMweb door, or have it send to `echokdm listen`."
                    )
                status = 0
                for answer, _ in talk.send_c_move(_dataset("IMAGE", keys), self._station.aet, MODEL):
                    if "Status" not in answer:
                        raise PassingError(_LOST)
                    status = int(answer.Status)
        finally:
            self._awaited = ""
        if self._content:
            return self._content
        if status in _BUSY:
            raise PassingError("The archive has no time for more: run the same command again later.")
        if status == _UNKNOWN_DESTINATION or not self._arrived:
            raise ArchiveError(
                "The archive sends nothing here: enter this station there, by the AE title, host and port of --aet, --host "
                "and --port, and check that the port can be reached from it."
            )
        raise Refusal(Reason.NOT_GIVEN)

    def _find(self, level: str, keys: Mapping[str, str]) -> list["Dataset"]:
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as MODEL  # type: ignore[attr-defined]

        def once() -> list["Dataset"]:
            with self._association(MODEL) as talk:
                if talk is None:
                    raise ArchiveError(
                        "The archive does no C-FIND: use its DICOMweb door, or have it send to `echokdm listen`."
                    )
                found = []
                for status, one in talk.send_c_find(_dataset(level, keys), MODEL):
                    if "Status" not in status:
                        raise PassingError(_LOST)
                    if status.Status in _BUSY:
                        raise PassingError("The archive has no time for more: run the same command again later.")
                    if status.Status not in (0x0000, 0xFF00, 0xFF01):
                        raise ArchiveError(
                            "The archive refuses the query: check its keys, and whether it lets this station ask."
                        )
                    found += [one] if one is not None else []
                return found

        return patiently(once)

    @contextmanager
    def _association(self, kind: str, syntax: str | None = None) -> Iterator["Association | None"]:
        """For one SOP class; None where the archive does not do that. Raises ArchiveError where it does not talk to
        this station."""
        from pynetdicom import AE

        asking = AE(self._station.aet)
        asking.acse_timeout = asking.connection_timeout = _CONNECT_SECONDS
        asking.dimse_timeout = asking.network_timeout = _SECONDS
        asking.add_requested_context(kind, syntax)  # the default: uncompressed
        talk = asking.associate(self._peer.host, self._peer.port, ae_title=self._peer.aet, tls_args=self._tls())
        if talk.is_rejected:
            raise ArchiveError(
                "The archive refuses to talk to this station: check its AE title in the URL, and whether it knows that of "
                "--aet."
            )
        if not talk.is_established and not talk.rejected_contexts:
            raise PassingError(_LOST)
        try:
            yield talk if talk.is_established and talk.accepted_contexts else None
        finally:
            if talk.is_established:
                talk.release()

    def _tls(self) -> tuple[ssl.SSLContext, str] | None:
        if not self._peer.tls:
            return None
        context = ssl.create_default_context()
        if self._station.certificate is not None:
            load_certificate(context, self._station.certificate)
        return context, self._peer.host


def _dataset(level: str, keys: Mapping[str, str]) -> "Dataset":
    """An identifier (PS3.4 C.4.1.1.3)."""
    from pydicom import Dataset

    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made
