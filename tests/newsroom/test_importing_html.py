"""Other people's HTML becomes Markdown that is safe, has the same words, and comes back as it was."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import nh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livefeed.feed import markdown

_TEXT = st.text(st.sampled_from("abé ع*_`[]()<>#-+.!|~\\&1:\n\"'/=«»\u00a0"), max_size=12).map(html.escape)
_INLINE = ("b", "strong", "i", "em", "del", "code", "span", "u")
_BLOCK = ("p", "div", "blockquote", "h2", "h4", "section")


def _wrapped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    element = st.tuples(st.sampled_from(_INLINE + _BLOCK), inner).map(lambda x: f"<{x[0]}>{x[1]}</{x[0]}>")
    link = inner.map(lambda x: f'<a href="https://site.example/z (1)">{x}</a>')
    items = inner.map(lambda x: f"<ul><li>{x}</li><li>deux</li></ul>")
    numbered = inner.map(lambda x: f"<ol><li>{x}</ol>")
    several = st.lists(inner, max_size=4).map("".join)
    return st.one_of(several, element, link, items, numbered, inner.map(lambda x: f"{x}<br>"))


DOCUMENTS = st.recursive(_TEXT, _wrapped, max_leaves=10)
"""HTML as content systems write it: well and badly nested, with all that Markdown takes for markup in its texts."""


class Elements(HTMLParser):
    """The elements and attributes of an HTML text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def assert_safe(rendered: str) -> None:
    """No script, no handler, no address but web, mail and phone."""
    for tag, attributes in Elements(rendered).seen:
        assert tag in markdown._TAGS
        assert set(attributes) <= {"href", "title", "rel", "start"}
        address = attributes.get("href")
        if address is not None:
            assert re.match(r"(https?|mailto|tel):|[^:]*\Z|[/#?]", address), address


def letters(text: str) -> str:
    """What a reader sees of an HTML text, without white space."""
    return re.sub(r"\s+", "", html.unescape(re.sub(r"<[^>]*>", "", text)))


@settings(deadline=None)  # the machine may be busy; the test has a time limit of its own
@given(DOCUMENTS)
def test_the_words_stay(document: str) -> None:
    """Whatever stands in the HTML, the Markdown made of it shows the same characters: nothing becomes markup."""
    clean = nh3.clean(document, tags={"br"})

    assert letters(markdown.render(markdown.from_html(document))) == letters(clean)


