"""From a source's categories to one of the site's rubrics. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from livefeed.settings import Site


def fold(value: str) -> str:
    """`value` for comparing: no case, no accents, no double spaces."""
    decomposed = unicodedata.normalize("NFKD", value.casefold())
    return " ".join("".join(c for c in decomposed if not unicodedata.combining(c)).split())


class Rubrics:
    """The site's map from category to rubric: its setting first, then the rubrics' own slugs and names."""

    def __init__(self, site: Site) -> None:
        self._own: dict[str, str] = {}
        for rubric in site.rubrics:
            for name in (rubric.slug, *rubric.name.values()):
                self._own.setdefault(fold(name), rubric.slug)
        self._map = self._own | {fold(category): slug for category, slug in site.categories.items()}

    def slug(self, categories: Iterable[str]) -> str | None:
        """The rubric of the first category that has one."""
        return next((slug for category in categories if (slug := self._map.get(fold(category)))), None)

    def is_name(self, category: str, slug: str) -> bool:
        """Whether `category` only repeats the rubric's own name."""
        return self._own.get(fold(category)) == slug
