"""The rules that make an `Entry` of a raw one, the same for every format. Pure.

What is too long for one line is cut at a word; what can be done without (a date, an image, a tag) is left out with a
warning; what cannot (a headline, a rubric, a whole body) makes the entry a bad one, with the way out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, cast
from urllib.parse import urljoin, urlsplit

from livefeed.errors import InvalidField
from livefeed.feed import markdown
from livefeed.feed import text as door
from livefeed.feed.item import Image
from livefeed.newsroom.importing import cleaning
from livefeed.newsroom.importing.raw import Date, Raw, read_date
from livefeed.newsroom.importing.results import BadEntry, Found, Place
from livefeed.newsroom.importing.rubrics import Rubrics
from livefeed.newsroom.input import Entry
from livefeed.settings import LANGUAGES, Settings

Language = Literal["fr", "ar", "en"]

HINT_CHARS = 60
"""Enough of a title to find it again in its file."""
SOURCE_MAX_CHARS = 1_000_000
"""Longer HTML of one entry is not even converted; the body's own bound is fifty times lower."""
DERIVED_HEADLINE_CHARS = 120
"""A headline made from a body is no longer than this: about two lines on a phone."""
GUID_MAX_CHARS = 500
"""A longer guid is replaced by its hash."""

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:\S")
_SENTENCE_END = re.compile(r"(?<=[.!?؟…])\s")


