"""Markdown in, safe HTML out; HTML of others in, Markdown out. Pure, and the only place where HTML is made from text.

Two walls: markdown-it-py runs with ``html=False`` (raw HTML becomes text), and nh3 then lets through a short list of
elements and attributes. A body is always stored as its Markdown source and the HTML made from it here.
"""

from __future__ import annotations

import re
from html import escape, unescape
from urllib.parse import urljoin, urlsplit

import nh3
from markdown_it import MarkdownIt

from livefeed.feed import html_to_markdown

_TAGS = {"p", "br", "strong", "em", "del", "a", "ul", "ol", "li", "blockquote", "h3", "h4", "code", "pre", "hr"}
_TAGS |= {"table", "thead", "tbody", "tr", "th", "td"}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto", "tel"}
_IMPORT_TAGS = _TAGS | {"b", "i", "h1", "h2", "h5", "h6", "div", "s"}
_IMPORT_DROPPED = {"script", "style", "title", "iframe", "noscript", "template", "textarea", "select", "object", "svg"}
"""Elements of others that go with what is in them; of all the rest the text stays."""

_markdown = MarkdownIt("js-default", {"html": False, "linkify": False, "typographer": False})


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
        url_schemes=_SCHEMES,
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
        url_schemes=_SCHEMES,
        url_relative=None if base is None else lambda url: _absolute(url, base),
        link_rel=None,
    )
    if html_to_markdown.depth(clean) > html_to_markdown.DEPTH_MAX:
        clean = f"<p>{escape(plain(clean))}</p>"  # nobody wrote that for a reader
    return html_to_markdown.convert(clean)


def _absolute(url: str, base: str) -> str | None:
    try:
        whole = urljoin(base, url)
        return whole if urlsplit(whole).scheme in ("http", "https") else None
    except ValueError:
        return None


def plain(html: str) -> str:
    """The text of sanitised HTML without its elements, white space folded; for counts, feeds and descriptions."""
    return " ".join(unescape(nh3.clean(re.sub(r"<(br|/p|/li|/h\d|/td)", r" <\1", html), tags=set())).split())
