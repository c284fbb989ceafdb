"""What every answer carries, and which requests are not answered at all: plain ASGI."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self'; media-src 'self' blob:; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_ENCODED = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]


class Guard:
    """Strict headers on every answer; refuses what other sites' pages send.

    A browser says with Sec-Fetch-Site where a request comes from. `hosts` are the names by which
    the server may be called, if not any: a page whose own name was made to mean this machine is
    refused by them.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None = None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_ENCODED]
            await send(message)

        words = self._refusal({name: value.decode("latin-1") for name, value in scope["headers"]})
        if words is None:
            await self._app(scope, receive, guarded)
            return
        body = json.dumps({"error": words}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await guarded({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, headers: dict[Any, str]) -> str | None:
        if headers.get(b"sec-fetch-site") == "cross-site" and (
            headers.get(b"sec-fetch-mode") != "navigate"
        ):
            return "requests of other sites' pages are not answered"
        name = headers.get(b"host", "").rpartition(":")
        host = name[0] if name[0] and name[2].isdigit() else "".join(name)
        if self._hosts is not None and host.lower() not in self._hosts:
            return "the server is not called by this name"
        return None
