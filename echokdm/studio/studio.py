"""The sessions of one server, and the server itself: on loopback alone, until it is stopped."""

import secrets
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from echokdm.core.errors import ConfigError
from echokdm.studio.heart import Heart, Settings
from echokdm.studio.session import Session, Threads

HOST = "127.0.0.1"
MOST_SESSIONS = 8  # clips open at a time
MISSING = "The studio needs Starlette and Uvicorn, which are not installed: pip install 'echokdm[studio]'."


class Studio:
    """What is open: sessions by their names.

    given: the clip that the command named, which each new tab begins with. folder: private, and it goes with the server; each session has
    a folder in it.
    """

    def __init__(self, settings: Settings, folder: Path, given: Heart | None = None) -> None:
        self.settings, self.folder, self.given = settings, folder, given
        self._threads = Threads()
        self._sessions: dict[str, Session] = {}

    def begin(self, open_clip: Callable[[], Heart]) -> str:
        """A new session of the clip that `open_clip` gives; its name. Raises what that does, ConfigError where too many are open."""
        if len(self._sessions) >= MOST_SESSIONS:
            raise ConfigError(f"{MOST_SESSIONS} clips are open, which is the most: close one in another tab first.")
        heart, name = open_clip(), secrets.token_hex(16)
        folder = self.folder / name
        folder.mkdir(0o700)
        self._sessions[name] = Session(heart, folder, self._threads)
        return name

    def session(self, name: str) -> Session:
        """The session of that name. Raises KeyError."""
        return self._sessions[name]

    def end(self, name: str) -> None:
        """Close a session and forget its clip. Raises KeyError."""
        self._sessions.pop(name).close()

    def close(self) -> None:
        """Close all."""
        self._threads.close()
        for name in list(self._sessions):
            self.end(name)


def check_installed() -> None:
    """Raise ConfigError, with what to install, where the extra `studio` is not."""
    try:
        import starlette
        import uvicorn
    except ImportError:
        raise ConfigError(MISSING) from None
    assert starlette and uvicorn


def serve(settings: Settings, given: Heart | None, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page until its Stop button or a signal ends it; then nothing of any clip is left.

    port: 0 for any that is free. ready: told the page's address, which holds the token. Raises ConfigError where the port is taken.
    """
    import uvicorn

    from echokdm.studio.gate import Gate
    from echokdm.studio.server import application

    try:
        listening = socket.create_server((HOST, port))
    except OSError:
        raise ConfigError(f"Port {port} can't be had on this machine: choose another with --port, or leave it out.") from None
    token = secrets.token_urlsafe(32)
    with closing(listening), TemporaryDirectory(prefix="echokdm-studio-") as folder:  # the folder is open to nobody else
        studio = Studio(settings, Path(folder), given)
        server = uvicorn.Server(uvicorn.Config(
            Gate(application(studio, lambda: setattr(server, "should_exit", True)), token), http="h11", ws="none", lifespan="off",
            log_config=None, log_level="critical", access_log=False, server_header=False, timeout_graceful_shutdown=2))
        ready(f"http://{HOST}:{listening.getsockname()[1]}/?token={token}")
        try:
            server.run(sockets=[listening])
        finally:
            studio.close()
