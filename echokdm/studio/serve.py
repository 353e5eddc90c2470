"""The studio's server: on loopback alone, until it is stopped."""

import secrets
import socket
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from echokdm.core.errors import ConfigError
from echokdm.studio.heart import Heart, Settings
from echokdm.studio.sessions import Sessions

HOST = "127.0.0.1"


def check_installed() -> None:
    """Raise ConfigError, with what to install, where the extra `studio` is not."""
    if not all(find_spec(name) for name in ("starlette", "uvicorn")):
        raise ConfigError(
            "The studio needs Starlette and Uvicorn, which are not installed: pip install 'echokdm[studio]'."
        )


def serve(settings: Settings, given: Heart | None, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page until its Stop button or a signal ends it; then nothing of any clip is left.

    port: 0 for any that is free. ready: told the page's address, which holds the token. Raises ConfigError where the
    port is taken.
    """
    import uvicorn

    from echokdm.studio.gate import Gate
    from echokdm.studio.server import application

    try:
        listening = socket.create_server((HOST, port))
    except OSError:
        raise ConfigError(
            f"Port {port} can't be had on this machine: choose another with --port, or leave it out."
        ) from None
    token = secrets.token_urlsafe(32)
    # the folder is open to nobody else
    with closing(listening), TemporaryDirectory(prefix="echokdm-studio-") as folder:

        def stop() -> None:
            server.should_exit = True

        sessions = Sessions(settings, Path(folder), given)
        # It says nothing: paths and errors of requests are no log's.
        server = uvicorn.Server(
            uvicorn.Config(
                Gate(application(sessions, stop), token),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )
        ready(f"http://{HOST}:{listening.getsockname()[1]}/?token={token}")
        try:
            server.run(sockets=[listening])
        finally:
            sessions.close()
