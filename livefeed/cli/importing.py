"""`livefeed import` and `livefeed export`: feed files in, JSON lines out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from livefeed.cli.appearance import FAINT, notice, one_line, paragraph, stderr
from livefeed.cli.client import Client, NotLivefeed
from livefeed.cli.outcome import PARTLY, REFUSED, Failed
from livefeed.cli.recent import filter_options, filter_params
from livefeed.cli.server import Server, server_options, writing_options
from livefeed.settings import LANGUAGES

if TYPE_CHECKING:
    from livefeed.newsroom.importing import Note, Outcome, Summary
    from livefeed.newsroom.input import Entry

NOTES_SHOWN = 20
"""Lines of each kind in the summary of an import; a file in the wrong form would fill the screen."""


@click.command("import")
@click.argument("file", metavar="FILE|-")
@click.option("--rubric", metavar="SLUG", help="For entries whose categories name none of the site's rubrics.")
@click.option(
    "--language", type=click.Choice(LANGUAGES), default=LANGUAGES[0], show_default=True, help="Where none is declared."
)
@click.option("--dry-run", is_flag=True, help="Read and report, but import nothing; needs no server.")
@click.option("--all-notes", is_flag=True, help=f"Show every refused entry, not the first {NOTES_SHOWN}.")
@writing_options
def import_(server: Server, file: str, rubric: str | None, language: str, dry_run: bool, all_notes: bool) -> None:
    """Import a feed file, of any of five kinds.

    RSS, Atom, JSON Feed, ninjs, and what `export` wrote, in any declared encoding. Dates, authors, categories,
    language and images are kept. Importing again changes nothing; a changed entry becomes a new version. Exits with
    3 when some entries were refused, and with 1 when none could be imported.

    \b
    curl -s https://fil.example/feed.xml | livefeed import - --rubric monde
    """
    from livefeed.newsroom.importing import FILE_MAX_BYTES, read, run_import

    results = list(read(_read_file(file, FILE_MAX_BYTES), server.settings, rubric=rubric, language=language))
    with Client(server, frozenset({"publish"})) as client, _progress("Importing", len(results)) as bar:
        done = iter(range(1, len(results) + 1))
        post = _dry_post if dry_run else _poster(client)
        summary = asyncio.run(run_import(results, post, lambda _: bar(next(done))))
    _show(summary, dry_run=dry_run, shown=len(results) if all_notes else NOTES_SHOWN)
    if summary.stopped is not None:
        raise Failed(f"The import stopped early: {summary.stopped} Run it again to go on: what is in stays as it is.")
    if summary.refused:
        sys.exit(PARTLY if summary.imported else REFUSED)


@click.command()
@click.argument("file", metavar="[FILE|-]", default="-")
@filter_options
@server_options
def export(server: Server, file: str, **filters: tuple[str, ...]) -> None:
    """Write the public items as JSON lines.

    Newest first, for `import` on this or another server; to stdout, or to a file that appears when it is whole.
    """
    from livefeed.feed.item import PublicItem
    from livefeed.newsroom.importing import export_line

    written = bare = 0
    with Client(server) as client, _output(file) as out, _progress("Exporting", None) as bar:
        for item in client.items(filter_params(filters)):
            try:
                known = msgspec.convert(item, PublicItem)
            except msgspec.ValidationError as error:
                raise NotLivefeed(f"{server.name} gave an item that cannot be read: {error}.") from None
            out.write(export_line(known))
            written += 1
            bare += known.access == "subscribers"
            bar(written)
    if bare:
        notice(f"{bare} items are for subscribers only: their text is not public, so the export has only headlines.")
    if file != "-":
        notice(f"{written} items written to {file}.")


def _read_file(name: str, max_bytes: int) -> bytes:
    """The bytes of a file or of stdin, one more than `max_bytes` at most: the reader refuses what is longer."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(max_bytes + 1)
        with Path(name).open("rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise click.BadParameter(f"cannot read {name}: {error.strerror}.", param_hint="FILE") from None


def _poster(client: Client) -> Any:
    async def post(entry: Entry) -> Outcome:
        changed = await asyncio.to_thread(client.change, "POST", "/api/import", entry)
        outcome: Outcome = changed.body.get("outcome", "")
        if outcome not in ("created", "updated", "unchanged"):
            raise NotLivefeed(f"the server gave an unknown answer to an import: {outcome!r}.")
        return outcome

    return post


def _dry_post(entry: Entry) -> Outcome:
    return "unchanged"


def _show(summary: Summary, *, dry_run: bool, shown: int) -> None:
    for title, notes, style in (
        ("Refused", summary.refused, "red"),
        ("Left out", summary.skipped, "yellow"),
        ("Imported with a remark", summary.warnings, FAINT),
    ):
        _show_notes(title, notes, style, shown)
    if dry_run:
        counts = f"{summary.imported} could be imported"
    else:
        counts = f"{summary.created} new, {summary.updated} updated, {summary.unchanged} unchanged"
    others = [(len(summary.refused), "refused"), (len(summary.skipped), "left out")]
    counts += "".join(f", {number} {word}" for number, word in others if number)
    paragraph(Text(f"{counts}."))


def _show_notes(title: str, notes: list[Note], style: str, shown: int) -> None:
    err = stderr()
    if notes:
        err.print(Text(f"{title}:", style))
    for note in notes[:shown]:
        paragraph(Text(one_line(str(note))), indent=2)
    if len(notes) > shown:
        err.print(Text(f"  and {len(notes) - shown} more (--all-notes)", FAINT))


@contextlib.contextmanager
def _progress(title: str, total: int | None) -> Iterator[Any]:
    """A progress bar on stderr where that is a terminal; gives the function that is told how many are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = stderr()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextlib.contextmanager
def _output(name: str) -> Iterator[BinaryIO]:
    """Where an export goes: stdout, or a file that appears under its name only when it is whole."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(name)
    part = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(target)
    except OSError as error:
        raise Failed(f"Cannot write {name}: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
