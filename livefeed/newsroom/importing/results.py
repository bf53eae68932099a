"""What a reader of a feed file finds: an entry to import, or one that cannot be, each with its place. Pure."""

from __future__ import annotations

import msgspec

from livefeed.newsroom.input import Entry


class Place(msgspec.Struct, frozen=True):
    """Where in a file something stands, for a person who looks for it."""

    number: int
    """Entry number from 1, in the file's order; 0 is the file as a whole."""
    line: int | None = None
    """Line number from 1, where the format is made of lines."""
    hint: str = ""
    """The entry's title or guid, shortened; "" where it has neither."""

    def __str__(self) -> str:
        where = f"entry {self.number}" if self.number else "file"
        if self.line is not None:
            where += f", line {self.line}"
        return f"{where} « {self.hint} »" if self.hint else where


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that can be imported."""

    place: Place
    entry: Entry
    warnings: tuple[str, ...] = ()
    """What was left out or cut on the way, one sentence each; the entry is good without it."""


class BadEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry (or a file) that is not imported, and why."""

    place: Place
    reason: str
    """One sentence, with the way out where there is one."""
    skipped: bool = False
    """True where nothing is wrong with it, but its state forbids publishing: withheld, withdrawn, under embargo."""


class Remark(msgspec.Struct, frozen=True):
    """Something about a file that its owner should know, though it could be read."""

    place: Place
    text: str


Result = Found | BadEntry | Remark
