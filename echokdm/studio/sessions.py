"""What is open in one server."""

import secrets
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from echokdm.core.errors import ConfigError
from echokdm.studio.heart import Heart, Settings
from echokdm.studio.session import Session, Threads

MOST = 8  # clips open at a time
# after which a tab, which says every minute that it is there, may be taken for closed where another needs its place
SILENT_S = 600.0


class Sessions:
    """The open sessions of one server, by their names.

    given: the clip that the command named, which each new tab begins with. folder: private, and it goes with the
    server; each session has a folder in it.
    """

    def __init__(self, settings: Settings, folder: Path, given: Heart | None = None) -> None:
        self.settings, self.folder, self.given = settings, folder, given
        self._threads = Threads()
        self._open: dict[str, Session] = {}
        self._heard: dict[str, float] = {}

    def begin(self, open_clip: Callable[[], Heart]) -> str:
        """A new session of the clip that `open_clip` gives; its name. Where too many are open that of a closed tab
        ends.

        Raises what `open_clip` does, ConfigError where no tab is closed.
        """
        if len(self._open) >= MOST:
            silent = min(self._heard, key=self._heard.__getitem__)
            if monotonic() - self._heard[silent] < SILENT_S:
                raise ConfigError(
                    f"{MOST} clips are open, which is the most: close a tab, and try again in ten minutes."
                )
            self.end(silent)
        heart, name = open_clip(), secrets.token_hex(16)
        folder = self.folder / name
        folder.mkdir(0o700)
        self._open[name], self._heard[name] = Session(heart, folder, self._threads), monotonic()
        return name

    def session(self, name: str) -> Session:
        """The session of that name, whose tab is there. Raises KeyError."""
        session = self._open[name]
        self._heard[name] = monotonic()
        return session

    def end(self, name: str) -> None:
        """Close a session and forget its clip. Raises KeyError."""
        self._open.pop(name).close()
        del self._heard[name]

    def close(self) -> None:
        """Close all."""
        self._threads.close()
        for name in list(self._open):
            self.end(name)
