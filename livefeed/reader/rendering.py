"""How a page becomes HTML: the templates, and what all of them know. Autoescaped throughout."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import jinja2

from livefeed.feed.item import direction
from livefeed.reader.assets import Assets
from livefeed.reader.dates import Dates
from livefeed.reader.messages import EDITIONS, NAMES, messages
from livefeed.responses import build_id
from livefeed.settings import LANGUAGES, Settings
from livefeed.zone import offsets


class Templates:
    """The pages' templates for one site."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.assets = Assets(settings.site)
        self.build = f"{build_id(settings)} {self.assets.digest}"
        """Changes with the program, the static files and the settings that pages show."""
        self.zone = settings.zone
        self.dates = {language: Dates(language, self.zone) for language in LANGUAGES}
        self._offsets: tuple[date | None, list[tuple[int, int]]] = (None, [])
        """Found once a day: it takes milliseconds."""
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("livefeed.reader", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(
            assets=self.assets, base_url=settings.base_url, editions=EDITIONS, names=NAMES, site=settings.site
        )

        for name in self._environment.list_templates():
            self._environment.get_template(name)  # read and compiled now, not in the event loop for the first reader

    def render(self, template: str, language: str, **context: Any) -> bytes:
        """A page in `language`."""
        text = self._environment.get_template(template).render(
            language=language, direction=direction(language), m=messages(language), **context
        )
        return text.encode()

    def for_browser(self, language: str, now: datetime) -> dict[str, Any]:
        """What the browser's side of every live page needs."""
        dates = self.dates[language]
        return {
            "site": self.settings.site.name,
            "language": language,
            "edition": EDITIONS[language],
            "zone": self.settings.time_zone,
            "offsets": self._offsets_around(now),
            "tick_s": self.settings.tick_s,
            "months": dates.months,
            "weekdays": dates.weekdays,
            "rubrics": {rubric.slug: rubric.label(language) for rubric in self.settings.site.rubrics},
            "names": NAMES,
            "messages": messages(language).for_browser(),
        }

    def _offsets_around(self, now: datetime) -> list[tuple[int, int]]:
        if self._offsets[0] != now.date():
            self._offsets = (now.date(), offsets(self.zone, now))
        return self._offsets[1]


_latest: Templates | None = None


def templates(settings: Settings) -> Templates:
    """The templates for these settings. A process has one `Settings`, so the latest are the ones asked for."""
    global _latest
    if _latest is None or _latest.settings is not settings:
        _latest = Templates(settings)
    return _latest
