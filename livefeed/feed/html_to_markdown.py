"""Sanitised HTML as Markdown that CommonMark reads back as it was meant. Pure.

markdownify does the work; here is what it leaves open: text that would become markup next to its neighbours, emphasis
where its marks would not count, line breaks and lists where Markdown has no such place for them, and a bound on depth.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import markdownify

DEPTH_MAX = 100
"""Most elements within each other: the converter calls itself for each level."""
_SPACES_MAX = 100
"""Longer runs of spaces are cut to this: the converter's time grows with their square."""

_EMPHASIS = ["b", "strong", "i", "em", "s", "del"]
_SPANS = [*_EMPHASIS, "a", "code", "h1", "h2", "h3", "h4", "h5", "h6"]
_BLOCKS = ["p", "div", "ul", "ol", "li", "blockquote", "pre", "hr", "table", "h1", "h2", "h3", "h4", "h5", "h6"]
_MOVABLE = frozenset(".,;:!?…«»“”’\"' \u00a0\u202f\n")
"""May stand outside of emphasis as well as inside."""

_element = re.compile(r"<(/?)(?!br|hr)(\w+)")
_spaces = re.compile(rf"[ \t]{{{_SPACES_MAX},}}")
_blank = re.compile(r"\n{3,}")
_markup = re.compile(r"[]\\<`[>~|*_]|&(?=#?\w+;)")
_line_start = re.compile(r"^([^\S\n]*)(?=(?:-+|=+|\+)(?:\s|$)|[-:][-:|\\ ]*$)", re.MULTILINE)
"""Before what starts a list there, or makes a heading or a table of the line above."""
_number = re.compile(r"^([^\S\n]*[0-9]{1,9})(?=[.)](?:\s|$))", re.MULTILINE)
_hashes = re.compile(r"(?:(?<=\s)|^)(?=#+(?:\s|$))")
"""Before what starts a heading, or is dropped at the end of one."""
_not_in_address = re.compile(r"[\s<>\\]")
_escaped_in_address = re.compile(r"[()]|&(?=#?\w+;)")


def depth(clean: str) -> int:
    """How many elements stand within each other in sanitised HTML, in which every element but two is closed."""
    current = deepest = 0
    for end, _ in _element.findall(clean):
        current += -1 if end else 1
        deepest = max(deepest, current)
    return deepest


def convert(clean: str) -> str:
    """The Markdown of sanitised HTML that is no deeper than `DEPTH_MAX`."""
    text: str = _converter.convert(_spaces.sub(" " * _SPACES_MAX, clean))
    return _blank.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip("\n")


class _Converter(markdownify.MarkdownConverter):
    """markdownify with the escapes, ends of emphasis, links and line breaks that CommonMark demands."""

    def convert_soup(self, soup: Any) -> str:
        """The whole text, after its tree was made one that Markdown can say."""
        for span in soup.find_all(_SPANS):
            if span.find(_BLOCKS) and span.parent.name != "pre":
                span.unwrap()
        for code in soup.find_all("code"):
            if getattr(code.previous_sibling, "name", None) == "code":
                code.previous_sibling.extend(list(code.contents))
                code.decompose()
        for entry in soup.find_all("li"):
            if entry.parent.name not in ("ul", "ol"):
                entry.wrap(soup.new_tag("ul"))
        for entries in soup.find_all(["ul", "ol"]):
            _wrap_strays(entries, soup)
        _drop_last_breaks(soup)
        return str(super().convert_soup(soup))

    def escape(self, text: str, parent_tags: set[str]) -> str:
        """`text` with a backslash before all that would be markup."""
        text = _hashes.sub(r"\\", _markup.sub(r"\\\g<0>", text))
        return _number.sub(r"\1\\", _line_start.sub(r"\1\\", text))

    def convert_list(self, el: Any, text: str, parent_tags: set[str]) -> str:
        """A list; what follows it within an entry of another list is a paragraph of that entry."""
        result = str(super().convert_list(el, text, parent_tags))  # type: ignore[misc]  # its stubs list no such names
        after = el.next_sibling
        return (
            f"{result}\n\n" if "li" in parent_tags and after is not None and after.name not in ("ul", "ol") else result
        )

    convert_ul = convert_list
    convert_ol = convert_list

    def convert_a(self, el: Any, text: str, parent_tags: set[str]) -> str:
        """An address does not end at a space or parenthesis of its own."""
        if el.get("href"):
            whole = _not_in_address.sub(lambda c: quote(c[0], safe=""), el["href"])
            el["href"] = _escaped_in_address.sub(r"\\\g<0>", whole)
        if el.get("title"):
            el["title"] = " ".join(el["title"].replace("\\", "\\\\").split())
        return str(super().convert_a(el, text, parent_tags))  # type: ignore[misc]

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


_converter = _Converter(heading_style="ATX", bullets="-", newline_style="backslash", table_infer_header=True)


def _wrap_strays(entries: Any, soup: Any) -> None:
    """Put what stands in a list but in no entry of it into the entry before, or into one of its own."""
    for child in list(entries.contents):
        if child.name == "li" or (child.name is None and not child.strip()):
            continue
        before = child.find_previous_sibling("li")
        if before is not None:
            before.append(child)
        else:
            child.wrap(soup.new_tag("li"))


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
