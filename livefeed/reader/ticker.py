"""« En continu »: the ticker's page, from a snapshot."""

from __future__ import annotations

import itertools
from datetime import date, datetime
from typing import NamedTuple

from starlette.datastructures import QueryParams

from livefeed.feed.filter import PARAMETERS, Filter
from livefeed.feed.reading import Snapshot
from livefeed.reader.item_view import ItemView, Link, changes_at, form_encoded, view
from livefeed.reader.messages import EDITIONS, messages
from livefeed.reader.rendering import Templates
from livefeed.settings import Settings

PAGE_ITEMS = 30
"""Items of one page."""
LIST_ITEMS_MAX = 500
"""Most items that an open page gathers; over it the list starts again from the newest PAGE_ITEMS."""


class Day(NamedTuple):
    """The items of one day of the site's zone."""

    day: date
    heading: str
    today: bool
    items: list[ItemView]


def filter_of(query: QueryParams, language: str, settings: Settings) -> Filter:
    """The filter of an edition's page: the edition decides the language, the query the rest.

    :raises BadRequest: for a bad value, naming the parameter.
    """
    given = [(name, value) for name, value in query.multi_items() if name != "language"]
    return Filter.parse(QueryParams(given), settings).narrowed(language=[language])


def render(
    templates: Templates,
    language: str,
    wanted: Filter,
    before: str | None,
    snapshot: Snapshot,
    live: bool,
    now: datetime,
) -> tuple[bytes, datetime]:
    """The page, and when it changes by time alone: at the next midnight, or when a pin on it ends."""
    dates, site = templates.dates[language], templates.settings.site
    path = EDITIONS[language]
    query = wanted.narrowed(language=()).query()
    today = dates.day(now)
    days = [
        Day(day, dates.heading(day), day == today, [view(item, language, dates, site, now) for item in group])
        for day, group in itertools.groupby(snapshot.items, key=lambda item: dates.day(item.first_published_at))
    ]
    ends = [end for item in snapshot.items if (end := changes_at(item, now))]
    data = {
        **templates.for_browser(language, now),
        "position": snapshot.position,
        "filter": {name: getattr(wanted, name) for name in PARAMETERS},
        "query": wanted.query(),
        "page_query": query,
        "before": before,
        "more": snapshot.next is not None,
        "page_items": PAGE_ITEMS,
        "list_items_max": LIST_ITEMS_MAX,
    }
    body = templates.render(
        "ticker.html",
        language,
        days=days,
        live=live,
        path=path,
        query=query,
        before=before,
        older=_address(path, query, snapshot.next) if snapshot.next else "",
        newest=_address(path, query),
        rubrics=[
            (rubric.slug, Link(_address(path, f"rubric={form_encoded(rubric.slug)}"), rubric.label(language)))
            for rubric in site.rubrics
        ],
        chosen=wanted.rubric,
        filtered=messages(language)["comma"].join([*wanted.thread, *wanted.tag, *_levels(wanted, language)]),
        data=data,
    )
    return body, min([dates.midnight_after(now), *ends])


def _levels(wanted: Filter, language: str) -> list[str]:
    return [messages(language)[level] if level != "normal" else level for level in wanted.level]


def _address(path: str, query: str, before: str | None = None) -> str:
    parts = [query] if query else []
    if before:
        parts.append(f"before={form_encoded(before)}")
    return f"{path}?{'&'.join(parts)}" if parts else path
