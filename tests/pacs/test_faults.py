"""Faults of the network and of what users write: waited out, or one sentence and exit code 2."""

import os
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from orthanc import free_port
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.core.errors import ArchiveError, ConfigError, EchoKDMError
from echokdm.deid.reasons import Reason, Refusal
from echokdm.pacs import Station, open_archive, send
from echokdm.pacs.archive import Instance
from echokdm.pacs.door import read_address, read_query
from echokdm.pacs.receiver import receiving

RUNNER = CliRunner()
QUERY = {"ModalitiesInStudy": "US"}


class Between(BaseHTTPRequestHandler):
    """Hands requests on to the archive; of `server.faults` each spoils one reply, the first first."""

    def do_GET(self) -> None:
        fault = self.server.faults.pop(0) if self.server.faults else None
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            fault = 401
        if isinstance(fault, int):
            return self.send_error(fault)
        request = urllib.request.Request(
            self.server.behind + self.path, headers={"Accept": self.headers.get("Accept", "*/*")}
        )
        with urllib.request.urlopen(request) as reply:
            content, kind = reply.read(), reply.headers["Content-Type"]
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if fault == "login" else kind)
        if fault != "endless":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "page":
            content = b"<html>" + content[6:]
        self.wfile.write(content[: len(content) // 2] if fault in ("cut", "endless") else content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def between(orthanc) -> Iterator[SimpleNamespace]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Between)
    server.faults, server.token, server.behind = [], "", orthanc.rest
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(server: ThreadingHTTPServer, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.server_port}/dicom-web"


def archive(address: str):
    return open_archive(read_address(address).place)


@pytest.mark.parametrize("fault", [500, 503, 429, "cut", "endless"])
def test_what_passes_is_waited_out(orthanc, between, clips: list[Path], tmp_path: Path, fault: int | str) -> None:
    send(orthanc.web, clips[:1])
    with archive(url(between)) as door:
        between.faults = [] if fault == "endless" else [fault]  # JSON without an end can't be told from a page
        (study,) = door.studies(QUERY)
        (instance,) = door.instances(study)
        between.faults = [fault, fault]
        door.retrieve(instance, tmp_path / "clip.dcm")
    assert (tmp_path / "clip.dcm").read_bytes() == clips[0].read_bytes() and not between.faults


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (500, r"fault of its own \(HTTP 500\)"),
        ("cut", "cut off on their way"),
        ("endless", "cut off on their way"),
        (403, r"refuses the access \(HTTP 403\)"),
        ("login", "no DICOMweb service"),
    ],
)
def test_what_stays_is_one_sentence(
    orthanc, between, clips: list[Path], tmp_path: Path, fault: int | str, said: str
) -> None:
    send(orthanc.web, clips[:1])
    with archive(url(between)) as door:
        (instance,) = door.instances("1.2.826.0.1.77.0")
        between.faults = [fault] * 4
        with pytest.raises(ArchiveError, match=said):
            door.retrieve(instance, tmp_path / "clip.dcm")
    assert not (tmp_path / "clip.dcm").exists()


def test_what_is_listed_and_not_given_is_quarantined_and_asked_for_again(orthanc, tmp_path: Path) -> None:
    with archive(orthanc.web) as door, pytest.raises(Refusal) as caught:
        door.retrieve(Instance("1.2.3", "1.2.4", "1.2.5", ""), tmp_path / "clip.dcm")
    assert caught.value.reason == Reason.NOT_GIVEN


def fetched(address: str, out: Path, *more: str):
    return RUNNER.invoke(app, ["fetch", address, str(out), "--query", "ModalitiesInStudy=US", *more])


def test_a_token_is_sent_and_never_told(between, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    between.token = "s3cret-t0ken"
    refused = fetched(url(between), tmp_path / "out")
    assert refused.exit_code == 2 and "HTTP 401" in refused.stderr and "ECHOKDM_DICOMWEB_TOKEN" in refused.stderr
    monkeypatch.setenv("ECHOKDM_DICOMWEB_TOKEN", between.token)
    empty = fetched(url(between), tmp_path / "out")
    assert (
        empty.exit_code == 2 and "no ultrasound image" in empty.stderr and "s3cret" not in refused.output + empty.output
    )
    clear = fetched("http://pacs.example/dicom-web", tmp_path / "out")
    assert clear.exit_code == 2 and "in clear" in clear.stderr and list(tmp_path.iterdir()) == []


def test_a_certificate_has_to_be_trusted(orthanc, between, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=pacs",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ],
        cwd=tmp_path,
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    between.socket = context.wrap_socket(between.socket, server_side=True)
    result = fetched(url(between, "https"), tmp_path / "out")
    assert (
        result.exit_code == 2
        and "certificate is not trusted" in result.stderr
        and len(result.stderr.strip().splitlines()) == 1
    )
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    assert "no ultrasound image" in fetched(url(between, "https"), tmp_path / "out").stderr

    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "cert.pem").read_bytes() + (tmp_path / "key.pem").read_bytes())
    heard: list[str] = []
    address = f"dimses://ECHOKDM@127.0.0.1:{orthanc.port}"
    clip = tmp_path / "clip.dcm"
    from echokdm.io.dicom_out import Origin, write_dicom
    from echokdm.phantom.a4c import A4CPhantom

    write_dicom(clip, A4CPhantom([8_200_000]).clip(9.0)[0], Origin("0"))
    with receiving(Station(port=orthanc.port, certificate=both), lambda uid, content: heard.append(uid) or 0):
        with pytest.raises(ArchiveError, match="can't be reached"):
            send(address, [clip])
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert send(address, [clip]).stored == 1
    assert len(heard) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/dicom-web", "dimse://ANY@127.0.0.1:9"])