@settings(deadline=None)  # the machine may be busy; the test has a time limit of its own
@given(st.text())
def test_any_text_is_safe(text: str) -> None:
    """Any text at all, taken for HTML, renders to the short list of elements and addresses."""
    assert_safe(markdown.render(markdown.from_html(text.encode("utf-8", "replace").decode())))


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<scr<script>ipt>alert(1)</scr</script>ipt>",
        '<img src=x onerror="alert(1)">',
        '<p onclick="alert(1)">x</p>',
        '<a href="javascript:alert(1)">x</a>',
        '<a href="java\nscript:alert(1)">x</a>',
        '<a href="&#106;avascript&colon;alert(1)">x</a>',
        '<a href="data:text/html,<script>alert(1)</script>">x</a>',
        '<a href="vbscript:x">x</a>',
        "<svg><script>alert(1)</script></svg>",
        "<svg><a xlink:href=javascript:alert(1)><text>x</text></a></svg>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        '<iframe src="https://evil.example"></iframe>',
        "<style>@import 'https://evil.example'</style>",
        "[x](javascript:alert(1))",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<p>&lt;img src=x onerror=alert(1)&gt;</p>",
        "`<script>alert(1)</script>`",
        "<code>`</code><script>alert(1)</script>",
        '<a href="https://x.example/&quot;onclick=alert(1)//">x</a>',
        '<a title="&quot; onmouseover=&quot;alert(1)" href="https://x.example">x</a>',
        "<https://x.example/\"onload='x'>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<template><script>alert(1)</script></template>",
    ],
)
def test_attacks_do_not_get_through(attack: str) -> None:
    """Scripts, handlers and other schemes never reach the HTML that is made for a page."""
    rendered = markdown.render(markdown.from_html(attack))

    assert "<script" not in rendered.lower()
    assert_safe(rendered)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<p>un<br>deux</p>", "un\\\ndeux"),
        ("<p>un<br></p><p>deux</p>", "un\n\ndeux"),
        ("<ul><li>un<br></li><li>deux</li></ul>", "- un\n- deux"),
        ("<ul><li>un<ul><li>a</li></ul></li><li>deux</li></ul>", "- un\n  - a\n- deux"),
        ('<ol start="3"><li>x</li><li>y</li></ol>', "3. x\n4. y"),
        ("<p><b>gras </b>suite</p>", "**gras** suite"),
        ("<p><strong>Mise à jour.</strong>Le ministre</p>", "**Mise à jour**.Le ministre"),
        ("<p>l’<em>«\u00a0essentiel\u00a0»</em></p>", "l’*«\u00a0essentiel\u00a0»*"),
        ("<p><em>a</em><em>b</em></p>", "*a*b"),
        ("<h2>Titre</h2><p>x</p>", "## Titre\n\nx"),
        ('<a href="https://x.example/a b(c)">l</a>', "[l](https://x.example/a%20b\\(c\\))"),
        ("<p>1. pas une liste</p><p>- non plus</p>", "1\\. pas une liste\n\n\\- non plus"),
        ("<figure><img src=x><figcaption>Légende</figcaption></figure><p>x</p>", "Légende\n\nx"),
        ("<title>t</title><p>x</p><iframe>y</iframe>", "x"),
        ("<p>a</p><p>&nbsp;</p><p>b</p>", "a\n\nb"),
        ("<blockquote><p>a</p><p>b</p></blockquote>", "> a\n>\n> b"),
        ("<table><tr><th>a|b</th></tr><tr><td>1</td></tr></table>", "| a\\|b |\n| --- |\n| 1 |"),
        ("", ""),
    ],
)
def test_html_becomes_the_markdown_an_editor_would_write(source: str, expected: str) -> None:
    """Paragraphs, breaks, lists, emphasis, headings, links, quotes and tables come out as Markdown has them."""
    assert markdown.from_html(source) == expected


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("https://site.example/a/b", "[x](https://site.example/a/c)"),
        ("", "x"),
        (None, "[x](c)"),
        ("file:///etc/", "x"),
        ("https://[broken", "x"),
    ],
)
def test_relative_links_are_resolved_dropped_or_left(base: str | None, expected: str) -> None:
    """A relative link means the source's site: it is resolved against its address, or dropped where that is unknown."""
    assert markdown.from_html('<a href="c">x</a>', base) == expected


@pytest.mark.parametrize(
    "source",
    [
        "Un paragraphe.",
        "Un.\n\nDeux.",
        "Une ligne\\\nune autre",
        "**gras** et *italique*, `code` et ~~barré~~",
        "*« entre guillemets »*, **fin.**",
        "- un\n- deux\n  - imbriqué\n- trois",
        "3. trois\n4. quatre",
        "> cité\n>\n> encore",
        "### Intertitre\n\nSuite",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        '[lien](https://site.example/a_(b)?c=d&e=f&copy;=1 "titre")',
        "<https://site.example/x>",
        "```\nligne\n  retrait `x`\n```",
        "1\\. pas une liste, \\*ni gras\\*, [ni lien], a_b_c, # non",
        "Avant\n\n---\n\nAprès",
        "مرحبا **بالعالم**\n\n- واحد\n- اثنان",
        "- un\n\n  suite\n- deux",
        "&amp;amp; &lt;b&gt;",
    ],
)
def test_our_own_bodies_come_back_as_they_were(source: str) -> None:
    """The HTML of a body, made into Markdown and rendered again, is the same HTML: an export loses nothing."""
    rendered = markdown.render(source)

    assert markdown.render(markdown.from_html(rendered)) == rendered


@pytest.mark.parametrize(
    "hostile",
    [
        "<div>" * 20_000 + "x",
        "<b>" * 3_000 + "x",
        "<b><i>" * 45 + "x",
        "<ul><li>" * 2_000 + "x",
        "a*<em>" * 2_000,
        "a<br>" * 5_000,
        "<br>" * 5_000 + "a",
        " " * 100_000 + "x",
        " \n" * 50_000 + "x",
        "<" * 100_000,
        "[" * 50_000,
        "`" * 50_000,
        "<table>" + "<tr><td>x" * 2_000,
    ],
    ids=range(13),
)
@pytest.mark.timeout(10)
def test_hostile_html_costs_little(hostile: str) -> None:
    """Neither depth nor length of hostile HTML makes the conversion fail or take long."""
    assert_safe(markdown.render(markdown.from_html(hostile)[:20_000]))
