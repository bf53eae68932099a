"""One frozen table of settings: name, type, default, unit, sentence. Parsed once, at start.

A setting `foo_bar` is read from ``LIVEFEED_FOO_BAR``; `host` and `port` also from ``HOST`` and ``PORT``, which is
what a Procfile host sets. An unknown ``LIVEFEED_`` variable or a value that cannot be read stops the start with a
message that names the variable. Structured matters of the site (rubrics, names, category map) lie in one TOML file.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
import zoneinfo
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from livefeed.errors import StartError
from livefeed.zone import site_zone

LANGUAGES = ("fr", "ar", "en")
"""The site's languages, the default one first."""

RTL_LANGUAGES = frozenset({"ar"})


class Rubric(msgspec.Struct, frozen=True, kw_only=True):
    """A section that a reader knows; URLs, API and stream use the slug."""

    slug: str
    name: dict[str, str]
    """Name per language; a missing language falls back to French."""
    color: str = "#5c5c5c"
    """A CSS hex colour, dark enough for white text."""

    def label(self, language: str) -> str:
        """The rubric's name in `language`, in French where there is none."""
        return self.name.get(language) or self.name["fr"]


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is particular to one site; read from ``LIVEFEED_SITE_FILE`` (TOML), with these defaults."""

    name: str = "livefeed"
    copyright: str = "livefeed"
    accent: str = "#b3122d"
    """The one accent colour, a CSS hex colour."""
    rubrics: tuple[Rubric, ...] = (
        Rubric(slug="politique", name={"fr": "Politique", "ar": "سياسة", "en": "Politics"}, color="#1f4e79"),
        Rubric(slug="diplomatie", name={"fr": "Diplomatie", "ar": "دبلوماسية", "en": "Diplomacy"}, color="#0b6e4f"),
        Rubric(slug="economie", name={"fr": "Économie", "ar": "اقتصاد", "en": "Economy"}, color="#8a5a00"),
        Rubric(slug="societe", name={"fr": "Société", "ar": "مجتمع", "en": "Society"}, color="#7a2e6e"),
        Rubric(slug="monde", name={"fr": "Monde", "ar": "العالم", "en": "World"}, color="#3d3a8c"),
        Rubric(slug="culture", name={"fr": "Culture", "ar": "ثقافة", "en": "Culture"}, color="#a0431a"),
        Rubric(slug="sport", name={"fr": "Sport", "ar": "رياضة", "en": "Sport"}, color="#00695c"),
        Rubric(slug="tech", name={"fr": "Tech", "ar": "تكنولوجيا", "en": "Tech"}, color="#37474f"),
    )
    """In the order in which pages list them."""
    categories: dict[str, str] = {}
    """Import: a source's category (case-folded) to a rubric's slug. A category that is a slug or a rubric's name
    maps by itself."""

    def rubric(self, slug: str) -> Rubric | None:
        """The rubric with this slug, or None."""
        return next((rubric for rubric in self.rubrics if rubric.slug == slug), None)


def _setting(default: Any, help: str, unit: str = "") -> Any:
    return field(default=default, metadata={"help": help, "unit": unit})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All settings. A limit of 0 means what its sentence says; there is no "unlimited" but where it is said."""

    # Where
    host: str = _setting("127.0.0.1", "Address to listen on (also HOST).")
    port: int = _setting(8000, "Port to listen on (also PORT); 0 takes a free one.")
    public_url: str = _setting(
        "", "The site's address as readers know it, without a trailing slash. Empty: http://host:port."
    )
    data_dir: Path = _setting(Path("var"), "Directory of the embedded server's data and run files.")
    redis_url: str = _setting(
        "",
        "A Redis or Valkey of your own (redis://, rediss://, unix://, redis+sentinel://). Empty: the embedded server.",
    )
    feed_name: str = _setting("main", "Name of the feed: the hash tag of all its keys and of its channel.")
    workers: int = _setting(1, "Server processes that share the port.", "processes")
    site_file: str = _setting("", "TOML file with the site's name, colours, rubrics and category map.")
    time_zone: str = _setting("Africa/Casablanca", "The site's time zone, a name of the IANA database.")
    log_json: bool = _setting(False, "Structured log lines as JSON instead of text for a terminal.")

    # Limits of what is typed
    headline_max_chars: int = _setting(300, "Longest headline.", "characters")
    body_max_chars: int = _setting(20_000, "Longest body (Markdown source).", "characters")
    name_max_chars: int = _setting(120, "Longest author, source, credit, tag or thread.", "characters")
    note_max_chars: int = _setting(1_000, "Longest correction note, withdrawal reason or image text.", "characters")
    url_max_chars: int = _setting(2_000, "Longest URL.", "characters")
    list_max: int = _setting(10, "Most authors, tags, or alternates of one item.", "entries")
    request_max_bytes: int = _setting(65_536, "Largest request body; over it 413.", "bytes")

    # The log
    log_min_hours: int = _setting(48, "The log keeps at least this much time...", "hours")
    log_min_events: int = _setting(10_000, "...and at least this many events...", "events")
    log_max_bytes: int = _setting(
        268_435_456, "...unless it outgrows this: then the oldest go early and an alarm is raised.", "bytes"
    )
    receipt_hours: int = _setting(24, "How long an idempotency key is remembered.", "hours")

    # Memory of each process
    window_events: int = _setting(10_000, "Newest events kept ready for replay.", "events")
    window_bytes: int = _setting(67_108_864, "Bound on the window's frames; the oldest leave first.", "bytes")
    board_items: int = _setting(2_000, "Newest items kept in memory for pages and the API.", "items")

    # The stream
    tick_s: float = _setting(15.0, "Time between two ticks of one stream.", "seconds")
    retry_min_ms: int = _setting(1_000, "Least reconnection time told to a stream.", "milliseconds")
    retry_max_ms: int = _setting(5_000, "Most; each gets a random time between.", "milliseconds")
    write_buffer_bytes: int = _setting(
        65_536, "User-space buffer of one stream; over it the reader is behind.", "bytes"
    )
    send_buffer_bytes: int = _setting(32_768, "SO_SNDBUF of each connection: the kernel's part of the buffer.", "bytes")
    send_deadline_s: float = _setting(30.0, "A reader behind or unacknowledged for longer is cut.", "seconds")
    stream_max: int = _setting(
        0, "Most open streams of one process. 0: the descriptor limit less a reserve.", "streams"
    )
    stream_max_per_address: int = _setting(
        200, "Most open streams of one address (IPv6: of one /64) in one process. 0: no limit.", "streams"
    )
    stream_max_total: int = _setting(
        0, "Most open streams of all processes of the feed, to within a probe. 0: no limit.", "streams"
    )
    trusted_proxies: str = _setting(
        "127.0.0.0/8,::1/128",
        "Networks (commas between) whose X-Forwarded-For is believed; no limit for who comes without one.",
    )
    drain_s: float = _setting(5.0, "On SIGTERM streams are ended spread over this time.", "seconds")

    # Plain requests
    head_deadline_s: float = _setting(
        10.0, "A request's head must be complete this long after its connection, or its first byte.", "seconds"
    )
    rate_grace_s: float = _setting(10.0, "A body or a download may take this long whatever its rate...", "seconds")
    rate_min_bytes: int = _setting(1_024, "...and one second more for each of these; then it is cut.", "bytes")

    # The listener
    probe_s: float = _setting(1.0, "Time between two loopback probes over the channel.", "seconds")
    deaf_s: float = _setting(4.0, "Without an echo for this long the process counts as deaf.", "seconds")
    redis_timeout_s: float = _setting(5.0, "Longest wait for one answer of Redis.", "seconds")

    # Monitoring
    metrics_port: int = _setting(0, "A port of their own for /metrics and /readyz. 0: none.")
    metrics_host: str = _setting("127.0.0.1", "Address of that port.")
    metrics_token: str = _setting(
        "",
        "Bearer token for /metrics, on either port. Empty: none is asked on that port, and nothing is on the main one.",
    )

    site: Site = field(default_factory=Site)

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The site's time zone, by the newest database at hand."""
        return site_zone(self.time_zone)

    @property
    def trusted_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """`trusted_proxies`, read."""
        return tuple(ipaddress.ip_network(part.strip()) for part in self.trusted_proxies.split(",") if part.strip())

    @property
    def base_url(self) -> str:
        """`public_url`, or the address served at where it is empty; never taken from a request's Host."""
        if self.public_url:
            return self.public_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
        """Read and check all settings.

        :raises StartError: for an unknown variable or a bad value, naming it.
        """
        known = {variable(f.name): f for f in table()}
        unknown = sorted(name for name in environ if name.startswith("LIVEFEED_") and name not in known)
        if unknown:
            raise StartError(f"{unknown[0]} is not a setting of livefeed; `livefeed settings` lists them all.")
        values: dict[str, Any] = {}
        for plain in ("host", "port"):
            if plain.upper() in environ:
                values[plain] = _read(plain.upper(), environ[plain.upper()], _field(plain))
        for name, f in known.items():
            if name in environ:
                values[f.name] = _read(name, environ[name], f)
        values.update(overrides)
        settings = cls(**values)
        if settings.site_file:
            settings = cls(**values, site=_read_site(settings.site_file))
        settings._check()
        return settings

    def _check(self) -> None:
        """Relations between settings, and values that parse but cannot work.

        :raises StartError: naming the variable.
        """
        try:
            site_zone(self.time_zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            raise StartError(
                f"LIVEFEED_TIME_ZONE: {self.time_zone!r} is not a zone of the IANA database, such as Africa/Casablanca."
            ) from None
        parts = urlsplit(self.public_url)
        if self.public_url and (
            parts.scheme not in ("http", "https") or not parts.netloc or self.public_url[-1] == "/"
        ):
            raise StartError("LIVEFEED_PUBLIC_URL: must be like https://news.example, without a trailing slash.")
        try:
            _ = self.trusted_networks
        except ValueError as error:
            raise StartError(f"LIVEFEED_TRUSTED_PROXIES: {error}.") from None
        if not 0 <= self.port <= 65_535:
            raise StartError(f"LIVEFEED_PORT: {self.port} is not a port (0 to 65535).")
        if self.retry_min_ms > self.retry_max_ms:
            raise StartError("LIVEFEED_RETRY_MIN_MS: must not be above LIVEFEED_RETRY_MAX_MS.")
        zero_allowed = {"port", "stream_max", "stream_max_per_address", "stream_max_total", "drain_s"}
        zero_allowed.add("metrics_port")
        if not 0 <= self.metrics_port <= 65_535:
            raise StartError(f"LIVEFEED_METRICS_PORT: {self.metrics_port} is not a port (0 to 65535).")
        for f in table():
            value = getattr(self, f.name)
            low = 0 if f.name in zero_allowed else 1e-3
            if isinstance(value, int | float) and not isinstance(value, bool) and value < low:
                raise StartError(f"{variable(f.name)}: {value} is too small.")
        if not self.feed_name.replace("-", "").replace("_", "").isalnum():
            raise StartError("LIVEFEED_FEED_NAME: letters, digits, - and _ only.")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"LIVEFEED_{name.upper()}"


def table() -> list[Field[Any]]:
    """The settings that the environment can set, in the order of the class; for the CLI and the README's test."""
    return [f for f in fields(Settings) if "help" in f.metadata]


def _field(name: str) -> Field[Any]:
    return next(f for f in table() if f.name == name)


def _read(name: str, text: str, f: Field[Any]) -> Any:
    kind: Any = type(f.default)
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        if isinstance(f.default, Path):
            return Path(text).expanduser()
        return kind(text)
    except (ValueError, KeyError):
        wanted = {bool: "yes or no", int: "a whole number", float: "a number"}[kind]
        raise StartError(f"{name}: {text!r} is not {wanted}.") from None


def _read_site(path: str) -> Site:
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        site = msgspec.convert(data, Site)
    except OSError as error:
        raise StartError(f"LIVEFEED_SITE_FILE: cannot read {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise StartError(f"LIVEFEED_SITE_FILE: {path}: {error}.") from None
    slugs = [rubric.slug for rubric in site.rubrics]
    if not slugs or len(set(slugs)) != len(slugs):
        raise StartError(f"LIVEFEED_SITE_FILE: {path}: rubrics must not be empty or share a slug.")
    for rubric in site.rubrics:
        if "fr" not in rubric.name:
            raise StartError(f"LIVEFEED_SITE_FILE: {path}: rubric {rubric.slug!r} needs a French name.")
    for category, slug in site.categories.items():
        if slug not in slugs:
            raise StartError(f"LIVEFEED_SITE_FILE: {path}: category {category!r} maps to unknown rubric {slug!r}.")
    return site
