"""The browser's side: static files, known by their content, and the site's own colours as a style sheet.

A page links ``/static/ticker-page.js?v=<hash of its content>``, which may be kept for ever; the same file without its
hash is asked for again each time. Modules import each other by plain relative names; an import map in the page adds the
hashes, and its own hash stands in the Content-Security-Policy, so that no other inline script can run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cached_property
from pathlib import Path

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from livefeed.errors import NotFound, StartError
from livefeed.responses import matches, not_modified
from livefeed.settings import Site

FOREVER = "public, max-age=31536000, immutable"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
"""What is served; other files beside them (the type checker's settings) are not."""
_COLOR = re.compile(r"#[0-9a-fA-F]{3}(?:[0-9a-fA-F]{3})?")
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_SITE_SHEET = "site.css"


class Assets:
    """The static files, read once; a few dozen kilobytes."""

    def __init__(self, site: Site, directory: Path | None = None) -> None:
        """:raises StartError: without the files, or when the site has a colour or a slug that is none."""
        directory = directory or _directory()
        self._files = {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.suffix in _TYPES
        }
        if not self._files:
            raise StartError(f"There are no static files in {directory}; the installation is incomplete.")
        self._files[_SITE_SHEET] = _site_sheet(site)
        self._hashes = {name: hashlib.sha256(data).hexdigest()[:16] for name, data in self._files.items()}

    def url(self, name: str) -> str:
        """Address of a file with its hash."""
        return f"/static/{name}?v={self._hashes[name]}"

    @cached_property
    def digest(self) -> str:
        """Changes with any file; part of the pages' ETags."""
        return hashlib.sha256("".join(self._hashes.values()).encode()).hexdigest()[:16]

    @cached_property
    def import_map(self) -> Markup:
        """Content of the page's import map. Of our own names and hashes only: safe as it is."""
        imports = {f"/static/{name}": self.url(name) for name in self._files if name.endswith(".js")}
        return Markup(json.dumps({"imports": imports}, separators=(",", ":")))  # noqa: S704

    @cached_property
    def script_source(self) -> str:
        """The import map's source expression for ``script-src`` (CSP Level 3, 2.3.1)."""
        digest = hashlib.sha256(self.import_map.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    async def serve(self, request: Request) -> Response:
        """``GET /static/{name}``."""
        name = request.path_params["name"]
        data = self._files.get(name)
        if data is None:
            raise NotFound(f"There is nothing at /static/{name[:100]}.")
        etag = f'"{self._hashes[name]}"'
        fresh = request.query_params.get("v") == self._hashes[name]
        headers = {"etag": etag, "cache-control": FOREVER if fresh else "no-cache"}
        if matches(request, etag):
            return not_modified(etag, headers)
        return Response(data, headers=headers, media_type=_TYPES[Path(name).suffix])


def _directory() -> Path:
    """``livefeed/_static`` in an installed package, ``static`` beside the package in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "_static"
    return installed if installed.is_dir() else package.parent / "static"


def _site_sheet(site: Site) -> bytes:
    rules = [f":root{{--site-accent:{_color(site.accent)}}}"]
    for rubric in site.rubrics:
        if not _SLUG.fullmatch(rubric.slug):
            raise StartError(f"LIVEFEED_SITE_FILE: {rubric.slug!r} is not a slug such as economie.")
    rules += [f".rubric-{rubric.slug}{{--rubric:{_color(rubric.color)}}}" for rubric in site.rubrics]
    return "\n".join(rules).encode()


def _color(value: str) -> str:
    if not _COLOR.fullmatch(value):
        raise StartError(f"LIVEFEED_SITE_FILE: {value!r} is not a CSS hex colour such as #b3122d.")
    return value
