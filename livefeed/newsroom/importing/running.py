"""An import as a whole: every entry to the server, one after the other, and the count of what became of them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable
from typing import Literal, Protocol

import msgspec

from livefeed.errors import ApiError, Forbidden, LivefeedError, Unauthorized, Unavailable
from livefeed.newsroom.importing.results import BadEntry, Found, Place, Remark, Result
from livefeed.newsroom.input import Entry

Outcome = Literal["created", "updated", "unchanged"]

_HOPELESS = (Unauthorized, Forbidden, Unavailable)
"""Refusals that every further entry would meet as well."""


class Post(Protocol):
    """Sends one entry to ``POST /api/import``; a coroutine function or a plain one.

    It raises `ApiError` where the server refuses the entry, and any other `LivefeedError` where the server cannot
    be reached at all. Sending an entry twice is harmless: the server knows it by its guid.
    """

    def __call__(self, entry: Entry, /) -> Outcome | Awaitable[Outcome]: ...


class Progress(Protocol):
    """Told after each entry; `summary` is the one that `run_import` returns in the end, as far as it has come."""

    def __call__(self, summary: Summary, /) -> None: ...


class Note(msgspec.Struct, frozen=True):
    """One line of the summary: what was refused, skipped or warned of, and where."""

    place: Place
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class Summary(msgspec.Struct, kw_only=True):
    """What became of an import; plain data, whoever shows it decides how."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: list[Note] = []
    """Entries that could not be read, and those that the server refused."""
    skipped: list[Note] = []
    """Entries whose state forbids publishing: withheld, withdrawn, under embargo."""
    warnings: list[Note] = []
    """What was left out or cut of entries that were imported, and what is odd about the file."""
    stopped: str | None = None
    """Why the import ended early; null where it reached the end. Run it again: what is there stays as it is."""

    @property
    def imported(self) -> int:
        """Entries that the server now holds as the file has them."""
        return self.created + self.updated + self.unchanged

    @property
    def seen(self) -> int:
        """Entries that were dealt with, in whatever way."""
        return self.imported + len(self.refused) + len(self.skipped)

    @property
    def good(self) -> bool:
        """Whether nothing was refused and the import reached the end; the command's exit status."""
        return not self.refused and self.stopped is None


async def run_import(results: Iterable[Result], post: Post, progress: Progress | None = None) -> Summary:
    """Send every entry that was found, in order, one at a time; a refused one does not stop the rest.

    Never raises for a refusal: `Summary.refused` and `Summary.stopped` tell. `results` may be the reader's iterator
    itself; where the total is wanted for a progress bar, make it a list first.
    """
    summary = Summary()
    for result in results:
        if isinstance(result, BadEntry):
            notes = summary.skipped if result.skipped else summary.refused
            notes.append(Note(result.place, result.reason))
        elif isinstance(result, Remark):
            summary.warnings.append(Note(result.place, result.text))
        elif not await _send(result, post, summary):
            return summary
        if progress is not None:
            progress(summary)
    return summary


async def _send(found: Found, post: Post, summary: Summary) -> bool:
    """Send one entry and count it; False where it makes no sense to go on."""
    try:
        answer = post(found.entry)
        outcome: Outcome = await answer if inspect.isawaitable(answer) else answer
    except _HOPELESS as error:
        summary.stopped = f"{found.place}: {error}"
        return False
    except ApiError as error:
        summary.refused.append(Note(found.place, str(error)))
        return True
    except LivefeedError as error:
        summary.stopped = f"{found.place}: {error}"
        return False
    summary.warnings.extend(Note(found.place, warning) for warning in found.warnings)
    setattr(summary, outcome, getattr(summary, outcome) + 1)
    return True
