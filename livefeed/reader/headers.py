"""Headers that keep a page to its own scripts: one pure ASGI middleware for the whole application.

HTML gets a Content-Security-Policy without any ``unsafe-``: scripts, styles and connections from here only, and text
becomes HTML in the browser through one Trusted Types policy, `livefeed`. A route that sets a header itself keeps it.
Everything gets ``nosniff``. Streams that are handed over do not pass here.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livefeed.reader.rendering import templates
from livefeed.settings import Settings

_POLICY = (
    "default-src 'none'; script-src 'self' {import_map}; style-src 'self'; font-src 'self'; connect-src 'self'; "
    "img-src 'self' https: http:; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'self'; require-trusted-types-for 'script'; trusted-types livefeed"
)
"""Items' pictures lie where the newsroom keeps them, so `img-src` is open; they run nothing."""

_PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


def page_headers(settings: Settings) -> dict[str, str]:
    """What every HTML answer carries; the one inline script that may run is the pages' import map, by its hash."""
    return {
        "content-security-policy": _POLICY.format(import_map=templates(settings).assets.script_source),
        "referrer-policy": "strict-origin-when-cross-origin",
        "permissions-policy": _PERMISSIONS,
        "cross-origin-opener-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }


class SecurityHeaders:
    """ASGI middleware; `settings` are the application's."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._for_html = page_headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-content-type-options", "nosniff")
                if headers.get("content-type", "").startswith("text/html"):
                    for name, value in self._for_html.items():
                        headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)
