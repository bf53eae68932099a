"""A page as a parser sees it: enough of a tree to ask what a page says."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "br", "hr", "input"}


class Element:
    """An element with its attributes and what is in it."""

    def __init__(self, name: str, attributes: dict[str, str], parent: Element | None) -> None:
        self.name = name
        self.attributes = attributes
        self.parent = parent
        self.content: list[Element | str] = []

    @property
    def text(self) -> str:
        """All text in it, white space folded."""
        return " ".join(self._raw().split())

    def _raw(self) -> str:
        return "".join(part if isinstance(part, str) else part._raw() for part in self.content)

    def all(self, name: str = "", **attributes: str) -> list[Element]:
        """Elements below it with this name and these attributes; `cls` is one of its classes."""
        found = []
        for part in self.content:
            if isinstance(part, Element):
                if part._is(name, attributes):
                    found.append(part)
                found += part.all(name, **attributes)
        return found

    def one(self, name: str = "", **attributes: str) -> Element:
        """The only such element."""
        found = self.all(name, **attributes)
        assert len(found) == 1, f"{len(found)} of {name} {attributes}"
        return found[0]

    def _is(self, name: str, attributes: dict[str, str]) -> bool:
        if name and self.name != name:
            return False
        for key, value in attributes.items():
            if key == "cls":
                if value not in self.attributes.get("class", "").split():
                    return False
            elif self.attributes.get(key.replace("_", "-")) != value:
                return False
        return True

    def __getitem__(self, attribute: str) -> str:
        return self.attributes[attribute]


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.here = Element("", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.content.append(element)
        if tag not in _VOID:
            self.here = element

    def handle_endtag(self, tag: str) -> None:
        assert self.here.name == tag, f"</{tag}> closes <{self.here.name}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.content.append(data)


def parse(html: str) -> Element:
    """The page's tree; fails when an element is not closed where it should be."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder.here is builder.root, f"<{builder.here.name}> is not closed"
    return builder.root
