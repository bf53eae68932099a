"""An item as pages show it: every word and link decided, so that the template only places them. Pure.

``static/item-view.js`` does the same in the browser; a test holds that both give the same DOM.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote_plus

from markupsafe import Markup

from livefeed.feed.item import PublicItem
from livefeed.reader.dates import Dates, Moment, iso
from livefeed.reader.messages import EDITIONS, NAMES, messages
from livefeed.settings import Site


class Link(NamedTuple):
    """A link; without `href` it is plain text."""

    href: str
    text: str
    language: str = ""
    """Of the page it leads to, where that is another one."""


class Mark(NamedTuple):
    """A word that marks an item: « Urgent »."""

    kind: str
    text: str


class ItemView(NamedTuple):
    """What `item.html` places."""

    item: PublicItem
    withdrawn: bool
    published: Moment
    published_iso: str
    pinned_until: str
    """"" where it is not pinned now."""
    rubric: Link
    marks: list[Mark]
    body: Markup
    corrections: list[tuple[Moment, str]]
    by: str
    source: str
    updated: Moment | None
    reading_time: str
    links: list[Link]
    """Thread, tags and the same story in other languages."""


def view(item: PublicItem, language: str, dates: Dates, site: Site, now: datetime) -> ItemView:
    """`item` on a page in `language` at `now`."""
    m = messages(language)
    withdrawn = item.status == "withdrawn"
    pinned_until = changes_at(item, now)
    rubric = site.rubric(item.rubric)
    return ItemView(
        item=item,
        withdrawn=withdrawn,
        published=dates.moment(item.first_published_at),
        published_iso=iso(item.first_published_at),
        pinned_until=iso(pinned_until) if pinned_until else "",
        rubric=Link(_filtered(language, "rubric", item.rubric), rubric.label(language))
        if rubric
        else Link("", item.rubric),
        marks=[] if withdrawn else [Mark(kind, m[kind]) for kind in _marks(item, now)],
        body=Markup(item.body_html),  # noqa: S704  (sanitised by feed/markdown.py, which alone makes HTML of text)
        corrections=[(dates.moment(correction.at), correction.note) for correction in item.corrections],
        by=m["by"].replace("{names}", m.names(item.authors)) if item.authors else "",
        source=m["source"].replace("{name}", item.source) if item.source else "",
        updated=dates.moment(item.updated_at) if item.updated_at and not withdrawn else None,
        reading_time=m.count("reading_time", item.reading_time) if item.reading_time else "",
        links=[] if withdrawn else _links(item, language),
    )


def changes_at(item: PublicItem, now: datetime) -> datetime | None:
    """When the item's view changes by time alone."""
    until = item.pinned_until if item.status == "published" else None
    return until if until and until > now else None


def form_encoded(value: str) -> str:
    """`value` in a query as a browser's URLSearchParams writes it (URL standard 5.2)."""
    return quote_plus(value, safe="*").replace("~", "%7E")


def _filtered(language: str, parameter: str, value: str) -> str:
    return f"{EDITIONS[language]}?{parameter}={form_encoded(value)}"


def _marks(item: PublicItem, now: datetime) -> list[str]:
    kinds: list[str] = [item.level] if item.level != "normal" else []
    if changes_at(item, now):
        kinds.append("pinned")
    if item.verification != "none":
        kinds.append(item.verification)
    if item.access == "subscribers":
        kinds.append("subscribers")
    return kinds


def _links(item: PublicItem, language: str) -> list[Link]:
    links = []
    if item.thread:
        links.append(Link(_filtered(language, "thread", item.thread), messages(language)["thread"]))
    links += [Link(_filtered(language, "tag", tag), tag) for tag in item.tags]
    links += [Link(f"/i/{id}", NAMES[other], other) for other, id in item.alternates.items() if other in NAMES]
    return links
