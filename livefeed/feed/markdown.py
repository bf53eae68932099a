"""Markdown in, safe HTML out; HTML of others in, Markdown out. Pure, and the only place where HTML is made from text.

Two walls: markdown-it-py runs with ``html=False`` (raw HTML becomes text), and nh3 then lets through a short list of
elements and attributes. A body is always stored as its Markdown source and the HTML made from it here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from html import escape, unescape
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import markdownify
import nh3
from markdown_it import MarkdownIt

_TAGS = {"p", "br", "strong", "em", "del", "a", "ul", "ol", "li", "blockquote", "h3", "h4", "code", "pre", "hr"}
_TAGS |= {"table", "thead", "tbody", "tr", "th", "td"}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_IMPORT_TAGS = _TAGS | {"b", "i", "h1", "h2", "h5", "h6", "div", "s"}
_IMPORT_DROPPED = {"script", "style", "title", "iframe", "noscript", "template", "textarea", "select", "object", "svg"}
"""Elements of others that go with what is in them; of all the rest the text stays."""

_EMPHASIS = ["b", "strong", "i", "em", "s", "del"]
_SPANS = [*_EMPHASIS, "a", "code", "h1", "h2", "h3", "h4", "h5", "h6"]
_BLOCKS = ["p", "div", "ul", "ol", "li", "blockquote", "pre", "hr", "table", "h1", "h2", "h3", "h4", "h5", "h6"]
_MOVABLE = frozenset(".,;:!?…«»“”’\"' \u00a0\u202f\n")
_DEPTH_MAX = 100
"""HTML that is nested deeper loses its markup: the converter calls itself for each level."""
_SPACES_MAX = 100
"""Longer runs of spaces are cut to this: the converter's time grows with their square."""

_markdown = MarkdownIt("js-default", {"html": False, "linkify": False, "typographer": False})
_blank = re.compile(r"\n{3,}")
_spaces = re.compile(r"[ \t]{100,}")
_element = re.compile(r"<(/?)(?!br|hr)(\w+)")
_not_in_address = re.compile(r"[\s<>\\]")
_escaped_in_address = re.compile(r"[()]|&(?=#?\w+;)")


def render(source: str) -> str:
    """The sanitised HTML of a Markdown body; "" for an empty one. Links carry ``rel`` and lose unsafe schemes.

    Headings start at h3: a page gives h1 to itself and h2 to the headline.
    """
    if not source:
        return ""
    html = _markdown.render(source)
    html = re.sub(r"<(/?)h[12]>", r"<\1h3>", re.sub(r"<(/?)h[56]>", r"<\1h4>", html))
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto", "tel"},
        link_rel="noopener noreferrer nofollow ugc",
        strip_comments=True,
    ).strip()


def from_html(html: str, base: str | None = None) -> str:
    """Markdown of somebody else's HTML, sanitised first; pictures, scripts, styles and frames are dropped.

    ``render(from_html(html))`` is as safe as any other rendering, and has the same words.

    :param base: address that relative links are resolved against; "" drops them, None leaves them as they are.
    """
    clean = nh3.clean(
        html,
        tags=_IMPORT_TAGS,
        clean_content_tags=_IMPORT_DROPPED,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        url_relative=None if base is None else lambda url: _absolute(url, base),
        link_rel=None,
    )
    if _depth(clean) > _DEPTH_MAX:
        clean = f"<p>{escape(plain(clean))}</p>"
    text: str = _converter.convert(_spaces.sub(" " * _SPACES_MAX, clean))
    return _blank.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip("\n")


def _depth(clean: str) -> int:
    """How many elements stand within each other in sanitised HTML, in which every element but two is closed."""
    depth = deepest = 0
    for end, _ in _element.findall(clean):
        depth += -1 if end else 1
        deepest = max(deepest, depth)
    return deepest


def _absolute(url: str, base: str) -> str | None:
    try:
        whole = urljoin(base, url)
        return whole if urlsplit(whole).scheme in ("http", "https") else None
    except ValueError:
        return None


