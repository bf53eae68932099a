"""`livefeed tail`: the feed in the terminal, as it happens."""

from __future__ import annotations

import asyncio
import contextlib
import select
import signal
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click
import msgspec
from rich.table import Table
from rich.text import Text

from livefeed.cli import naming
from livefeed.cli.appearance import FAINT, KIND_CELLS, KINDS, clock, headline, notice, one_line, stdout, when
from livefeed.cli.client import PAGE, Client, Params
from livefeed.cli.following import Follower
from livefeed.cli.moments import iso, moment
from livefeed.cli.outcome import DONE, leave_pipe
from livefeed.cli.recent import FILTERS, filter_options, filter_params
from livefeed.cli.server import Server, server_options

REMEMBERED_ITEMS = 20_000
"""Items whose last state is remembered, so that a snapshot after a reset repeats nothing; some 4 MB."""


@click.command()
@filter_options
@click.option("--since", metavar="TIME", help="Start with all that happened since: 18:30, 2h, 2026-11-24T18:30.")
@click.option(
    "-n", "--lines", type=click.IntRange(0, PAGE), default=10, show_default=True, help="Newest items to start with."
)
@click.option("--lite", is_flag=True, help="Ask for headlines only: a fifth of the bytes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: event, position, and the event's data.")
@server_options
def tail(server: Server, since: str | None, lines: int, lite: bool, as_json: bool, **filters: tuple[str, ...]) -> None:
    """Follow the feed as it happens, until Ctrl-C.

    Every publish, edit, correction and withdrawal is a line. A lost connection is taken up again where it broke
    off. In a pipe: one line each, with tabs between time, kind, rubric, id and headline. The interval of the
    server's ticks, LIVEFEED_TICK_S, tells a dead connection from a calm one.

    \b
    livefeed tail --rubric politique --level urgent
    livefeed tail --since 2h --json | jq .headline
    """
    query = [*filter_params(filters), ("view", "lite" if lite else "full")]
    show = Show(server, query, {name: frozenset(filters[name]) for name in FILTERS}, as_json)
    start = [] if since is None else _start(since, server)
    try:
        with Client(server) as client:
            page = client.get("/api/items", [*query, ("limit", str(max(lines, 1)))])
        position = ""
        if since is None:
            show.snapshot(page, lines)
            position = str(page["position"])
        follower = Follower(server, show, [*query, *start], position, server.settings.tick_s)
        # A Ctrl-C while the loop is being set up waits until it can be dealt with: `_until_closed` lets it in.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        asyncio.run(_until_closed(follower))
    except KeyboardInterrupt:
        sys.exit(DONE)
    except BrokenPipeError:
        leave_pipe()
        sys.exit(DONE)


def _start(since: str, server: Server) -> list[tuple[str, str]]:
    if since.isascii() and since.isdecimal() and len(since) > 4:
        return [("since", since)]  # milliseconds since 1970, as the API has them
    try:
        return [("since", iso(moment(since, server.settings.zone, datetime.now(UTC), past=True)))]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from None


