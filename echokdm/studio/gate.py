"""Who may ask: the browser that was given the token, of this machine by its own name, from the page itself."""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    # Nothing from outside, nothing into another page, nothing kept.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Gate:
    """Refuses, before the application sees it, each request but those of the page to its own server; adds the headers
    that keep it so.

    token: given with the page's address once, which a cookie then holds. A Host that is not loopback is another site's
    name for this machine (DNS rebinding); an Origin that is not the Host's is another site's page (CSRF), and a request
    that writes has to name one.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no other kind is spoken here

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._answer(scope)(scope, receive, headed)

    def _answer(self, scope: Scope) -> ASGIApp:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not _is_loopback(host):
            return _refusal(
                "This server answers to this machine's own name alone: open the address that `echokdm studio` printed."
            )
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        cookie = f"echokdm-{scope['server'][1]}"  # cookies are shared by all ports of a host
        if scope["path"] == "/" and scope["method"] == "GET" and self._fits(asked):
            answer = RedirectResponse("/", 303)  # the address bar and the history don't keep the token
            answer.set_cookie(cookie, self.token, httponly=True, samesite="strict")
            return answer
        if not (self._fits(_cookie(headers, cookie)) or self._fits(headers.get("x-token", ""))):
            return _refusal("This page was opened without its token: open the address that `echokdm studio` printed.")
        origin = headers.get("origin")
        if origin != f"http://{host}" and (origin is not None or scope["method"] not in ("GET", "HEAD")):
            return _refusal("Another page asked, and only this server's own may.")
        return self.app

    def _fits(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self.token.encode())


def _is_loopback(host: str) -> bool:
    try:
        parts = urlsplit(f"//{host}")
        return (
            parts.hostname in LOOPBACK
            and parts.netloc == host
            and (parts.port is None or parts.port > 0)
            and "@" not in host
        )
    except ValueError:
        return False


def _cookie(headers: Headers, name: str) -> str:
    try:
        held = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return held[name].value if name in held else ""


def _refusal(sentence: str) -> ASGIApp:
    return JSONResponse({"error": sentence}, 403)
