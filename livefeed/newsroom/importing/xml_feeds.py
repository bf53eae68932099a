"""RSS 0.9x to 2.0, RSS 1.0 and Atom, read by feedparser. Pure: feedparser gets a stream of bytes and fetches nothing.

Before feedparser sees a file, it is made UTF-8 without forbidden characters, and a file that declares entities is
refused: that is what entity bombs and external entities are made of, and no feed needs them.
"""

from __future__ import annotations

import calendar
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import entities
from typing import Any

import feedparser

from livefeed.feed.item import Image
from livefeed.newsroom.importing import cleaning
from livefeed.newsroom.importing.raw import Date, Raw
from livefeed.newsroom.importing.results import BadEntry, Place, Remark

_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_ROOT = re.compile(r"<[A-Za-z_]")
_CHARREF = re.compile(r"&#(?:x([0-9a-fA-F]{1,200})|([0-9]{1,200}));")
_NAMED = re.compile(r"&[A-Za-z][A-Za-z0-9]{1,31};")
_LONE = re.compile(r"&(?![A-Za-z][A-Za-z0-9]{1,31};|#[0-9]{1,200};|#x[0-9a-fA-F]{1,200};)")
_ENTRY_START = re.compile(r"<(?:\w+:)?(?:item|entry)[\s>]", re.IGNORECASE)
_ENTRY_END = re.compile(r"</(?:\w+:)?(?:item|entry)\s*>", re.IGNORECASE)
_MEDIA_TEXT = re.compile(r"<(/?)media:(title|description)\b[^<>]*?(/?)>")
_IMAGE_NAME = re.compile(r"\.(?:jpe?g|png|gif|webp|avif)(?:$|\?)", re.IGNORECASE)
_MAIL_AND_NAME = re.compile(r"\S+@\S+\s+\(([^()@]+)\)")
_ATOM = ("atom",)


def read(text: str) -> Iterator[Raw | BadEntry | Remark]:
    """The entries of an XML feed, in its order."""
    start = _ROOT.search(text)
    if start and "<!ENTITY" in text[: start.start()].upper():
        yield BadEntry(place=Place(0), reason="It declares XML entities, which feeds do not need; it was not read.")
        return
    try:
        feed = feedparser.parse(
            io.BytesIO(_prepared(text)),  # bytes alone would be taken for the name of a file
            sanitize_html=False,  # markdown.from_html does that, for every format
        )
    except Exception as error:  # feedparser promises nothing; whatever it trips over is a fault of this file
        yield BadEntry(place=Place(0), reason=f"It cannot be read as a feed ({type(error).__name__}).")
        return
    if not feed.entries and not feed.version:
        yield BadEntry(place=Place(0), reason="It is XML or HTML, but no feed: neither RSS nor Atom nor RSS 1.0.")
        return
    found = list(feed.entries)
    problem = feed.get("bozo_exception")
    cut_off = problem is not None and _is_cut_off(text)
    if problem is not None and not cut_off:
        yield Remark(Place(0), f"Its XML is not well-formed ({_shown(problem)}); it was read as far as it makes sense.")
    for number, entry in enumerate(found, start=1):
        raw = _entry(entry, feed.feed, number, is_atom=feed.version.startswith(_ATOM))
        if cut_off and number == len(found):
            hint = cleaning.cut(cleaning.line(raw.title or raw.guid), 60)
            yield BadEntry(place=Place(number, hint=hint), reason="The file ends in the middle of this entry.")
        else:
            yield raw


def _prepared(text: str) -> bytes:
    """UTF-8 that an XML parser can take: no forbidden characters, no references to what XML does not know, no lone &.

    These are what breaks real feeds most, and feedparser reads a broken one with much less care. The title and
    description of a picture (Media RSS) get names of their own: feedparser would take them for the entry's.
    """
    text = cleaning.scrub(_DECLARATION.sub("", text).lstrip())
    text = "".join(_repaired(_CHARREF.sub(_charref, text)))
    if "media:" in text:
        text = _MEDIA_TEXT.sub(r"<\1media:picture\2\3>", text)
    return b"<?xml version='1.0' encoding='utf-8'?>\n" + text.encode("utf-8")


def _named(match: re.Match[str]) -> str:
    """The characters of an entity that HTML knows and XML does not."""
    characters = entities.html5.get(match[0][1:], match[0])
    return match[0] if characters in "<>&\"'" else characters


def _repaired(text: str) -> Iterator[str]:
    """The text in pieces, with its ampersands repaired outside of CDATA sections."""
    end = 0
    while (start := text.find("<![CDATA[", end)) >= 0 and (close := text.find("]]>", start)) >= 0:
        yield _LONE.sub("&amp;", _NAMED.sub(_named, text[end:start]))
        yield text[start:close]
        end = close
    yield _LONE.sub("&amp;", _NAMED.sub(_named, text[end:]))


def _charref(match: re.Match[str]) -> str:
    code = int(match[1], 16) if match[1] else int(match[2])
    good = code in (9, 10, 13) or 32 <= code < 0xD800 or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF
    return match[0] if good else ""


def _is_cut_off(text: str) -> bool:
    """Whether the file ends within an entry, as a broken download does."""
    last = max((match.start() for match in _ENTRY_START.finditer(text)), default=-1)
    return last >= 0 and _ENTRY_END.search(text, last) is None


