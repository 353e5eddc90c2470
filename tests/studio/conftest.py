"""A studio of the drawn heart, and its server on a free port."""

import http.client
import json
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from drawn import DrawnPipeline, draw_clip

from echokdm.studio.heart import Heart, Settings, open_heart
from echokdm.studio.serve import serve
from echokdm.studio.session import Session, Threads


class Answer(NamedTuple):
    """Of the server: status, headers, body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served(NamedTuple):
    """A running server: the address that it told, and what ends it."""

    address: str
    thread: threading.Thread

    @property
    def port(self) -> int:
        return int(urlsplit(self.address).port or 0)

    @property
    def token(self) -> str:
        return parse_qs(urlsplit(self.address).query)["token"][0]

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **changed: str | None) -> Answer:
        """A request of the page's own kind, but for headers that are changed or, None, left out; `x_token` is
        X-Token."""
        own = f"127.0.0.1:{self.port}"
        headers = {"Host": own, "X-Token": self.token, "Origin": f"http://{own}"}
        headers |= {name.replace("_", "-").title(): value for name, value in changed.items()}  # type: ignore[misc]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host=True)
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


def save_clip(file: Path) -> Path:
    """The drawn heart as an .npz."""
    clip = draw_clip()
    np.savez_compressed(
        file,
        frames=(clip.frames[:, 0].numpy() * 255).round().astype(np.uint8),
        fps=clip.fps,
        spacing_mm=np.array(clip.spacing_mm),
    )
    return file


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn heart under a patient's name."""
    return save_clip(tmp_path_factory.mktemp("clip") / "KOWALSKI^ANNA.npz")


@pytest.fixture(scope="session")
def opened(clip_file: Path) -> Heart:
    """The drawn heart, opened."""
    return open_heart(clip_file, Settings(DrawnPipeline(), "drawn"))


@pytest.fixture
def session(opened: Heart, tmp_path: Path) -> Iterator[Session]:
    """A session of it."""
    threads = Threads()
    (tmp_path / "session").mkdir()
    made = Session(opened, tmp_path / "session", threads)
    yield made
    made.close()
    threads.close()


@pytest.fixture(scope="session")
def start(opened: Heart) -> Callable[[], Served]:
    """start() gives a new server; skips without what it takes."""
    for needed in ("starlette", "uvicorn"):
        pytest.importorskip(needed, reason="the extra echokdm[studio] is not installed")

    def begin() -> Served:
        told: queue.Queue[str] = queue.Queue()
        thread = threading.Thread(target=serve, args=(opened.settings, opened, 0, told.put), daemon=True)
        thread.start()
        return Served(told.get(timeout=30), thread)

    return begin


@pytest.fixture(scope="session")
def served(start: Callable[[], Served]) -> Iterator[Served]:
    """The server that tests share."""
    made = start()
    yield made
    made.ask("/stop", "POST")
    made.thread.join(30)
    assert not made.thread.is_alive()
