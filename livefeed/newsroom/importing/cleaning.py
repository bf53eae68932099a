"""Other people's text made fit for the door: here it is cleaned and cut, where the door would refuse it. Pure."""

from __future__ import annotations

import html
import re
import unicodedata
from html.parser import HTMLParser

from livefeed.feed import markdown
from livefeed.feed.item import Image

_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,31}\d{0,2});")
_TAG = re.compile(r"</?(?:a|b|br|em|font|i|img|p|small|span|strong|sub|sup|u|script|style)\b[^<>]*>", re.IGNORECASE)
_ARABIC = re.compile(r"[\u0620-\u064a\u066e-\u06d3]")
_LETTER = re.compile(r"[^\W\d_]")
_FOOTER = re.compile(
    r"<p>\s*(?:the post|l['’]article|cet article)\s.{0,2000}?"
    r"(?:appeared first on|est apparu en premier sur|first appeared on)\s.{0,500}?</p>\s*\Z",
    re.IGNORECASE | re.DOTALL,
)
"""What WordPress adds below every entry of its feeds."""

_WORD_CUT = 0.6
"""A text is cut at a space where there is one behind this part of the bound, else in the middle of a word."""


def scrub(value: str) -> str:
    """`value` without the characters that are no text anywhere: controls (but line breaks and tabs), surrogates."""
    return _UNWANTED.sub("", value)


def line(value: str, *, is_text: bool = False) -> str:
    """One line of plain text: tags dropped and entities decoded (unless `is_text`), white space folded, in NFC."""
    value = scrub(value)
    if not is_text:
        if _TAG.search(value):
            value = markdown.plain(value)
        elif _ENTITY.search(value):
            value = html.unescape(value)
    return unicodedata.normalize("NFC", " ".join(scrub(value).replace("\u2028", " ").replace("\u2029", " ").split()))


def cut(value: str, max_chars: int) -> str:
    """`value` within `max_chars`, ending in an ellipsis at a word where it was cut."""
    if len(value) <= max_chars:
        return value
    short = value[: max_chars - 1]
    space = short.rfind(" ")
    if space > max_chars * _WORD_CUT:
        short = short[:space]
    return short.rstrip(" ,;:.–—-") + "…"


def body_of_html(source: str, base: str) -> str:
    """The Markdown of an entry's HTML; relative links are resolved against `base`, and dropped where it is ""."""
    return markdown.from_html(_FOOTER.sub("", scrub(source)), base)


def without_headline(body: str, headline: str) -> str:
    """`body` without first lines that only repeat the headline."""
    while body:
        first, _, rest = body.partition("\n\n")
        if markdown.plain(markdown.render(first)) != headline:
            break
        body = rest
    return body


def body_of_text(source: str) -> str:
    """The Markdown that shows a plain text as it is: paragraphs and line breaks stay, nothing becomes markup."""
    text = scrub(source).replace("\r\n", "\n").replace("\r", "\n").strip()
    paragraphs = (html.escape(p.strip()).replace("\n", "<br>") for p in re.split(r"\n[ \t]*\n", text))
    return markdown.from_html("".join(f"<p>{p}</p>" for p in paragraphs))


def is_arabic(value: str) -> bool:
    """Whether most letters of `value` are Arabic."""
    return 2 * len(_ARABIC.findall(value)) > len(_LETTER.findall(value))


class _Images(HTMLParser):
    """Collects the pictures of an HTML text, but for one-pixel ones that only count readers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Image] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            values = dict(attrs)
            source = values.get("src") or ""
            if source and values.get("width") not in ("0", "1") and values.get("height") not in ("0", "1"):
                self.found.append(Image(url=source, alt=values.get("alt") or ""))


def images_of_html(source: str) -> list[Image]:
    """The pictures within an entry's HTML, in order."""
    if "<img" not in source.lower():
        return []
    parser = _Images()
    parser.feed(scrub(source))
    return parser.found
