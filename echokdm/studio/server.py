"""The page's routes: what it asks of a session, and what it is told."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from echokdm.core.errors import ClipError, ConfigError, EchoKDMError
from echokdm.io.raw import MAX_BYTES
from echokdm.studio import told
from echokdm.studio.edits import Change
from echokdm.studio.heart import open_heart
from echokdm.studio.pictures import sector_jpeg
from echokdm.studio.session import FAILED, Session
from echokdm.studio.sessions import Sessions

_LARGEST_CHANGE = 2**16  # bytes
_SCRIPTS = "studio", "server", "picture", "frames", "charts", "controls", "save"
_ASSETS = {
    "": ("page.html", "text/html"),
    "studio.css": ("studio.css", "text/css"),
    **{f"{name}.js": (f"{name}.js", "text/javascript") for name in _SCRIPTS},
}


def application(sessions: Sessions, stop: Callable[[], None]) -> Starlette:
    """The application over sessions; `gate.Gate` stands before it. stop: ends the server."""
    routes = _Routes(sessions, stop)
    one = "/sessions/{name:str}"
    return Starlette(
        routes=[
            *(Route(f"/{name}", routes.asset) for name in _ASSETS),
            Route("/sessions", routes.begin, methods=["POST"]),
            Route("/stop", routes.stop, methods=["POST"]),
            Route(one, routes.state, methods=["GET"]),
            Route(one, routes.end, methods=["DELETE"]),
            Route(f"{one}/changes", routes.change, methods=["POST"]),
            Route(f"{one}/preview", routes.preview, methods=["POST"]),
            Route(f"{one}/undo", routes.undo, methods=["POST"]),
            Route(f"{one}/redo", routes.redo, methods=["POST"]),
            Route(f"{one}/making", routes.making),
            Route(f"{one}/source/{{frame:int}}.jpg", routes.source),
            Route(f"{one}/result/{{frame:int}}.jpg", routes.result),
            Route(f"{one}/m-mode", routes.m_mode),
            Route(f"{one}/keypoints.csv", routes.outlines),
            Route(f"{one}/export", routes.export, methods=["POST"]),
        ],
        exception_handlers={EchoKDMError: _sentence, HTTPException: _no_such, Exception: _fault},
    )


class _Routes:
    """One function a route. Work is done in threads, so that the page's other requests are answered meanwhile."""

    def __init__(self, sessions: Sessions, stop: Callable[[], None]) -> None:
        self._sessions, self._stop = sessions, stop

    def _session(self, request: Request) -> Session:
        try:
            return self._sessions.session(request.path_params["name"])
        except KeyError:
            raise HTTPException(404) from None

    async def asset(self, request: Request) -> Response:
        """The page and what belongs to it, from the package."""
        name, kind = _ASSETS[request.url.path[1:]]
        return Response(files("echokdm.studio").joinpath("page", name).read_bytes(), media_type=kind)

    async def begin(self, request: Request) -> Response:
        """A session of the clip that the command named or, where the request has a body, of the clip that it is."""
        if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
            given = self._sessions.given
            if given is None:
                return JSONResponse({"session": None})
            name = await run_in_threadpool(self._sessions.begin, lambda: given)
        else:
            name = await self._upload(request)
        return JSONResponse(
            {"session": name, "state": await run_in_threadpool(told.state, self._sessions.session(name))}, 201
        )

    async def _upload(self, request: Request) -> str:
        with TemporaryDirectory(dir=self._sessions.folder) as folder:
            file, size = Path(folder) / "clip", 0
            with file.open("xb") as out:
                async for part in request.stream():
                    size += len(part)
                    if size > MAX_BYTES:
                        raise ClipError(f"This file has more than {MAX_BYTES} bytes: cut the clip, or compress it.")
                    out.write(part)
            return await run_in_threadpool(self._sessions.begin, lambda: open_heart(file, self._sessions.settings))

    async def state(self, request: Request) -> Response:
        """All of a session."""
        return JSONResponse(await run_in_threadpool(told.state, self._session(request)))

    async def end(self, request: Request) -> Response:
        """Close a clip."""
        self._session(request)
        self._sessions.end(request.path_params["name"])
        return Response(status_code=204)

    async def change(self, request: Request) -> Response:
        """Make a step; the state after it."""
        session, change = self._session(request), await _change(request)

        def work() -> dict[str, Any]:
            session.change(change)
            return told.state(session)

        return JSONResponse(await run_in_threadpool(work))

    async def preview(self, request: Request) -> Response:
        """What a step would give."""
        session, change = self._session(request), await _change(request)
        return JSONResponse(await run_in_threadpool(told.preview, session, change))

    async def undo(self, request: Request) -> Response:
        """Undo a step, or several; the state after it."""
        return await self._back(request, 1)

    async def redo(self, request: Request) -> Response:
        """Do steps again."""
        return await self._back(request, -1)

    async def _back(self, request: Request, sign: int) -> Response:
        session, change = self._session(request), await _change(request)

        def work() -> dict[str, Any]:
            session.undo(sign, change.frame)
            return told.state(session)

        return JSONResponse(await run_in_threadpool(work))

    async def making(self, request: Request) -> Response:
        """How far the result is."""
        return JSONResponse(await run_in_threadpool(told.making, self._session(request)))

    async def source(self, request: Request) -> Response:
        """The source's frame in the phase of a frame of the result."""
        session, frame = self._session(request), request.path_params["frame"]
        return _picture(await run_in_threadpool(lambda: _jpeg(session, session.source_frame(frame))), "source")

    async def result(self, request: Request) -> Response:
        """A frame of the result, or its preview where it isn't made yet; X-Picture says which."""
        session, frame = self._session(request), request.path_params["frame"]

        def work() -> tuple[bytes, bool]:
            pixels, made = session.result_frame(frame)
            return _jpeg(session, pixels), made

        picture, made = await run_in_threadpool(work)
        return _picture(picture, "made" if made else "preview")

    async def m_mode(self, request: Request) -> Response:
        """Both M-modes."""
        return JSONResponse(await run_in_threadpool(told.m_modes, self._session(request)))

    async def outlines(self, request: Request) -> Response:
        """The source's outlines as keypoints.csv."""
        held = await run_in_threadpool(self._session(request).outlines)
        return Response(
            held, media_type="text/csv", headers={"Content-Disposition": 'attachment; filename="keypoints.csv"'}
        )

    async def export(self, request: Request) -> Response:
        """All that `synth` writes, as a zip."""
        file = await run_in_threadpool(self._session(request).export)
        return FileResponse(
            file, media_type="application/zip", filename="synth.zip", background=BackgroundTask(file.unlink)
        )

    async def stop(self, request: Request) -> Response:
        """End the server."""
        return JSONResponse({"stopped": True}, background=BackgroundTask(self._stop))


async def _change(request: Request) -> Change:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > _LARGEST_CHANGE:
            raise ConfigError("What was sent is more than this page asks for: reload it.")
    return Change.parse(bytes(data))


def _jpeg(session: Session, frame: np.ndarray) -> bytes:
    return sector_jpeg(frame, np.asarray(session.heart.found.sector.mask))


def _picture(data: bytes, kind: str) -> Response:
    return Response(data, media_type="image/jpeg", headers={"X-Picture": kind})


async def _sentence(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422)


async def _no_such(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": "This clip is not open any more: reload the page."}, error.status_code)


async def _fault(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": FAILED}, 500)