def test_nothing_that_answers_is_one_sentence(address: str, tmp_path: Path) -> None:
    result = fetched(address, tmp_path / "out")
    assert (
        result.exit_code == 2 and "can't be reached" in result.stderr and len(result.stderr.strip().splitlines()) == 1
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_archive_is_one_sentence(orthanc, between, tmp_path: Path) -> None:
    assert (
        "no DICOMweb service" in fetched(f"{orthanc.rest}/app/explorer.html", tmp_path / "out").stderr
        or "does not do what is asked" in fetched(f"{orthanc.rest}/app/explorer.html", tmp_path / "out").stderr
    )
    between.faults = ["page"]
    result = fetched(url(between), tmp_path / "out")
    assert result.exit_code == 2 and "no DICOMweb service" in result.stderr


@pytest.mark.parametrize(
    "address",
    [
        "https://KOWALSKI:geheim@pacs.example/dicom-web",
        "https://geheim@pacs.example",
        "ftp://pacs.example",
        "pacs.example",
        "dimse://pacs.example:104",
        "dimse://AET:geheim@pacs.example:104",
        "dimse://AET@pacs",
        "https://pacs.example/dicom-web?access_token=geheim",
        "https://pacs.example:x/",
        "https://pacs/?PatientID",
    ],
)
def test_urls_that_can_not_be(address: str, tmp_path: Path) -> None:
    result = fetched(address, tmp_path / "out")
    assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1 and list(tmp_path.iterdir()) == []
    assert "geheim" not in result.output and "KOWALSKI" not in result.output


@pytest.mark.parametrize("text", ["Patient=1", "PatientID", "PatientID=", "PatientID=a\nb", f"PatientID={'x' * 65}"])
def test_queries_that_can_not_be(text: str) -> None:
    with pytest.raises(ConfigError, match="KEYWORD=VALUE"):
        read_query([text])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "What to fetch is not said"),
        (["--study", "KOWALSKI"], "--study takes a Study Instance UID"),
        (["--study", "1.2", "--aet", "A" * 17], "An AE title"),
        (["--study", "1.2", "--salt", "none"], "--salt can't be read"),
    ],
)
def test_what_to_fetch_has_to_be_said(words: list[str], said: str, tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["fetch", "http://127.0.0.1:9", str(tmp_path / "out"), *words])
    assert result.exit_code == 2 and said in result.stderr and "KOWALSKI" not in result.output


def test_only_dicom_is_sent_and_a_taken_port_is_told(tmp_path: Path) -> None:
    (tmp_path / "KOWALSKI.dcm").write_text("no DICOM")
    result = RUNNER.invoke(app, ["send", "http://127.0.0.1:9", str(tmp_path / "KOWALSKI.dcm")])
    assert result.exit_code == 2 and "no DICOM object" in result.stderr and "KOWALSKI" not in result.output
    os.mkfifo(tmp_path / "pipe")
    result = RUNNER.invoke(app, ["send", "http://127.0.0.1:9", str(tmp_path)])
    assert result.exit_code == 2 and "no DICOM file to send" in result.stderr
    server = ThreadingHTTPServer(("127.0.0.1", 0), Between)
    result = RUNNER.invoke(app, ["listen", str(tmp_path / "out"), "--port", str(server.server_port), "--idle", "1"])
    server.server_close()
    assert result.exit_code == 2 and "is taken by another program" in result.stderr


@pytest.mark.parametrize(
    ("module", "address"), [("dicomweb_client", "https://pacs.example"), ("pynetdicom", "dimse://A@pacs.example:104")]
)
def test_without_the_extra_it_says_what_to_install(module: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(EchoKDMError, match=r"pip install 'echokdm\[pacs\]'"), archive(address):
        pass


def test_a_listener_to_whom_nothing_comes_writes_nothing(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["listen", str(tmp_path / "out"), "--port", str(free_port()), "--idle", "0.1"])
    assert result.exit_code == 2 and "Nothing came" in result.stderr and list(tmp_path.iterdir()) == []
