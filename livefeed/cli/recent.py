"""The newest items as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from livefeed.cli import naming
from livefeed.cli.appearance import FAINT, clock, day, headline, notice, one_line, stdout, when
from livefeed.cli.client import PAGE, Client, Params
from livefeed.cli.item_options import LEVELS
from livefeed.cli.server import Server, server_options
from livefeed.settings import LANGUAGES

FILTERS = ("rubric", "language", "thread", "tag", "level")

Function = TypeVar("Function", bound=Callable[..., Any])


def filter_options(function: Function) -> Function:
    """Gives a command the feed's filters: values of one are alternatives, several must all hold."""
    decorated: Any = function
    for option in (
        click.option("--level", multiple=True, type=click.Choice(LEVELS), help="Repeatable."),
        click.option("--tag", multiple=True, metavar="TEXT", help="Repeatable."),
        click.option("--thread", multiple=True, metavar="SLUG", help="Repeatable."),
        click.option("--language", multiple=True, type=click.Choice(LANGUAGES), help="Repeatable."),
        click.option("--rubric", multiple=True, metavar="SLUG", help="Only this section; repeatable."),
    ):
        decorated = option(decorated)
    result: Function = decorated
    return result


def filter_params(values: dict[str, tuple[str, ...]]) -> Params:
    """The query of the given filters."""
    return [(name, value) for name in FILTERS for value in values[name]]


@click.command()
@click.option("--limit", type=click.IntRange(1, PAGE), default=15, show_default=True, help="How many.")
@filter_options
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")
@server_options
def recent(server: Server, limit: int, as_json: bool, **filters: tuple[str, ...]) -> None:
    """List the newest items.

    The first column is the end of each id; it is enough to name the item in other commands. In a pipe: one line each,
    with tabs between id, time, rubric, language, level, status and headline.
    """
    with Client(server) as client:
        page = client.get("/api/items", [*filter_params(filters), ("limit", str(limit))])
    if as_json:
        click.echo(msgspec.json.encode(page))
    elif not stdout().is_terminal:
        for item in page["items"]:
            fields = ("id", "first_published_at", "rubric", "language", "level", "status", "headline")
            click.echo("\t".join(one_line(str(item.get(field, ""))) for field in fields))
    elif not page["items"]:
        notice("No items yet." if not any(filters.values()) else "No items with this filter.")
    else:
        stdout().print(table(page["items"], server))


def table(items: list[dict[str, Any]], server: Server) -> Table:
    """The items by day, readable at 80 columns."""
    zone = server.settings.zone
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), expand=False, header_style=FAINT)
    shown.add_column("Id", no_wrap=True, style="cyan")
    shown.add_column("Time", no_wrap=True)
    shown.add_column("Rubric", no_wrap=True, max_width=12)
    shown.add_column("Headline", ratio=1)
    last_day = ""
    for item in items:
        published = when(item.get("first_published_at"))
        if published and day(published, zone) != last_day:
            last_day = day(published, zone)
            shown.add_row("", "", "", Text(last_day, "bold"))
        gone = item.get("status") == "withdrawn"
        shown.add_row(
            naming.short(str(item["id"])),
            clock(published, zone) if published else "",
            one_line(str(item.get("rubric", ""))),
            headline(item),
            style=FAINT if gone else "",
        )
    return shown
