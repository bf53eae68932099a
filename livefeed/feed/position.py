"""Positions: where one stands in the log, and in which history. Pure.

A position is ``seq-mark``. `seq` counts the log's events 1, 2, 3… without holes; 0 is a new log's start. `mark` is the
first 8 hex digits of a hash chained over the log, so a position says not only how far one has read but which history:

    log A   1-aa00…  2-bb11…  3-cc22…          a reader stands at 3-cc22…
    a backup of A taken at 2 is restored, and two other events are published:
    log A'  1-aa00…  2-bb11…  3-dd33…  4-ee44…
    The reader's 3-cc22… is not A''s 3-dd33…: a bare number would have gone on at 4 and lost the new 3 without a word.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple

MARK_CHARS = 8
"""32 bits: two histories that differ agree by chance once in 4 * 10^9 comparisons."""
_POSITION = re.compile(r"(0|[1-9][0-9]{0,14})-([0-9a-f]{8})", re.ASCII)
"""15 digits of seq: a million events a second for 31 years, and exact as a double in Lua and JavaScript."""


class Position(NamedTuple):
    """A place in one history of the log."""

    seq: int
    mark: str

    def __str__(self) -> str:
        return f"{self.seq}-{self.mark}"


def parse(value: str) -> Position | None:
    """The position that `value` writes, or None where it is not one."""
    match = _POSITION.fullmatch(value)
    return Position(int(match[1]), match[2]) if match else None


def chain(mark: str, body: bytes) -> str:
    """The mark after the event `body` in a history whose mark was `mark`; publish.lua computes the same."""
    return hashlib.sha1(mark.encode() + b"\n" + body, usedforsecurity=False).hexdigest()[:MARK_CHARS]


def new_mark() -> str:
    """A random mark for the start of a new log."""
    return secrets.token_hex(MARK_CHARS // 2)
