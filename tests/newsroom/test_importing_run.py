"""A run sends every entry, counts what became of it, and never stops for one that is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livefeed.errors import (
    Conflict,
    Forbidden,
    InvalidField,
    LivefeedError,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from livefeed.newsroom.importing import BadEntry, Found, Outcome, Place, Remark, Result, Summary, run_import
from livefeed.newsroom.input import Entry


def found(number: int, *warnings: str) -> Found:
    return Found(place=Place(number, hint=f"Titre {number}"), entry=Entry(guid=str(number)), warnings=warnings)


RESULTS: list[Result] = [
    Remark(Place(0), "odd"),
    found(1),
    found(2, "cut"),
    BadEntry(place=Place(3, line=9), reason="no rubric"),
    BadEntry(place=Place(4), reason="withheld", skipped=True),
    found(5),
    found(6),
]


class Server:
    """Answers in turn, an error by raising it."""

    def __init__(self, *answers: Outcome | LivefeedError) -> None:
        self._answers = iter(answers)
        self.posted: list[str] = []

    async def post(self, entry: Entry) -> Outcome:
        self.posted.append(entry.guid)
        answer = next(self._answers)
        if isinstance(answer, LivefeedError):
            raise answer
        return answer


async def test_everything_is_counted() -> None:
    """Created, updated, unchanged, refused by reader or server, skipped and remarks: each with its place."""
    server = Server("created", "updated", "unchanged", InvalidField("rubric is unknown", field="rubric"))
    summary = await run_import(RESULTS, server.post)

    assert server.posted == ["1", "2", "5", "6"]
    assert (summary.created, summary.updated, summary.unchanged) == (1, 1, 1)
    assert [str(note) for note in summary.refused] == [
        "entry 3, line 9: no rubric",
        "entry 6 « Titre 6 »: rubric is unknown",
    ]
    assert [str(note) for note in summary.skipped] == ["entry 4: withheld"]
    assert [str(note) for note in summary.warnings] == ["file: odd", "entry 2 « Titre 2 »: cut"]
    assert (summary.imported, summary.seen) == (3, 6)
    assert summary.stopped is None
    assert not summary.good


async def test_a_plain_function_serves_as_well() -> None:
    """Who posts may be a coroutine function or a plain one."""
    summary = await run_import([found(1), found(2)], lambda entry: "created")

    assert summary.created == 2
    assert summary.good


@pytest.mark.parametrize("error", [Conflict("busy"), TooLarge("too large"), InvalidField("bad", field="body")])
async def test_a_refusal_does_not_stop_the_rest(error: LivefeedError) -> None:
    """What the server refuses is counted with its place, and the next entry is sent."""
    summary = await run_import([found(1), found(2)], Server(error, "created").post)

    assert summary.created == 1
    assert len(summary.refused) == 1
    assert summary.stopped is None


@pytest.mark.parametrize(
    "error",
    [Unauthorized("no token"), Forbidden("no scope"), Unavailable("away"), LivefeedError("no server at that address")],
)
async def test_what_would_refuse_all_stops_the_run(error: LivefeedError) -> None:
    """Without a server or a right to import there is no sense in going on: the summary says where and why."""
    server = Server("created", error)
    summary = await run_import([found(1), found(2), found(3)], server.post)

    assert server.posted == ["1", "2"]
    assert summary.created == 1
    assert summary.stopped == f"entry 2 « Titre 2 »: {error}"
    assert not summary.good


async def test_progress_is_told_after_each_result() -> None:
    """A progress bar moves with every result, and sees the summary as far as it has come."""
    seen: list[int] = []

    def progress(summary: Summary) -> None:
        seen.append(summary.seen)

    await run_import(RESULTS, Server("created", "created", "created", "created").post, progress)

    assert seen == [0, 1, 2, 3, 4, 5, 6]


async def test_the_reader_is_not_read_ahead() -> None:
    """Entries are sent as they are read, so that the run holds one at a time."""
    order: list[str] = []

    def reader() -> Iterator[Result]:
        for result in (found(1), found(2)):
            order.append(f"read {result.place.number}")
            yield result

    def post(entry: Entry) -> Outcome:
        order.append(f"post {entry.guid}")
        return "created"

    await run_import(reader(), post)

    assert order == ["read 1", "post 1", "read 2", "post 2"]
