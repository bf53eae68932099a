"""What the terminal shows: one look for all commands. Words for kinds of change are the newsroom's own, in French."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

URGENT = "bold red"
IMPORTANT = "bold"
FAINT = "dim"

KINDS = {
    "publish": ("nouveau", "green"),
    "edit": ("modifié", FAINT),
    "correct": ("corrigé", "yellow"),
    "withdraw": ("retiré", FAINT),
    "restore": ("rétabli", "cyan"),
    "pin": ("épinglé", "blue"),
    "unpin": ("désépinglé", FAINT),
    "archive": ("archive", FAINT),
    "moved": ("sorti", FAINT),
}
"""Kind of change to its word and style; the last two are ours: a backfill, and an item that left the filter."""
KIND_CELLS = max(len(word) for word, _ in KINDS.values())

VERIFICATIONS = {"unverified": "à confirmer", "confirmed": "confirmé", "denied": "démenti"}

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Would move the cursor, colour the terminal or turn the line around; a foreign server might send them."""


def clean(text: str) -> str:
    """`text` without control characters, so that no news can steer the terminal; line breaks and tabs stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """`text` clean and on one line."""
    return " ".join(clean(text).split())


class _Console(Console):
    """Rich's own ends the process with an error when nobody reads on; for us that is an ordinary end."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command's end."""
        raise BrokenPipeError


def stdout() -> Console:
    """The console of results; plain and unwrapped where it is not a terminal."""
    return _Console(soft_wrap=not sys.stdout.isatty(), file=sys.stdout, highlight=False, emoji=False, markup=False)


def stderr() -> Console:
    """The console of notices and progress, so that results can be piped."""
    return Console(file=sys.stderr, highlight=False, emoji=False, markup=False)


def notice(text: str) -> None:
    """One faint line for the person at the terminal, beside the results."""
    paragraph(Text(one_line(text), FAINT))


def paragraph(text: Text, indent: int = 0) -> None:
    """A sentence on stderr: wrapped at words on a terminal, one line elsewhere."""
    console = stderr()
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, indent)))
    else:
        console.print(Text(" " * indent).append_text(text), soft_wrap=True)


def when(value: str | None) -> datetime | None:
    """The time that the API wrote, or None where there is none or it cannot be read."""
    try:
        found = datetime.fromisoformat(value) if value else None
    except (ValueError, TypeError):
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


def day(value: datetime, zone: tzinfo) -> str:
    """The day in the site's zone, as its pages write it."""
    return value.astimezone(zone).strftime("%d.%m.%Y")


def clock(value: datetime, zone: tzinfo) -> str:
    """The time of day in the site's zone."""
    return value.astimezone(zone).strftime("%H:%M")


def headline(item: Mapping[str, Any]) -> Text:
    """An item's headline with its marks and in its style."""
    if item.get("status") == "withdrawn":
        return Text(one_line(str(item.get("headline", ""))), f"{FAINT} italic")
    level = item.get("level", "normal")
    text = Text()
    if level == "urgent":
        text.append("URGENT ", f"{URGENT} reverse")
        text.append(" ")
    text.append(one_line(str(item.get("headline", ""))), {"urgent": URGENT, "important": IMPORTANT}.get(level, ""))
    for mark, style in _marks(item):
        text.append(f" [{mark}]", style)
    return text


def _marks(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    marks = []
    until = when(item.get("pinned_until"))
    if until and until > datetime.now(UTC):
        marks.append(("épinglé", "blue"))
    if item.get("key"):
        marks.append(("essentiel", "magenta"))
    if word := VERIFICATIONS.get(str(item.get("verification"))):
        marks.append((word, "yellow"))
    if item.get("corrections"):
        marks.append(("corrigé", "yellow"))
    return marks
