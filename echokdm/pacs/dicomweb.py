"""An archive's DICOMweb door (PS3.18): QIDO-RS to search, WADO-RS to retrieve, STOW-RS to store."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.message import Message
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from echokdm.core.errors import ArchiveError, ConfigError, one_sentence
from echokdm.deid.one_file import MOST_BYTES
from echokdm.deid.reasons import Reason, Refusal
from echokdm.pacs.archive import Answer, Instance, PassingError, listed, patiently

if TYPE_CHECKING:
    from pydicom import Dataset
    from requests import PreparedRequest, Response

TOKEN = "ECHOKDM_DICOMWEB_TOKEN"
"""The environment variable that holds a bearer token (RFC 6750), if the archive asks for one."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PAGE = 500  # of a list; archives give fewer where they will
_SECONDS = (10.0, 120.0)  # to connect; until the next byte
_CHUNK = 1 << 20
_CUT_OFF = "The archive's replies are cut off on their way: run the same command again, once the network is sound."
_NO_SERVICE = "What answers at this URL is no DICOMweb service: check the URL; that of Orthanc ends in /dicom-web."
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class DicomWeb:
    """An `Archive` at a URL of DICOMweb services, such as https://pacs.example/dicom-web. Certificates are checked.

    Raises ConfigError where the package dicomweb-client is missing, or a token would go over the network in clear.
    """

    def __init__(self, url: str) -> None:
        try:
            from dicomweb_client import DICOMwebClient
            from requests import Session
        except ImportError:
            raise ConfigError(
                "DICOMweb needs dicomweb-client, which is not installed: pip install 'echokdm[pacs]'."
            ) from None
        token, place = os.environ.get(TOKEN, "").strip(), urlsplit(url)
        if token and place.scheme != "https" and place.hostname not in LOOPBACK:
            raise ConfigError(
                f"The token of {TOKEN} would go over the network in clear: give an https URL, or unset it."
            )
        self._session = Session()
        if token:
            self._session.auth = _bearer(token)  # not a header, which an entry in ~/.netrc would replace
        self._url = url.rstrip("/")
        self._client = DICOMwebClient(self._url, self._session, timeout=_SECONDS, permissive_uid=True)
        self._client.set_http_retry_params(retry=False)  # `patiently` waits out more than it does

    def studies(self, query: Mapping[str, str]) -> list[str]:
        """See `Archive.studies`."""
        found = self._pages("StudyInstanceUID", partial(self._client.search_for_studies, search_filters=dict(query)))
        return [str(study.StudyInstanceUID) for study in found]

    def instances(self, study: str) -> list[Instance]:
        """See `Archive.instances`."""
        found = self._pages("SOPInstanceUID", partial(self._client.search_for_instances, study))
        return [instance for one in found if (instance := listed(one, study))]

    def retrieve(self, instance: Instance, file: Path) -> None:
        """See `Archive.retrieve`.

        The client's own retrieval would parse what arrives in this process, and take a reply that was cut off for a
        whole one.
        """
        place = f"{self._url}/studies/{instance.study}/series/{instance.series}/instances/{instance.uid}"

        def once() -> memoryview:
            with self._session.get(place, headers={"Accept": _AS_STORED}, stream=True, timeout=_SECONDS) as reply:
                reply.raise_for_status()
                content = bytearray()
                for chunk in reply.iter_content(_CHUNK):
                    content += chunk
                    if len(content) > MOST_BYTES:
                        raise Refusal(Reason.TOO_LARGE)
                return _one_part(content, reply.headers.get("Content-Type", ""))

        file.write_bytes(patiently(lambda: _told(once, of_one=True)))

    def store(self, file: Path) -> bool:
        """See `Archive.store`."""
        from pydicom import dcmread
        from requests import HTTPError

        dataset = dcmread(file)

        def once() -> bool:
            try:
                return not self._client.store_instances([dataset]).get("FailedSOPSequence")
            except HTTPError as error:
                if error.response.status_code != 409:  # none was stored (PS3.18 10.5.3)
                    raise
                return False

        return patiently(lambda: _told(once))

    def close(self) -> None:
        """See `Archive.close`."""
        self._session.close()

    def _pages(self, key: str, search: Callable[..., Iterable[dict[str, Any]]]) -> Iterator["Dataset"]:
        """All that a search lists, each `key` once, page by page until one brings nothing new: some archives know no
        pages."""
        from pydicom import Dataset

        def once() -> list["Dataset"]:
            page = _told(lambda: search(limit=PAGE, offset=len(seen)))
            with one_sentence("The archive's list is no DICOM JSON: check the URL.", ArchiveError):
                return [Dataset.from_json(one) for one in page]

        seen: set[str] = set()
        while new := [one for one in patiently(once) if one.get(key) and str(one[key].value) not in seen]:
            seen |= {str(one[key].value) for one in new}
            yield from new


def _bearer(token: str) -> Any:
    def sign(request: "PreparedRequest") -> "PreparedRequest":
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign


def _one_part(content: bytearray, kind: str) -> memoryview:
    """The object in a reply: of one part (PS3.18 8.6.1.2.1) or, against the standard, bare.

    Raises PassingError where it is cut off, ArchiveError where it is something else.
    """
    header = Message()
    header["Content-Type"] = kind
    boundary = header.get_boundary()
    whole = memoryview(content)
    if boundary is None and header.get_content_type() != "application/dicom":  # a page to log in, perhaps
        raise ArchiveError(_NO_SERVICE)
    if boundary is None:
        return whole
    begin, end = content.find(b"\r\n\r\n"), content.rfind(f"\r\n--{boundary}--".encode())
    if not 0 <= begin < end:
        raise PassingError(_CUT_OFF)
    return whole[begin + 4 : end]


def _told(ask: Callable[[], Answer], of_one: bool = False) -> Answer:
    """What `ask` gives, and what it raises as one sentence that quotes neither URL nor reply. of_one: the archive may
    not have it.

    The error has none that led to it: a socket's number, such as EPERM, would be taken for the output's.
    """
    from requests import HTTPError, RequestException, Timeout
    from requests.exceptions import ChunkedEncodingError, ConnectionError, ContentDecodingError, SSLError

    fault: Exception
    try:
        return ask()
    except HTTPError as error:
        fault = _of_status(error.response, of_one)
    except SSLError:
        fault = ArchiveError(
            "The archive's TLS certificate is not trusted here: name a file with the certificate of its authority by the "
            "environment variable REQUESTS_CA_BUNDLE."
        )
    except (ChunkedEncodingError, ContentDecodingError):
        fault = PassingError(_CUT_OFF)
    except (ConnectionError, Timeout):
        fault = PassingError("The archive can't be reached: check the URL, and that its server runs.")
    except (RequestException, ValueError):
        fault = ArchiveError(_NO_SERVICE)
    raise fault


def _of_status(reply: "Response", of_one: bool) -> Exception:
    code = reply.status_code
    if code in (401, 403, 407):
        return ArchiveError(f"The archive refuses the access (HTTP {code}): set {TOKEN} to a token that it takes.")
    if code in (408, 425, 429) or code >= 500:
        return PassingError(f"The archive has a fault of its own (HTTP {code}): run the same command again later.")
    if of_one:
        return Refusal(Reason.NOT_GIVEN)
    return ArchiveError(
        f"The archive does not do what is asked (HTTP {code}): check the URL; that of Orthanc ends in /dicom-web."
    )
