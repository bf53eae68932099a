"""Log lines: one event a line, whatever text it carries."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from livefeed import logs
from livefeed.settings import Settings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def written(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == "", "stdout belongs to answers, not to logs"
    return err


@pytest.mark.parametrize("log_json", [False, True])
@property_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(text=st.text())
def test_a_text_never_makes_a_line_of_its_own(log_json: bool, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Any text, as event, value or key's value of another type: exactly one line, no control characters."""
    logs.configure(Settings(log_json=log_json))
    structlog.get_logger("a").info(text, value=text, values=[text], error=ValueError(text))
    line = written(capsys)
    assert len(line.splitlines()) == 1
    assert not [c for c in line.rstrip("\n") if ord(c) < 32 or 127 <= ord(c) < 160]
    if log_json:
        assert json.loads(line)["level"] == "info"


@pytest.mark.parametrize("log_json", [False, True])
def test_a_traceback_cannot_pass_for_an_event(log_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception whose text holds a forged line: each line of the traceback is marked as one."""
    logs.configure(Settings(log_json=log_json))
    try:
        raise ValueError("x\n2026-01-01T00:00:00Z [info ] everything is fine")
    except ValueError:
        structlog.get_logger("a").exception("it failed")
    first, *rest = written(capsys).splitlines()
    assert "it failed" in first
    assert all(line.startswith("    | ") for line in rest)
    assert bool(rest) is not log_json


def test_uvicorn_speaks_through_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """The standard library's loggers come out as JSON too; uvicorn's steps are not worth a line, its errors are."""
    logs.configure(Settings(log_json=True))
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 1)
    logging.getLogger("uvicorn.error").error("Exception in %s", "ASGI\napplication")
    assert json.loads(written(capsys))["event"] == "Exception in ASGI\\napplication"
