"""A port of their own for ``/metrics`` and ``/readyz``, answered by a thread of the parent from the processes' reports.

It depends on no event loop, so it also answers, and says so, while a worker's loop is blocked.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from livefeed import reports
from livefeed.errors import ApiError, NotFound, StartError, Unauthorized, Unavailable
from livefeed.health import trouble
from livefeed.metrics import permits, written
from livefeed.settings import Settings

REQUEST_TIMEOUT_S = 5.0
"""A monitor that says nothing for so long is hung up on."""


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[None]:
    """Answer until the context ends; `settings` are those in force, with the port that is served.

    :raises StartError: the port cannot be had.
    """
    try:
        server = _Server(settings)
    except OSError as error:
        where = f"{settings.metrics_host}, port {settings.metrics_port}"
        raise StartError(f"LIVEFEED_METRICS_PORT: cannot listen on {where} ({error.strerror}).") from None
    with server:
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def __init__(self, settings: Settings) -> None:
        self.token = settings.metrics_token
        self.reports: Path = reports.directory(settings)
        self.address_family = socket.AF_INET6 if ":" in settings.metrics_host else socket.AF_INET
        super().__init__((settings.metrics_host, settings.metrics_port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: who hung up has no interest in an answer."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        try:
            body, content_type = self._answer()
            self._send(200, body, content_type)
        except ApiError as error:
            self._send(error.status, msgspec.json.encode(error.body()), "application/json")

    def _answer(self) -> tuple[bytes, str]:
        found = reports.read(self.server.reports)
        match self.path.partition("?")[0]:
            case "/metrics":
                if not permits(self.server.token, self.headers.get("authorization", "")):
                    raise Unauthorized("Metrics need the token of LIVEFEED_METRICS_TOKEN.")
                return written(found, self.headers.get("accept", ""))
            case "/readyz":
                if not any(not report.draining for report in found.values()):
                    raise Unavailable("No process serves.")
                if reason := trouble(found):
                    raise Unavailable(f"An event published now would not arrive everywhere: {reason}.")
                return msgspec.json.encode({"status": "ready", "workers": len(found)}), "application/json"
            case _:
                raise NotFound("There are /metrics and /readyz here.")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        if status == 401:
            self.send_header("www-authenticate", 'Bearer realm="metrics"')
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """No word about the software."""
        return "livefeed"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a monitor's questions are not worth a line."""
