"""The app on a port, until it is told to end."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fcnproto.errors import FcnprotoError, Problem
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.serving.app import create_app
from fcnproto.serving.limits import Limits

_CONNECTIONS = 256
_HEADER_SECONDS = 10


class _Patient(H11Protocol):
    """HTTP/1.1, but a connection that does not bring a request's head in time is closed.

    A client that sends no more is answered still: also one whose body is shorter than it says.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(_HEADER_SECONDS, self._close_if_silent)

    def eof_received(self) -> bool:  # type: ignore[override,unused-ignore]
        if self.cycle is None or self.cycle.response_complete:
            return False
        self.cycle.more_body = False
        self.cycle.keep_alive = False
        self.cycle.message_event.set()
        return True

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def serve(
    segmenter: Segmenter,
    host: str,
    port: int,
    ready: Callable[[str], object],
    limits: Limits = Limits(),
) -> None:
    """Serve a model until the process is told to end; `ready` is told the address.

    Port 0 is any that is free. Raises FcnprotoError if the port cannot be had.
    """
    listening = _listening(host, port)
    with listening:
        number = listening.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        app = create_app(segmenter, limits, _hosts(host))
        config = uvicorn.Config(
            app,
            http=_Patient,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
        )
        server = _Server(config, lambda: ready(f"http://{name}:{number}/"))
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that says when it takes requests, and signals: not before it is ready for both."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise FcnprotoError(
            Problem(f"cannot serve there: {reason}; --port names another", f"{host}:{port}")
        ) from error


def _hosts(host: str) -> frozenset[str] | None:
    """The names of this machine for itself, if only it is served."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback:
        return None
    return frozenset(["localhost", "127.0.0.1", "[::1]", host, f"[{host}]"])
