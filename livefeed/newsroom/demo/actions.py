"""The day's script: what the demonstration's newsroom does, when. Read from the TOML files beside this one. Pure.

An action names items by names of the script; `playing` turns those into ids.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

import msgspec

from livefeed.newsroom.input import ItemInput

FILES = ("matin.toml", "journee.toml", "soir.toml")
"""The parts of the day, in order; the first one is what the page shows before the play begins."""


class Action(ItemInput, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """One thing that the newsroom does; `alternates` holds names of the script instead of ids."""

    at: str
    """Time of the day, as 07:12."""

    @property
    def minute(self) -> int:
        """Minutes since midnight."""
        hours, minutes = self.at.split(":")
        return int(hours) * 60 + int(minutes)

    def fields(self) -> dict[str, Any]:
        """The item's fields that the action sets."""
        values = {name: getattr(self, name) for name in ItemInput.__struct_fields__}
        return {name: value for name, value in values.items() if value is not msgspec.UNSET}


class Publish(Action, kw_only=True, forbid_unknown_fields=True, tag="publish"):
    """A new item."""

    name: str


class Edit(Action, kw_only=True, forbid_unknown_fields=True, tag="edit"):
    """A silent change."""

    of: str


class Correct(Action, kw_only=True, forbid_unknown_fields=True, tag="correct"):
    """A change with a note that readers see."""

    of: str
    note: str


class Withdraw(Action, kw_only=True, forbid_unknown_fields=True, tag="withdraw"):
    """Only the stub stays."""

    of: str
    reason: str = ""


class Restore(Action, kw_only=True, forbid_unknown_fields=True, tag="restore"):
    """The stub becomes the item again."""

    of: str
    reason: str = ""


class PinItem(Action, kw_only=True, forbid_unknown_fields=True, tag="pin"):
    """The item stays on top for some hours of the script's day."""

    of: str
    hours: float


Step = Publish | Edit | Correct | Withdraw | Restore | PinItem


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    action: list[Step]


def load(file: str) -> list[Step]:
    """The actions of one part of the day, in their order."""
    text = resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Part).action


def morning() -> list[Step]:
    """What has happened before the play begins."""
    return load(FILES[0])


def day() -> list[Step]:
    """What is played."""
    return [step for file in FILES[1:] for step in load(file)]