async def _until_closed(follower: Follower) -> None:
    """Follow until Ctrl-C, or until whoever reads our output has gone.

    :raises BrokenPipeError: the reader has gone.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    async with _closed_pipe() as closed, asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follower.run())
        waiting = tasks.create_task(closed.wait())
        await asyncio.wait((following, waiting), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            following.cancel()
        else:
            waiting.cancel()
    if closed.is_set():
        raise BrokenPipeError


@contextlib.asynccontextmanager
async def _closed_pipe() -> AsyncIterator[asyncio.Event]:
    """An event that is set when nobody reads our output any more, so that ``tail | head`` ends on a calm feed too.

    A write would tell as well, but only with the next item. Linux reports it unasked to an epoll that waits for
    nothing; elsewhere the next write has to do.
    """
    closed = asyncio.Event()
    if not hasattr(select, "epoll"):
        yield closed
        return
    watch = select.epoll()
    loop = asyncio.get_running_loop()
    try:
        with contextlib.suppress(OSError, ValueError):  # a regular file, or no descriptor at all: cannot close on us
            watch.register(sys.stdout.fileno(), 0)
        loop.add_reader(watch.fileno(), closed.set)
        yield closed
    finally:
        loop.remove_reader(watch.fileno())
        watch.close()


class Shown(NamedTuple):
    """What was last shown of an item."""

    version: int
    status: str
    headline: str


class Show:
    """Writes what happens: a line for a person, a line for a pipe, or JSON."""

    def __init__(self, server: Server, query: Params, wanted: dict[str, frozenset[str]], as_json: bool) -> None:
        self._zone = server.settings.zone
        self._query = query
        self._wanted = wanted
        self._as_json = as_json
        self._out = stdout()
        self._plain = not self._out.is_terminal
        self._known: OrderedDict[str, Shown] = OrderedDict()
        self._live = True

    def snapshot(self, page: dict[str, Any], lines: int) -> None:
        """The items of a snapshot, oldest first, but for those that were shown in this state."""
        for count, item in reversed(list(enumerate(page["items"]))):
            new = self._known.get(item["id"]) != _shown(item)
            self._remember(item)
            if new and count < lines:
                self._line({**item, "change": "snapshot"}, str(page["position"]))

    def item(self, data: dict[str, Any], position: str) -> None:
        """One event of the feed; of each item only what is newer than what was shown."""
        known = self._known.get(str(data.get("id")))
        if known is not None and data.get("version", 0) <= known.version:
            return
        self._remember(data)
        self._line(data, position)

    def tick(self, data: dict[str, Any]) -> None:
        """Says when the server is not sure to hear the newsroom, and when it is again."""
        live = data.get("live") is not False
        if live != self._live:
            self._live = live
            notice("Live again." if live else "The server is not sure to hear the newsroom at the moment.")

    async def reset(self, reason: str, position: str, snapshot: Callable[[Params], Awaitable[dict[str, Any]]]) -> None:
        """Fetches the snapshot and shows what is new in it.

        The known versions are compared, not ordered: in another history of the log (a restored backup) version 2 may
        be another one.
        """
        page = await snapshot([*self._query, ("limit", str(PAGE))])
        if self._as_json:
            self._write({"event": "reset", "position": position, "reason": reason})
        notice(f"The feed could not be continued ({reason}): here is what is new in its newest {PAGE} items.")
        known = self._known
        self._known = OrderedDict((item["id"], known[item["id"]]) for item in page["items"] if item["id"] in known)
        self.snapshot(page, PAGE)

    def lost(self, reason: str, wait_s: float) -> None:
        """Says so."""
        notice(f"{reason[:1].upper()}{reason[1:].rstrip('.')}; trying again in {wait_s:.1f} s.")

    def connected(self, url: str) -> None:
        """Says so."""
        notice(f"Following {url}")

    def _remember(self, item: dict[str, Any]) -> None:
        self._known[item["id"]] = _shown(item)
        self._known.move_to_end(item["id"])
        if len(self._known) > REMEMBERED_ITEMS:
            self._known.popitem(last=False)

    def _line(self, data: dict[str, Any], position: str) -> None:
        if self._as_json:
            event = "snapshot" if data["change"] == "snapshot" else "item"
            shown = {name: value for name, value in data.items() if event == "item" or name != "change"}
            self._write({"event": event, "position": position, **shown})
            return
        kind, style = self._kind(data)
        changed = data["change"] in ("correct", "withdraw", "restore")
        time = when((changed and data.get("updated_at")) or data.get("first_published_at"))
        corrections = data.get("corrections") or [{}]
        note = one_line(str(corrections[-1].get("note", ""))) if data["change"] == "correct" else ""
        rubric = one_line(str(data.get("rubric", "")))
        if self._plain:
            stamp = time.astimezone(self._zone).isoformat(timespec="seconds") if time else ""
            text = one_line(str(data.get("headline", "")))
            self._echo("\t".join((stamp, kind, rubric, str(data["id"]), f"{text} — {note}" if note else text)))
            return
        line = Table.grid(padding=(0, 1), expand=True)
        for width in (5, KIND_CELLS, 10, None, naming.SHORT_CHARS):
            line.add_column(width=width, ratio=1 if width is None else None, no_wrap=width is not None)
        what = headline(data)
        if note:
            what = Text.assemble(what, "\n", (note, "yellow"))
        id = Text(naming.short(str(data["id"])), "cyan dim")
        line.add_row(clock(time, self._zone) if time else "", Text(kind, style), Text(rubric, FAINT), what, id)
        self._out.print(line)
        self._flush()

    def _kind(self, data: dict[str, Any]) -> tuple[str, str]:
        change = str(data["change"])
        if data.get("status") == "withdrawn":
            change = "withdraw"
        elif change != "snapshot" and not self._matches(data):
            change = "moved"
        elif data.get("backfill"):
            change = "archive"
        return KINDS.get(change, ("", ""))

    def _matches(self, data: dict[str, Any]) -> bool:
        """Whether the item is still what was asked for; a field that the view leaves out counts as it is."""
        for name, wanted in self._wanted.items():
            field = "tags" if name == "tag" else name
            if not wanted or field not in data:
                continue
            values = data[field] if field == "tags" else [data[field]]
            if not wanted.intersection(values):
                return False
        return True

    def _write(self, data: dict[str, Any]) -> None:
        self._echo(msgspec.json.encode(data).decode())

    def _echo(self, line: str) -> None:
        click.echo(line)
        self._flush()

    @staticmethod
    def _flush() -> None:
        sys.stdout.flush()


def _shown(item: dict[str, Any]) -> Shown:
    return Shown(int(item["version"]), str(item["status"]), str(item["headline"]))
