"""Log lines: for a terminal or as JSON, on stderr, one event a line whatever text it carries.

A newline or an escape sequence in somebody's text is written as ``\\n`` or ``\\x1b``. Only a traceback has lines of its
own, and each of them starts with ``    | ``, so that none can pass for an event.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from livefeed.settings import Settings

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROLS |= {9: "\\t", 10: "\\n", 13: "\\r", 0x85: "\\x85"}
# Line and paragraph separators break lines in some viewers; direction marks can make a line read as another one.
_CONTROLS |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def configure(settings: Settings, level: int = logging.INFO) -> None:
    """Set up structlog and the standard library's loggers (uvicorn's among them) for this process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _escape,
    ]
    renderer: Processor = structlog.processors.JSONRenderer()
    if not settings.log_json:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # At INFO uvicorn tells the steps of its start and stop; livefeed says itself when it serves.
    logging.getLogger("uvicorn").setLevel(max(level, logging.WARNING))


def printable(text: str) -> str:
    """`text` on one line: control characters, line separators, direction overrides and lone surrogates escaped."""
    return text.translate(_CONTROLS).encode("utf-8", "backslashreplace").decode("utf-8")


def _escape(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if key == "exception" and isinstance(value, str):
            event[key] = "\n".join(f"    | {printable(line)}" for line in value.split("\n"))
        elif not key.startswith("_"):  # the formatter's own record and flags
            event[key] = _one_line(value)
    return event


def _one_line(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return printable(repr(value))
