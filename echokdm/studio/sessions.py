"""What is open in one server."""

import secrets
from collections.abc import Callable
from pathlib import Path

from echokdm.core.errors import ConfigError
from echokdm.studio.heart import Heart, Settings
from echokdm.studio.session import Session, Threads

MOST = 8  # clips open at a time


class Sessions:
    """The open sessions of one server, by their names.

    given: the clip that the command named, which each new tab begins with. folder: private, and it goes with the server; each session has
    a folder in it.
    """

    def __init__(self, settings: Settings, folder: Path, given: Heart | None = None) -> None:
        self.settings, self.folder, self.given = settings, folder, given
        self._threads = Threads()
        self._open: dict[str, Session] = {}

    def begin(self, open_clip: Callable[[], Heart]) -> str:
        """A new session of the clip that `open_clip` gives; its name. Raises what that does, ConfigError where too many are open."""
        if len(self._open) >= MOST:
            raise ConfigError(f"{MOST} clips are open, which is the most: close one in another tab first.")
        heart, name = open_clip(), secrets.token_hex(16)
        folder = self.folder / name
        folder.mkdir(0o700)
        self._open[name] = Session(heart, folder, self._threads)
        return name

    def session(self, name: str) -> Session:
        """The session of that name. Raises KeyError."""
        return self._open[name]

    def end(self, name: str) -> None:
        """Close a session and forget its clip. Raises KeyError."""
        self._open.pop(name).close()

    def close(self) -> None:
        """Close all."""
        self._threads.close()
        for name in list(self._open):
            self.end(name)