def _shown(problem: Exception) -> str:
    line, column = getattr(problem, "getLineNumber", None), getattr(problem, "getColumnNumber", None)
    if line is not None and column is not None:
        return f"line {line()}, column {column()}: {problem.getMessage()}"  # type: ignore[attr-defined]
    return cleaning.cut(cleaning.line(str(problem), is_text=True), 200)


def _entry(entry: dict[str, Any], feed: dict[str, Any], number: int, *, is_atom: bool) -> Raw:
    """The raw entry. Reads with `dict.get`: feedparser's own look-up warns and answers with other fields."""
    raw = Raw(
        number=number,
        guid=_get(entry, "id"),
        link=_get(entry, "link") or _get(feed, "link"),
        title=_get(entry, "title"),
        published=_date(entry, "published") or _date(entry, "created"),
        updated=_date(entry, "updated"),
        authors=_authors(entry) or (_authors(feed) if is_atom else []),
        language=_language(entry, feed),
        source=_get(dict.get(entry, "source") or {}, "title") or _get(feed, "title"),
    )
    title_type = _get(dict.get(entry, "title_detail") or {}, "type")
    raw.title_is_text = is_atom and title_type == "text/plain"
    for tag in dict.get(entry, "tags") or []:
        label, term = _get(tag, "label"), _get(tag, "term")
        raw.categories.append(label or term)
        if label and term:
            raw.codes.append(term)
    _body(raw, entry)
    raw.images = _images(entry, raw)
    return raw


def _get(values: dict[str, Any], key: str) -> str:
    value = dict.get(values, key)
    return value if isinstance(value, str) else ""


def _date(entry: dict[str, Any], key: str) -> Date:
    """What feedparser made of the date, in UTC (without a zone it counts as UTC); else the text, for the warning."""
    parsed = dict.get(entry, f"{key}_parsed")
    try:
        return datetime.fromtimestamp(calendar.timegm(parsed), UTC) if parsed else _get(entry, key)
    except (ValueError, OverflowError, OSError, TypeError):
        return _get(entry, key)


def _authors(values: dict[str, Any]) -> list[str]:
    """Names only: an address that stands alone is not meant for readers."""
    whole = _MAIL_AND_NAME.fullmatch(_get(values, "author"))
    if whole:  # feedparser takes "info@site.online (Name)" apart within the address
        return [whole[1]]
    names = [_get(author, "name") for author in dict.get(values, "authors") or []]
    return [name for name in names if name and "@" not in name]


def _language(entry: dict[str, Any], feed: dict[str, Any]) -> str:
    """dc:language, then xml:lang of content or title (which inherit the feed's), then hreflang, then the feed's."""
    details = [*(dict.get(entry, "content") or []), dict.get(entry, "title_detail") or {}]
    links = [link for link in dict.get(entry, "links") or [] if _get(link, "rel") == "alternate"]
    return (
        _get(entry, "language")
        or next((language for detail in details if (language := _get(detail, "language"))), "")
        or next((language for link in links if (language := _get(link, "hreflang"))), "")
        or _get(feed, "language")
    )


def _body(raw: Raw, entry: dict[str, Any]) -> None:
    """The longest content, or the summary where there is none, or what is said of the film that is all there is."""
    contents = [c for c in dict.get(entry, "content") or [] if _get(c, "value").strip()]
    summary = dict.get(entry, "summary_detail") or {}
    chosen = max(contents, key=lambda c: len(_get(c, "value")), default=summary)
    value = _get(chosen, "value")
    if not value.strip():
        raw.text = _get(entry, "media_picturedescription")
    elif _get(chosen, "type") == "text/plain":
        raw.text = value
    else:
        raw.html = value


def _images(entry: dict[str, Any], raw: Raw) -> list[Image]:
    """Media RSS content (widest first), enclosures, iTunes, thumbnails, with what the text says of them."""
    alt = _get(entry, "media_picturetitle") or _get(entry, "media_picturedescription")
    credit = next((_get(c, "content") for c in dict.get(entry, "media_credit") or [] if _get(c, "content")), "")
    media = [m for m in dict.get(entry, "media_content") or [] if _is_image(m, "url")]
    media.sort(key=lambda m: -int(width) if (width := _get(m, "width")).isdecimal() else 0)
    urls = [_get(m, "url") for m in media]
    links = dict.get(entry, "links") or []
    urls += [_get(k, "href") for k in links if _get(k, "rel") == "enclosure" and _is_image(k, "href")]
    urls.append(_get(dict.get(entry, "image") or {}, "href"))
    urls += [_get(m, "url") for m in dict.get(entry, "media_thumbnail") or []]
    found = [Image(url=url, alt=alt, credit=credit) for url in urls if url]
    inside = cleaning.images_of_html(raw.html)
    known = {image.url: image.alt for image in inside if image.alt}
    return [Image(url=i.url, alt=i.alt or known.get(i.url, ""), credit=i.credit) for i in found]


def _is_image(values: dict[str, Any], key: str) -> bool:
    kind = _get(values, "medium") or _get(values, "type")
    return kind.startswith("image") if kind else bool(_IMAGE_NAME.search(_get(values, key)))
