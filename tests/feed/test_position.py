"""Positions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livefeed.feed.position import Position, chain, new_mark, parse

POSITIONS = st.builds(Position, st.integers(0, 10**15 - 1), st.text("0123456789abcdef", min_size=8, max_size=8))


@given(POSITIONS)
def test_parse_reads_what_str_writes(position: Position) -> None:
    """parse(str(p)) is p."""
    assert parse(str(position)) == position


@given(st.text(max_size=30))
def test_anything_else_is_none(value: str) -> None:
    """Text is a position exactly when it is written like one."""
    parsed = parse(value)
    assert parsed is None or str(parsed) == value


@pytest.mark.parametrize(
    "bad", ["", "1", "1-", "-1-aaaaaaaa", "01-aaaaaaaa", "1-AAAAAAAA", "1-aaaaaaaa\n", "٣-aaaaaaaa"]
)
def test_near_misses(bad: str) -> None:
    """What looks like a position but is not written canonically is none."""
    assert parse(bad) is None


def test_chain_depends_on_history_and_event() -> None:
    """The mark changes with the mark before it and with the event; a new log's is random."""
    assert chain("00000000", b"a") != chain("00000001", b"a")
    assert chain("00000000", b"a") != chain("00000000", b"b")
    assert len(chain("00000000", b"a")) == 8
    assert len({new_mark() for _ in range(50)}) == 50
