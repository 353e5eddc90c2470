"""Who is let in: the page of this server alone; and that what is said to others names nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.studio.heart import Heart
from echokdm.studio.sessions import MOST

from .conftest import Served

NEVER = "KOWALSKI", "/tmp", "/home", "Traceback"


def test_the_address_gives_a_cookie_and_keeps_no_token(served: Served) -> None:
    answer = served.ask(f"/?token={served.token}", x_token=None, origin=None)
    assert answer.status == 303 and answer.headers["Location"] == "/"
    cookie = answer.headers["Set-Cookie"]
    assert (
        cookie.startswith(f"echokdm-{served.port}={served.token};")
        and "HttpOnly" in cookie
        and "SameSite=strict" in cookie
    )
    page = served.ask("/", x_token=None, origin=None, cookie=cookie.split(";")[0])
    assert page.status == 200 and b"<title>echokdm studio</title>" in page.body


@pytest.mark.parametrize("path", ["/", "/studio.js", "/studio.css", "/sessions/0", "/sessions/0/source/0.jpg"])
@pytest.mark.parametrize(
    "credentials", [{}, {"x_token": ""}, {"x_token": "wrong"}, {"cookie": "echokdm-1=wrong"}, {"cookie": "\x01="}]
)
def test_nothing_without_the_token(served: Served, path: str, credentials: dict[str, str]) -> None:
    answer = served.ask(path, **{"x_token": None, **credentials})
    assert answer.status == 403 and "token" in answer.json["error"]
    assert served.ask(f"{path}?token=wrong", **{"x_token": None, **credentials}).status == 403


def test_a_cookie_of_another_port_does_not_fit(served: Served) -> None:
    assert served.ask("/", x_token=None, cookie=f"echokdm-{served.port + 1}={served.token}").status == 403
    assert served.ask("/", x_token=None, cookie=f"echokdm-{served.port}={served.token}").status == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org:80",
        "127.0.0.1.example.org",
        "localhost.example.org",
        "10.0.0.7",
        "0.0.0.0",
        "127.0.0.1@example.org",
        "example.org#127.0.0.1",
        "127.0.0.1:x",
        "[::1",
        "",
    ],
)
def test_another_name_for_this_machine_is_refused(served: Served, host: str) -> None:
    """DNS rebinding: the browser takes another site's name for this machine, and says so in Host."""
    answer = served.ask("/", host=host, origin=f"http://{host}")
    assert answer.status in (400, 403)  # h11 refuses what is no Host by itself
    assert answer.status == 400 or "own name" in answer.json["error"]


def test_loopback_by_its_other_names(served: Served) -> None:
    # another port, as through ssh -L
    for host in (f"localhost:{served.port}", f"[::1]:{served.port}", "127.0.0.1:9000", "LOCALHOST"):
        assert served.ask("/", host=host, origin=f"http://{host}").status == 200, host


@pytest.mark.parametrize(
    "origin", ["http://example.org", "http://127.0.0.1", "http://127.0.0.1:1", "https://127.0.0.1:{port}", "null", ""]
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/stop"), ("POST", "/sessions"), ("DELETE", "/sessions/0"), ("GET", "/sessions/0")]
)
def test_another_page_is_refused(served: Served, origin: str, method: str, path: str) -> None:
    answer = served.ask(path, method, origin=origin.format(port=served.port))
    assert answer.status == 403 and "Another page" in answer.json["error"]


def test_a_write_has_to_name_its_page(served: Served) -> None:
    assert served.ask("/stop", "POST", origin=None).status == 403
    assert served.ask("/studio.js", origin=None).status == 200  # a browser names none where it reads from its own


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/..%2fserver.py",
        "/%2e%2e/server.py",
        "/server.py",
        "/page/studio.js",
        "//etc/passwd",
        "/sessions/../../etc/passwd",
        "/sessions/..%2f..%2fx/source/0.jpg",
        "/docs",
        "/openapi.json",
    ],
)
def test_only_the_pages_own_files_are_there(served: Served, path: str) -> None:
    answer = served.ask(path)
    assert answer.status == 404 and not any(word in answer.body.decode() for word in NEVER)


def test_every_answer_forbids_what_is_not_its_own(served: Served) -> None:
    for answer in (served.ask("/"), served.ask("/nowhere"), served.ask("/", x_token="wrong")):
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
        assert (
            answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            and answer.headers["Cache-Control"] == "no-store"
        )
        assert "Access-Control-Allow-Origin" not in answer.headers and "Server" not in answer.headers


