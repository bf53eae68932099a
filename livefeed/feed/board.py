"""The board: the newest public items in this process, so that pages, API and feeds need no Redis.

It follows the log event by event, like the window, and is true at the window's head. While Redis is away it goes on
answering from memory.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from livefeed.feed.filter import Filter
from livefeed.feed.item import Event, Facets, PublicItem, sort_key


class Board:
    """The newest items by sort key, at most `items_max`, as they may be seen now."""

    def __init__(self, items_max: int) -> None:
        self.items_max = items_max
        self._keys: list[str] = []
        """Ascending; the newest is last."""
        self._by_key: dict[str, tuple[PublicItem, Facets]] = {}
        self._key_of: dict[str, str] = {}
        self.complete = True
        """Whether the board holds every public item there is."""

    def __len__(self) -> int:
        return len(self._keys)

    def restart(self, items: list[tuple[PublicItem, Facets]], complete: bool) -> None:
        """Start again from a page of the newest items; `complete` when there are no others."""
        self._by_key = {sort_key(item.id, item.first_published_at): (item, facets) for item, facets in items}
        self._keys = sorted(self._by_key)
        self._key_of = {item.id: key for key, (item, _) in self._by_key.items()}
        self.complete = complete

    def apply(self, event: Event, facets: Facets) -> None:
        """Take over an event's item; it must come in the log's order."""
        item = event.item
        key = self._key_of.get(item.id)
        if key is None:
            key = sort_key(item.id, item.first_published_at)
            if not self.complete and (not self._keys or key < self._keys[0]):
                return  # older than all that is kept
            insort(self._keys, key)
            self._key_of[item.id] = key
        self._by_key[key] = (item, facets)
        if len(self._keys) > self.items_max:
            oldest = self._keys.pop(0)
            del self._key_of[self._by_key.pop(oldest)[0].id]
            self.complete = False

    def item(self, id: str) -> PublicItem | None:
        """The item or its stub, where the board has it."""
        key = self._key_of.get(id)
        return self._by_key[key][0] if key is not None else None

    def below(self, key: str, filter: Filter) -> Iterator[tuple[str, PublicItem]]:
        """Sort key and item of the matching items, newest first, below a sort key ("" from the top)."""
        start = bisect_left(self._keys, key) if key else len(self._keys)
        for i in range(start - 1, -1, -1):
            item, facets = self._by_key[self._keys[i]]
            if filter.matches(facets):
                yield self._keys[i], item

    def reaches(self, key: str) -> bool:
        """Whether everything above this sort key is on the board."""
        return self.complete or bool(self._keys and key > self._keys[0])