class _Converter(markdownify.MarkdownConverter):
    """markdownify with the ends of emphasis, links and line breaks that CommonMark demands."""

    def convert_soup(self, soup: Any) -> str:
        """The whole text; a span of text that holds whole blocks is none in Markdown, only the blocks stay."""
        for span in soup.find_all(_SPANS):
            if span.find(_BLOCKS) and span.parent.name != "pre":
                span.unwrap()
        _drop_last_breaks(soup)
        return str(super().convert_soup(soup))

    def convert_a(self, el: Any, text: str, parent_tags: set[str]) -> str:
        """An address does not end at a space or parenthesis of its own."""
        if el.get("href"):
            whole = _not_in_address.sub(lambda c: quote(c[0], safe=""), el["href"])
            el["href"] = _escaped_in_address.sub(r"\\\g<0>", whole)
        if el.get("title"):
            el["title"] = " ".join(el["title"].replace("\\", "\\\\").split())
        return str(super().convert_a(el, text, parent_tags))  # type: ignore[misc]  # its stubs do not list it

    def convert_code(self, el: Any, text: str, parent_tags: set[str]) -> str:
        """Code within a line stays in one."""
        line = text if "pre" in parent_tags else " ".join(text.split())
        return str(super().convert_code(el, line, parent_tags))  # type: ignore[misc]

    def convert_strong(self, el: Any, text: str, parent_tags: set[str]) -> str:
        """Strong emphasis."""
        return _emphasis("**", el, text, parent_tags)

    def convert_em(self, el: Any, text: str, parent_tags: set[str]) -> str:
        """Emphasis."""
        return _emphasis("*", el, text, parent_tags)

    def convert_del(self, el: Any, text: str, parent_tags: set[str]) -> str:
        """What no longer holds."""
        return _emphasis("~~", el, text, parent_tags)

    convert_b = convert_strong
    convert_i = convert_em
    convert_s = convert_del


_converter = _Converter(
    heading_style="ATX", bullets="-", escape_misc=True, newline_style="backslash", table_infer_header=True
)


def _drop_last_breaks(soup: Any) -> None:
    """Take out the line breaks that no text of the same block follows: Markdown would show their backslash."""
    following: Any = soup  # the block of the next text; the soup itself where a block begins or ends before any
    for node in reversed(list(soup.descendants)):
        if node.name is None:
            following = node.find_parent(_BLOCKS) if node.strip() else following
        elif node.name in _BLOCKS:
            following = soup
        elif node.name == "br" and following is not node.find_parent(_BLOCKS):
            node.decompose()


def _emphasis(mark: str, el: Any, text: str, parent_tags: set[str]) -> str:
    """`text` within marks, where CommonMark would read them as such; else without.

    "A left-flanking delimiter run is […] not followed by Unicode whitespace, and either not followed by a Unicode
    punctuation character, or followed by [one] and preceded by Unicode whitespace or [another]" (6.2). So white space
    goes outside the marks, and so does punctuation at a letter: ``<b>Mise à jour.</b>Le`` is ``**Mise à jour**.Le``.
    """
    before, after = _neighbour(el.previous_sibling, -1), _neighbour(el.next_sibling, 0)
    start, inner, end = _affixes(text, str.isspace)
    if "_noformat" in parent_tags or not inner or el.find("br") or el.find_parent(_EMPHASIS):
        return text
    if not start and getattr(el.previous_sibling, "name", None) in _EMPHASIS:
        return text
    if (_is_mark(inner[0]) and not start and _is_word(before)) or (_is_mark(inner[-1]) and not end and _is_word(after)):
        left, inner, right = _affixes(inner, _MOVABLE.__contains__)
        start, end = start + left, right + end
        if not inner or _is_mark(inner[0]) or _is_mark(inner[-1]):
            return text
    return f"{start}{mark}{inner}{mark}{end}"


def _affixes(text: str, belongs: Callable[[str], bool]) -> tuple[str, str, str]:
    """`text` as the characters at its start that belong, the rest, and those at its end."""
    first = next((i for i, c in enumerate(text) if not belongs(c)), len(text))
    last = next((i for i in range(len(text), first, -1) if not belongs(text[i - 1])), first)
    return text[:first], text[first:last], text[last:]


def _neighbour(sibling: Any, index: int) -> str:
    text = sibling.get_text() if sibling is not None else ""
    return text[index] if text else " "


def _is_mark(c: str) -> bool:
    return unicodedata.category(c)[0] in "PS"


def _is_word(c: str) -> bool:
    return not c.isspace() and not _is_mark(c)


def plain(html: str) -> str:
    """The text of sanitised HTML without its elements, white space folded; for counts, feeds and descriptions."""
    return " ".join(unescape(nh3.clean(re.sub(r"<(br|/p|/li|/h\d|/td)", r" <\1", html), tags=set())).split())
