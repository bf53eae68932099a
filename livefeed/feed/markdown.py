"""Markdown in, safe HTML out; HTML of others in, Markdown out. Pure, and the only place where HTML is made from text.

Two walls: markdown-it-py runs with ``html=False`` (raw HTML becomes text), and nh3 then lets through a short list of
elements and attributes. A body is always stored as its Markdown source and the HTML made from it here.
"""

from __future__ import annotations

import re

import markdownify
import nh3
from markdown_it import MarkdownIt

_TAGS = {"p", "br", "strong", "em", "del", "a", "ul", "ol", "li", "blockquote", "h3", "h4", "code", "pre", "hr"}
_TAGS |= {"table", "thead", "tbody", "tr", "th", "td"}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_IMPORT_TAGS = _TAGS | {"b", "i", "h1", "h2", "h5", "h6", "div", "span", "s", "u"}

_markdown = MarkdownIt("js-default", {"html": False, "linkify": False, "typographer": False})
_blank = re.compile(r"\n{3,}")


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


def from_html(html: str) -> str:
    """Markdown of somebody else's HTML, sanitised first; pictures, scripts, styles and frames are dropped.

    ``render(from_html(html))`` is as safe as any other rendering.
    """
    clean = nh3.clean(
        html,
        tags=_IMPORT_TAGS,
        attributes={"a": {"href", "title"}},
        url_schemes={"http", "https", "mailto"},
        link_rel=None,
    )
    text: str = markdownify.markdownify(clean, heading_style="ATX", bullets="-", escape_misc=True)
    return _blank.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip()


def plain(html: str) -> str:
    """The text of sanitised HTML without its elements, white space folded; for counts, feeds and descriptions."""
    import html as entities  # the parameter's name is the field's term

    return " ".join(entities.unescape(nh3.clean(re.sub(r"<(br|/p|/li|/h\d|/td)", r" <\1", html), tags=set())).split())
