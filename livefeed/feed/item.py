"""The item: one piece of news, its versions and the event that a change becomes. Pure.

An item's id never changes; each change makes a new version. `Item` is what the newsroom stores, `PublicItem` what
anyone may see, `Event` one entry of the log: a public item in its new full state, and what changed.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Literal

import msgspec

from livefeed.feed import markdown, text
from livefeed.settings import RTL_LANGUAGES

Status = Literal["draft", "submitted", "scheduled", "published", "withdrawn"]
Level = Literal["normal", "important", "urgent"]
Verification = Literal["none", "unverified", "confirmed", "denied"]
Access = Literal["free", "subscribers"]
Change = Literal["publish", "edit", "correct", "withdraw", "restore", "pin", "unpin"]

LEVELS: tuple[Level, ...] = ("normal", "important", "urgent")

STUB = {"fr": "Info retirée par la rédaction", "ar": "خبر سحبته هيئة التحرير", "en": "Item withdrawn by the newsroom"}
"""What stands in a withdrawn item's place, per language."""

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_CHARS = 10
"""50 bits of milliseconds since 1970: until the year 37,000."""
_RANDOM_CHARS = 8
"""40 random bits: two items of one millisecond collide once in 10^12, and the publish script refuses the second."""
ID_CHARS = _TIME_CHARS + _RANDOM_CHARS

_WORDS_PER_MINUTE = 220
"""Reading speed for the reading time; Brysbaert 2019 gives 238 for English, French and Arabic read a little slower."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A picture beside an item."""

    url: str
    alt: str = ""
    credit: str = ""


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """A correction that readers are shown."""

    note: str
    at: datetime


class Facets(msgspec.Struct, frozen=True, array_like=True):
    """What filters look at. `tags` is a tuple of texts, the others one value each ("" where there is none)."""

    rubric: str
    language: str
    thread: str
    level: str
    tags: tuple[str, ...]


class PublicItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item as anyone may see it, in its full public state. Times are UTC; optional ones are null."""

    id: str
    version: int
    status: Literal["published", "withdrawn"]
    url: str
    """Path of the item's page; absolute (by the site's public URL) where it leaves the server."""
    headline: str
    body_html: str
    """Sanitised HTML, "" where the item is its headline."""
    rubric: str
    tags: tuple[str, ...] = ()
    thread: str | None = None
    authors: tuple[str, ...] = ()
    source: str | None = None
    language: str = "fr"
    direction: Literal["ltr", "rtl"] = "ltr"
    level: Level = "normal"
    pinned_until: datetime | None = None
    key: bool = False
    """Part of « L'essentiel »."""
    verification: Verification = "none"
    image: Image | None = None
    alternates: dict[str, str] = {}
    """The same story in another language: language to item id."""
    corrections: tuple[Correction, ...] = ()
    access: Access = "free"
    first_published_at: datetime
    """The only sort key; it never changes."""
    updated_at: datetime | None = None
    """Of the last visible change; null where there was none."""
    reading_time: int = 0
    """Minutes; 0 where the item has no body."""


class LiteItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item in ``view=lite``: about 200 bytes."""

    id: str
    version: int
    status: Literal["published", "withdrawn"]
    first_published_at: datetime
    rubric: str
    level: Level
    headline: str


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An item as the newsroom stores it: one version of it, with everything."""

    id: str
    version: int
    status: Status
    headline: str
    body: str = ""
    """Markdown source."""
    body_html: str = ""
    """Made from `body` by `markdown.render`, never typed."""
    rubric: str
    tags: tuple[str, ...] = ()
    thread: str | None = None
    authors: tuple[str, ...] = ()
    source: str | None = None
    language: str = "fr"
    level: Level = "normal"
    pinned_until: datetime | None = None
    key: bool = False
    verification: Verification = "none"
    image: Image | None = None
    alternates: dict[str, str] = {}
    corrections: tuple[Correction, ...] = ()
    access: Access = "free"
    guid: str | None = None
    """The source's own id of an imported entry."""
    source_digest: str | None = None
    """Of the entry as it was last imported: tells whether the source has changed, whatever was edited here."""
    created_at: datetime
    first_published_at: datetime | None = None
    updated_at: datetime | None = None
    embargo_until: datetime | None = None
    change: Change = "publish"
    """What made this version."""
    changed_at: datetime
    changed_by: str = ""
    """Name of the token or account."""
    note: str = ""
    """A correction's note or a withdrawal's reason; only a correction's is public."""

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        """Writing direction of the item's language."""
        return direction(self.language)

    @property
    def is_public(self) -> bool:
        """Whether readers see the item or its stub."""
        return self.status in ("published", "withdrawn")

    @property
    def facets(self) -> Facets:
        """What filters look at."""
        return Facets(self.rubric, self.language, self.thread or "", self.level, self.tags)

    def public(self) -> PublicItem:
        """The item as anyone may see it: the stub where it is withdrawn, without body where it is for subscribers.

        :raises ValueError: for an item that is not public; it must never get this far.
        """
        if not self.is_public or self.first_published_at is None:
            raise ValueError(f"item {self.id} is {self.status}, not public")
        body_html = self.body_html if self.access == "free" else ""
        item = PublicItem(
            id=self.id,
            version=self.version,
            status="published",
            url=path(self.id, self.headline),
            headline=self.headline,
            body_html=body_html,
            rubric=self.rubric,
            tags=self.tags,
            thread=self.thread,
            authors=self.authors,
            source=self.source,
            language=self.language,
            direction=self.direction,
            level=self.level,
            pinned_until=self.pinned_until,
            key=self.key,
            verification=self.verification,
            image=self.image,
            alternates=self.alternates,
            corrections=self.corrections,
            access=self.access,
            first_published_at=self.first_published_at,
            updated_at=self.updated_at,
            reading_time=reading_time(self.body_html),
        )
        return stub(item) if self.status == "withdrawn" else item


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the log: a public item in its new full state, and what changed."""

    change: Change
    item: PublicItem
    backfill: bool = False
    """True for an import of what was published elsewhere before: pages do not announce it as news."""


def stub(item: PublicItem) -> PublicItem:
    """What is left of a withdrawn item: where and when it stood, none of its text (nor of its address or tags)."""
    return PublicItem(
        id=item.id,
        version=item.version,
        status="withdrawn",
        url=path(item.id, ""),
        headline=STUB[item.language],
        body_html="",
        rubric=item.rubric,
        thread=item.thread,
        language=item.language,
        direction=item.direction,
        first_published_at=item.first_published_at,
        updated_at=item.updated_at,
    )


def lite(item: PublicItem) -> LiteItem:
    """The item's lite view."""
    return LiteItem(
        id=item.id,
        version=item.version,
        status=item.status,
        first_published_at=item.first_published_at,
        rubric=item.rubric,
        level=item.level,
        headline=item.headline,
    )


def path(id: str, headline: str) -> str:
    """Path of an item's page; the slug is for people, the id decides."""
    slug = text.slugify(headline)
    return f"/i/{id}/{slug}" if slug else f"/i/{id}"


def direction(language: str) -> Literal["ltr", "rtl"]:
    """Writing direction of a language."""
    return "rtl" if language in RTL_LANGUAGES else "ltr"


def reading_time(body_html: str) -> int:
    """Minutes to read a body, at least 1; 0 where there is none."""
    words = len(markdown.plain(body_html).split())
    return max(1, round(words / _WORDS_PER_MINUTE)) if words else 0


def new_id(now: datetime) -> str:
    """A new id: sorts by time of creation, unique by its random part."""
    ms = int(now.timestamp() * 1000)
    value = (ms << (5 * _RANDOM_CHARS)) | secrets.randbits(5 * _RANDOM_CHARS)
    return "".join(_CROCKFORD[(value >> (5 * i)) & 31] for i in reversed(range(ID_CHARS)))


def is_id(value: str) -> bool:
    """Whether `value` has the form of an id."""
    return len(value) == ID_CHARS and all(c in _CROCKFORD for c in value)


def now() -> datetime:
    """The present in UTC, whole milliseconds: the resolution that is stored."""
    value = datetime.now(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


_SORT_EPOCH_MS = 10**13
"""Shifts times before 1970 above zero, so that sort keys compare as text from the year 1653 on."""


def sort_key(id: str, first_published_at: datetime) -> str:
    """Orders items by first publication, then id: fixed-width text, the same in memory, in Redis and in cursors."""
    return f"{int(first_published_at.timestamp() * 1000) + _SORT_EPOCH_MS:014d}{id}"