def test_the_page_names_no_other_place() -> None:
    import echokdm.studio

    for path in (Path(echokdm.studio.__file__).parent / "page").iterdir():
        text = path.read_text(encoding="utf-8")
        assert "//" not in text.replace(" //", "").replace("\n//", "").removeprefix("//") and "@import" not in text, (
            path.name
        )


def test_it_listens_on_one_address_alone(served: Served) -> None:
    # reached where all are listened on
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", served.port), timeout=2):
        pass


def test_what_is_no_clip_is_one_sentence_and_is_not_kept(served: Served) -> None:
    for body in (b"no clip", b"PK\x03\x04" + bytes(60), b"\x89PNG\r\n\x1a\n" + bytes(60)):
        answer = served.ask("/sessions", "POST", body)
        assert answer.status == 422 and answer.json["error"].endswith((".", "frames."))
        assert not any(word in answer.body.decode() for word in NEVER)


def test_uploads_have_a_limit(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echokdm.studio.server.MAX_BYTES", 1000)
    answer = served.ask("/sessions", "POST", bytes(2000))
    assert answer.status == 422 and "more than 1000 bytes" in answer.json["error"]


def test_a_change_has_a_limit_and_a_form(served: Served) -> None:
    name = served.ask("/sessions", "POST").json["session"]
    for body, told in (
        (b"x" * 70_000, "more than this page"),
        (b"{}x", "nothing that this page"),
        (b'{"a": 1}', "nothing that this page"),
    ):
        answer = served.ask(f"/sessions/{name}/changes", "POST", body)
        assert answer.status == 422 and told in answer.json["error"]
    assert served.ask(f"/sessions/{name}/result/999.jpg").status == 422
    assert served.ask(f"/sessions/{name}", "DELETE").status == 204
    assert served.ask(f"/sessions/{name}").status == 404


def test_a_fault_of_its_own_says_nothing_of_what_it_read(
    served: Served, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("KOWALSKI in /tmp")

    monkeypatch.setattr("echokdm.studio.server.open_heart", fails)
    answer = served.ask("/sessions", "POST", b"clip")
    assert (
        answer.status == 500
        and "should not have" in answer.json["error"]
        and not any(word in answer.body.decode() for word in NEVER)
    )
    told = capfd.readouterr()
    assert not any(word in told.out + told.err for word in NEVER)


def test_so_many_clips_and_no_more_and_nothing_is_left(
    start: Callable[[], Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    served = start()
    (folder,) = tmp_path.glob("echokdm-studio-*")
    assert folder.stat().st_mode & 0o077 == 0
    names = [served.ask("/sessions", "POST").json["session"] for _ in range(MOST)]
    assert len(set(names)) == MOST
    served.ask(f"/sessions/{names[0]}/changes", "POST", json.dumps({"wishes": {"ef": 30}}).encode())
    assert served.ask(f"/sessions/{names[1]}").json["edit"]["ef"] is None  # tabs don't disturb each other
    assert served.ask(f"/sessions/{names[0]}").json["edit"]["ef"] == 30
    answer = served.ask("/sessions", "POST")
    assert answer.status == 422 and "8 clips are open" in answer.json["error"]
    assert served.ask("/stop", "POST").status == 200
    served.thread.join(30)
    assert not served.thread.is_alive() and not list(tmp_path.iterdir())


@pytest.mark.usefixtures("served")
def test_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, opened: Heart) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr("echokdm.echo.bundle.load_pipeline", lambda *_: opened.settings.pipeline)
        result = CliRunner().invoke(app, ["studio", "--no-browser", "--port", str(taken.getsockname()[1])])
        assert result.exit_code == 2 and "choose another with --port" in result.stderr
    for words, told in ((["--keypoints", "a.csv"], "name that clip too"), (["a.dcm", "--demo"], "Name one clip")):
        result = CliRunner().invoke(app, ["studio", *words])
        assert result.exit_code == 2 and told in result.stderr
    monkeypatch.setattr("echokdm.studio.serve.find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["studio"])
    assert result.exit_code == 2 and result.stderr.endswith("which are not installed: pip install 'echokdm[studio]'.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    pytest.importorskip("uvicorn", reason="the extra echokdm[studio] is not installed")
    process = subprocess.Popen(
        [sys.executable, "-m", "echokdm", "studio", "--no-browser"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("The studio is at http://127.0.0.1:")
    process.stdout.readline()
    assert [path.name[:15] for path in tmp_path.iterdir()] == ["echokdm-studio-"]
    time.sleep(0.5)  # until it listens to signals
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == (0 if number == signal.SIGINT else 128 + number) and "Traceback" not in told
    assert not list(tmp_path.iterdir())
