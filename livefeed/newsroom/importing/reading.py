"""From the bytes of a feed file to its entries, whatever its format and encoding."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

from livefeed.feed.item import now as present
from livefeed.newsroom.importing import decoding, json_feeds, lines, ninjs, xml_feeds
from livefeed.newsroom.importing.raw import Raw
from livefeed.newsroom.importing.results import BadEntry, Place, Remark, Result
from livefeed.newsroom.importing.shaping import Shaper
from livefeed.settings import Settings

FILE_MAX_BYTES = 67_108_864
"""Largest feed file, in bytes (64 MiB): all of it is held in memory while it is read."""
ENTRIES_MAX = 100_000
"""Most entries read of one file; the rest is reported as left out. A newsroom of 150 items a day for two years."""

_GZIP = b"\x1f\x8b"
FORMATS = "RSS, Atom, JSON Feed, ninjs and the JSON lines of livefeed export"


def read(
    data: bytes,
    settings: Settings,
    *,
    rubric: str | None = None,
    language: str = "fr",
    now: datetime | None = None,
) -> Iterator[Result]:
    """The entries of a file, in its order, each `Found` or a `BadEntry`; never raises, whatever the bytes.

    The caller reads at most `FILE_MAX_BYTES` + 1 bytes of its file; more than `FILE_MAX_BYTES` is refused here.

    :param rubric: slug for entries whose categories name no rubric; None makes those bad entries.
    :param language: for entries that do not say theirs.
    :param now: the present, for embargoes and dates in the future; None asks the clock.
    """
    if len(data) > FILE_MAX_BYTES:
        yield _whole(f"It is larger than {FILE_MAX_BYTES // 1_048_576} MiB; cut it into several files.")
        return
    if data.startswith(_GZIP):
        yield _whole("It is compressed; unpack it first: gunzip -c FILE | livefeed import -")
        return
    now = now or present()
    text, remark = decoding.text(data)
    if remark is not None:
        yield Remark(Place(0), remark)
    shaper = Shaper(settings, rubric=rubric, language=language, now=now)
    for number, found in enumerate(_entries(text, now, settings, rubric)):
        if number == ENTRIES_MAX:
            yield _whole(f"It has more than {ENTRIES_MAX} entries; the rest was left out.")
            return
        yield _shaped(found, shaper)


def _shaped(found: Raw | Result, shaper: Shaper) -> Result:
    if not isinstance(found, Raw):
        return found
    try:
        return shaper.shape(found)
    except Exception as error:  # one entry that a library trips over must not cost the others
        return BadEntry(place=Place(found.number, found.line), reason=f"It cannot be read ({type(error).__name__}).")


def _entries(text: str, now: datetime, settings: Settings, rubric: str | None) -> Iterator[Raw | Result]:
    start = text.lstrip()[:1]
    if start == "<":
        return xml_feeds.read(text)
    if start in ("{", "["):
        return _json_entries(text, now, settings, rubric)
    return iter([_whole(f"It is none of {FORMATS}." if start else "It is empty.")])


def _json_entries(text: str, now: datetime, settings: Settings, rubric: str | None) -> Iterator[Raw | Result]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if lines.is_file(text):
            return lines.read(text, now, settings, rubric)
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        return iter([_whole(f"Its JSON cannot be read: {reason}.")])
    if json_feeds.is_json_feed(value):
        return json_feeds.read(value)
    if found := ninjs.found_in(value):
        return ninjs.read(found, now)
    objects = value if isinstance(value, list) else [value]
    if any(lines.is_line(element) for element in objects):
        return lines.read("\n".join(json.dumps(element) for element in objects), now, settings, rubric)
    return iter([_whole(f"It is JSON, but none of {FORMATS}.")] if objects else [])


def _whole(reason: str) -> BadEntry:
    return BadEntry(place=Place(0), reason=reason)
