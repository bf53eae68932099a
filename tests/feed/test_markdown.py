"""Markdown and HTML: whatever comes in, only a short list of elements goes out."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livefeed.feed import markdown

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "<a href='javascript:alert(1)'>x</a>",
    "<svg/onload=alert(1)>",
    "<iframe src=//evil>",
    "<style>*{}</style>",
    '<p style="x" onclick="y">z</p>',
    "![x](javascript:alert(1))",
    "<https://ok.example> <javascript:alert(1)>",
    "]]><![CDATA[<script>",
    "<math><mtext></table><script>alert(1)</script>",
    "```\n</code><script>x\n```",
]
ALLOWED = markdown._TAGS
FRAGMENTS = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12), st.sampled_from(list("<>&\"'`*_[]()#\n!:/"))), max_size=12
).map("".join)


class Seen(HTMLParser):
    """An independent reading of the HTML: which elements and attributes it has."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ALLOWED:
            self.bad.append(tag)
        for name, value in attrs:
            if name not in ("href", "title", "rel", "start"):
                self.bad.append(f"{tag} {name}")
            if name == "href" and not (value or "").startswith(
                ("http://", "https://", "mailto:", "tel:", "/", "#", "?")
            ):
                scheme = (value or "").split("/")[0].split("?")[0].split("#")[0]
                if ":" in scheme:
                    self.bad.append(f"{tag} {name}={value}")

    handle_startendtag = handle_starttag


def dangers(html: str) -> list[str]:
    seen = Seen()
    seen.feed(html)
    seen.close()
    return seen.bad


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_becomes_text(hostile: str) -> None:
    """Known attacks lose their teeth as Markdown and as imported HTML."""
    assert dangers(markdown.render(hostile)) == []
    assert dangers(markdown.render(markdown.from_html(hostile))) == []


@given(FRAGMENTS)
def test_any_markdown_is_safe(source: str) -> None:
    """No text typed as Markdown becomes an element, attribute or scheme that is not on the list."""
    assert dangers(markdown.render(source)) == []


@given(FRAGMENTS)
def test_any_html_is_safe(html: str) -> None:
    """No imported HTML does either."""
    assert dangers(markdown.render(markdown.from_html(html))) == []


def test_what_an_editor_uses_works() -> None:
    """Emphasis, links, lists, quotes and headings come out; headings begin at h3."""
    html = markdown.render("# Titre\n\n**gras** et *italique*, [lien](https://exemple.ma/)\n\n- un\n- deux\n\n> cité")
    for part in ("<h3>Titre</h3>", "<strong>gras</strong>", "<em>italique</em>", "<li>un</li>", "<blockquote>"):
        assert part in html
    assert '<a href="https://exemple.ma/" rel="noopener noreferrer nofollow ugc">lien</a>' in html
    assert markdown.render("") == ""


def test_plain_text() -> None:
    """Plain text has no elements, decoded entities and single spaces."""
    assert markdown.plain("<p>Un &amp; deux<br>trois</p><p>quatre</p>") == "Un & deux trois quatre"