class Shaper:
    """Makes entries of raw ones for one file.

    :param rubric: slug for entries whose categories name no rubric; None makes those bad entries.
    :param language: for entries that do not say theirs.
    """

    def __init__(self, settings: Settings, *, rubric: str | None, language: str, now: datetime) -> None:
        self._settings = settings
        self._rubrics = Rubrics(settings.site)
        self._rubric = rubric
        self._language = language
        self._now = now

    def shape(self, raw: Raw) -> Found | BadEntry:
        """The entry of `raw`, or why there is none."""
        if len(raw.html) + len(raw.text) > SOURCE_MAX_CHARS:
            return BadEntry(place=self._place(raw, cleaning.line(raw.title)), reason="Its text is far too long.")
        body = cleaning.body_of_html(raw.html, raw.link) or cleaning.body_of_text(raw.text)
        headline = cleaning.line(raw.title, is_text=raw.title_is_text)
        place = self._place(raw, headline)
        if raw.withheld:
            return BadEntry(place=place, reason=raw.withheld, skipped=True)
        plain = markdown.plain(markdown.render(body))
        if not headline:
            headline = cleaning.cut(_SENTENCE_END.split(plain, maxsplit=1)[0], DERIVED_HEADLINE_CHARS)
        if not headline:
            return BadEntry(place=place, reason="It has neither a title nor a text.")
        if len(body) > self._settings.body_max_chars:
            return BadEntry(
                place=place,
                reason=f"Its text has {len(body)} characters; LIVEFEED_BODY_MAX_CHARS allows "
                f"{self._settings.body_max_chars}.",
            )
        body = cleaning.without_headline(body, headline)
        categories = [name for category in raw.categories if (name := cleaning.line(category))]
        rubric = self._rubrics.slug([*categories, *raw.codes]) or self._rubric
        if rubric is None:
            return BadEntry(place=place, reason=_no_rubric(categories or raw.codes))

        warnings: list[str] = []
        published, updated = self._dates(raw, warnings)
        return Found(
            place=place,
            entry=Entry(
                guid=_guid(raw, headline),
                headline=self._headline(headline, warnings),
                body=body,
                rubric=rubric,
                tags=self._names((c for c in categories if not self._rubrics.is_name(c, rubric)), "tags", warnings),
                authors=self._names((cleaning.line(author) for author in raw.authors), "authors", warnings),
                source=cleaning.cut(cleaning.line(raw.source), self._settings.name_max_chars) or None,
                language=self._language_of(raw, headline, warnings),
                level=raw.level,
                image=self._image(raw, warnings),
                first_published_at=published,
                updated_at=updated,
            ),
            warnings=tuple(warnings),
        )

    def _place(self, raw: Raw, headline: str) -> Place:
        hint = headline or cleaning.line(raw.guid or raw.link, is_text=True)
        return Place(raw.number, raw.line, cleaning.cut(hint, HINT_CHARS))

    def _headline(self, headline: str, warnings: list[str]) -> str:
        short = cleaning.cut(headline, self._settings.headline_max_chars)
        if short != headline:
            warnings.append(f"The headline of {len(headline)} characters was cut to {len(short)}.")
        return short

    def _dates(self, raw: Raw, warnings: list[str]) -> tuple[datetime | None, datetime | None]:
        """First publication and last change; a change that is none (not later) is left out."""
        published = self._date(raw.published, "publication", warnings)
        updated = self._date(raw.updated, "change", warnings)
        if published is None and not raw.published:
            published, updated = updated, None
        if updated is not None and published is not None and updated <= published:
            updated = None
        return published, updated

    def _date(self, value: Date, name: str, warnings: list[str]) -> datetime | None:
        if not value:
            return None
        found = read_date(value) if isinstance(value, str) else value
        try:
            date = door.utc("date", found) if found is not None else None
        except (InvalidField, OverflowError):
            date = None
        if date is None:
            shown = cleaning.cut(cleaning.line(str(value), is_text=True), HINT_CHARS)
            warnings.append(f"The date of {name} {shown!r} cannot be read and was left out.")
        elif date > self._now:
            warnings.append(f"The date of {name} {date:%Y-%m-%d %H:%M} UTC lies in the future and was left out.")
            date = None
        return date

    def _names(self, values: Iterable[str], field: str, warnings: list[str]) -> list[str]:
        names: dict[str, str] = {}
        for value in values:
            name = cleaning.cut(value, self._settings.name_max_chars)
            if name:
                names.setdefault(name.casefold(), name)
        if len(names) > self._settings.list_max:
            warnings.append(f"Only the first {self._settings.list_max} of {len(names)} {field} were taken.")
        return list(names.values())[: self._settings.list_max]

    def _language_of(self, raw: Raw, headline: str, warnings: list[str]) -> Language:
        """What the entry or its feed declares; but what is written in Arabic letters is not French or English."""
        declared = raw.language.strip().replace("_", "-").split("-")[0].lower()
        if declared in ("", "fr", "en") and cleaning.is_arabic(headline):
            return "ar"
        if declared in LANGUAGES:
            return cast("Language", declared)
        if declared:
            shown = cleaning.cut(cleaning.line(declared, is_text=True), HINT_CHARS)
            warnings.append(f"The language {shown!r} is none of the site's; {self._language} was taken.")
        return cast("Language", self._language)

    def _image(self, raw: Raw, warnings: list[str]) -> Image | None:
        images = [*raw.images, *cleaning.images_of_html(raw.html)]
        for image in images:
            try:
                address = urljoin(raw.link, image.url.strip()).replace(" ", "%20")
                return Image(
                    url=door.url("image", address, self._settings.url_max_chars),
                    alt=cleaning.cut(cleaning.line(image.alt), self._settings.note_max_chars),
                    credit=cleaning.cut(cleaning.line(image.credit), self._settings.name_max_chars),
                )
            except (InvalidField, ValueError):
                continue
        if images:
            warnings.append("Its image has no usable http(s) address and was left out.")
        return None


def _guid(raw: Raw, headline: str) -> str:
    """The source's own id; the address where there is none; else a hash of title and date.

    An id that is no URI is unique within its site only, so the site's host is put before it.
    """
    own = cleaning.line(raw.guid, is_text=True)
    link = cleaning.line(raw.link, is_text=True)
    if own and not _URI.match(own):
        try:
            host = urlsplit(link).hostname or ""
        except ValueError:
            host = ""
        own = f"{host}#{own}" if host else own
    guid = own or link
    if guid and len(guid) <= GUID_MAX_CHARS:
        return guid
    return "sha256:" + hashlib.sha256((guid or f"{headline}\n{raw.published or raw.updated}").encode()).hexdigest()


def _no_rubric(categories: list[str]) -> str:
    if not categories:
        return "It has no category, so no rubric; name one for such entries with --rubric."
    named = ", ".join(f"« {cleaning.cut(category, HINT_CHARS)} »" for category in categories[:5])
    return (
        f"No rubric for {named}; map a category in [categories] of LIVEFEED_SITE_FILE, "
        "or name a rubric for such entries with --rubric."
    )
