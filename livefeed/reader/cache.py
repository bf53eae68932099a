"""Rendered pages, kept while they are true."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime

import msgspec

PAGES_MAX = 256
"""Most rendered pages of one process; at about 60 KB each they take 16 MB. The least used leave first."""


class Page(msgspec.Struct, frozen=True):
    """A rendered page."""

    body: bytes
    etag: str
    expires: datetime
    """Until when it may be used: a new day or the end of a pin changes it by time alone."""


class PageCache:
    """The pages rendered last."""

    def __init__(self, pages_max: int = PAGES_MAX) -> None:
        self._pages: OrderedDict[Hashable, Page] = OrderedDict()
        self._pages_max = pages_max
        self.renders = 0
        """Pages put so far; a test holds that it does not grow with requests."""

    def get(self, key: Hashable, now: datetime) -> Page | None:
        """The page under `key`, unless time has changed it."""
        page = self._pages.get(key)
        if page is None or page.expires <= now:
            return None
        self._pages.move_to_end(key)
        return page

    def put(self, key: Hashable, page: Page) -> Page:
        """Keep a page that was just rendered."""
        self._pages[key] = page
        self._pages.move_to_end(key)
        self.renders += 1
        if len(self._pages) > self._pages_max:
            self._pages.popitem(last=False)
        return page

    def __len__(self) -> int:
        return len(self._pages)
