"""The demonstration's script is sound: full, in order, and all of it passes the door."""

from __future__ import annotations

from collections import Counter

import pytest

from livefeed.feed import markdown
from livefeed.newsroom.demo.actions import Correct, Edit, PinItem, Publish, Restore, Step, Withdraw, day, morning
from livefeed.newsroom.importing import cleaning
from livefeed.newsroom.input import NewItem, checked
from livefeed.settings import Settings

SETTINGS = Settings()


def script() -> list[Step]:
    return morning() + day()


def publications() -> list[Publish]:
    return [step for step in script() if isinstance(step, Publish)]


def test_the_day_is_full() -> None:
    """The script has what the demonstration promises: dispatches, languages, every rubric, and every newsroom verb."""
    items = publications()
    languages = Counter(item.fields().get("language", "fr") for item in items)
    levels = Counter(item.fields().get("level", "normal") for item in items)
    verbs = Counter(type(step) for step in script())
    corrected = [step for step in script() if isinstance(step, Correct)]
    silent = [step for step in script() if isinstance(step, Edit)]

    assert len(items) >= 48
    assert languages["fr"] >= 30
    assert languages["ar"] >= 8
    assert languages["en"] >= 6
    assert {item.rubric for item in items} == {rubric.slug for rubric in SETTINGS.site.rubrics}
    assert levels["urgent"] >= 2
    assert len(corrected) >= 4
    assert all(step.note for step in corrected)
    assert len(silent) >= 3
    assert verbs[Withdraw] >= 2
    assert verbs[Restore] >= 1
    assert verbs[PinItem] >= 1
    assert len({item.fields().get("thread") for item in items} - {None}) >= 4
    assert sum(item.fields().get("key", False) for item in items) >= 4
    assert sum("body" in item.fields() for item in items) > len(items) / 2


def test_an_unconfirmed_item_is_confirmed_in_place_and_another_denied() -> None:
    """« à confirmer » flips in place: to confirmed by an edit, to denied by a correction."""
    unverified = {item.name for item in publications() if item.fields().get("verification") == "unverified"}
    flips = {
        (step.of, step.fields()["verification"])
        for step in script()
        if isinstance(step, Edit | Correct) and "verification" in step.fields()
    }

    assert {verification for name, verification in flips if name in unverified} == {"confirmed", "denied"}


def test_one_withdrawal_stays_and_another_is_lifted() -> None:
    """What is restored was withdrawn before, and at least one item stays withdrawn."""
    gone: set[str] = set()
    lifted = 0
    for step in script():
        if isinstance(step, Withdraw):
            gone.add(step.of)
        elif isinstance(step, Restore):
            gone.remove(step.of)
            lifted += 1

    assert lifted >= 1
    assert len(gone) >= 1


def test_the_script_is_in_order_and_names_what_was_there_before() -> None:
    """Times never go back, names are unique, and every action and alternate names an item published earlier."""
    there: set[str] = set()
    for step in script():
        if isinstance(step, Publish):
            assert step.name not in there
        else:
            assert step.of in there, step
        assert set(step.fields().get("alternates", {}).values()) <= there, step
        if isinstance(step, Publish):
            there.add(step.name)
    minutes = [step.minute for step in script()]

    assert minutes == sorted(minutes)


@pytest.mark.parametrize("step", [step for step in script() if step.fields()], ids=lambda step: step.at)
def test_every_dispatch_passes_the_door(step: Step) -> None:
    """Every text of the script is accepted as an editor's would be, and its Markdown renders."""
    fields = {name: value for name, value in step.fields().items() if name != "alternates"}
    clean = checked(NewItem(**fields), SETTINGS)

    assert markdown.render(clean.get("body", "")) or not clean.get("body")


def test_what_is_said_to_be_arabic_is() -> None:
    """An item's language is the one that it is written in."""
    for item in publications():
        assert cleaning.is_arabic(str(item.headline)) == (item.fields().get("language") == "ar"), item.name
