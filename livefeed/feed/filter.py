"""The filter of a stream or a page: which items it wants. Pure.

Values of one parameter are OR, parameters are AND. `Filter` is canonical (sorted, without doubles): equal wishes are
equal filters, so that subscribers with the same wish share a group, and pages a cache entry.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from urllib.parse import urlencode

import msgspec

from livefeed.errors import BadRequest, InvalidField
from livefeed.feed import text
from livefeed.feed.item import LEVELS, Facets
from livefeed.settings import LANGUAGES, Settings

PARAMETERS = ("rubric", "language", "thread", "tag", "level")
VALUES_MAX = 20
"""Most values of one filter, over all parameters: bounds the work per event and the number of distinct groups' keys."""


class Query(Protocol):
    """What Starlette's `QueryParams` offers."""

    def multi_items(self) -> list[tuple[str, str]]:
        """All pairs in order, repeated ones too."""
        ...


class Filter(msgspec.Struct, frozen=True):
    """The wanted values per parameter; an empty tuple wants all."""

    rubric: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    thread: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    level: tuple[str, ...] = ()

    @classmethod
    def parse(cls, query: Query, settings: Settings) -> Filter:
        """The filter in a query; parameters that are not a filter's are left to others.

        :raises BadRequest: for an unknown rubric, language or level, a bad value, or too many, naming the parameter.
        """
        wanted: dict[str, set[str]] = {}
        for name, value in query.multi_items():
            if name in PARAMETERS:
                wanted.setdefault(name, set()).update(part.strip() for part in value.split(",") if part.strip())
        if sum(len(values) for values in wanted.values()) > VALUES_MAX:
            raise BadRequest(f"A filter may have at most {VALUES_MAX} values in all.", field=next(iter(wanted)))
        for name, values in wanted.items():
            _check(name, values, settings)
        return cls(**{name: tuple(sorted(values)) for name, values in wanted.items()})

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in PARAMETERS)

    def matches(self, facets: Facets | None) -> bool:
        """Whether an item with these facets is wanted; None (no item, or not a public one) never is."""
        return (
            facets is not None
            and (not self.rubric or facets.rubric in self.rubric)
            and (not self.language or facets.language in self.language)
            and (not self.thread or facets.thread in self.thread)
            and (not self.level or facets.level in self.level)
            and (not self.tag or any(tag in self.tag for tag in facets.tags))
        )

    def query(self) -> str:
        """The canonical query string, "" where all is wanted."""
        return urlencode([(name, value) for name in PARAMETERS for value in getattr(self, name)])

    def narrowed(self, **values: Iterable[str]) -> Filter:
        """The same filter with other values for some parameters."""
        return msgspec.structs.replace(self, **{name: tuple(sorted(set(v))) for name, v in values.items()})


ALL = Filter()
"""Everything."""


def _check(name: str, values: set[str], settings: Settings) -> None:
    known: tuple[str, ...] | None = None
    if name == "rubric":
        known = tuple(rubric.slug for rubric in settings.site.rubrics)
    elif name == "language":
        known = LANGUAGES
    elif name == "level":
        known = LEVELS
    for value in values:
        if known is not None and value not in known:
            raise BadRequest(f"{name}: {value[:80]!r} is unknown; known are {', '.join(known)}.", field=name)
        try:
            text.one_line(name, value, settings.name_max_chars)
        except InvalidField as error:
            raise BadRequest(error.message, field=name) from None
