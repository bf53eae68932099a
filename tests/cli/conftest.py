"""Fixtures of the command line's tests: commands in this process, and one real server for the journeys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from livefeed.cli import main
from tests.servers import LiveServer, serving

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs one command in this process; a traceback instead of a message fails the test.

    Without a server of its own: `LIVEFEED_DATA_DIR` is an empty directory until the test sets it.
    """
    monkeypatch.setenv("LIVEFEED_DATA_DIR", str(tmp_path / "empty"))

    def command(*arguments: str, input: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, arguments, input=input, prog_name="livefeed")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.output
        return result

    return command


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A real livefeed with the embedded store, shared by the tests of one module."""
    with serving(tmp_path_factory.mktemp("cli") / "var", env={"LIVEFEED_TICK_S": "1"}) as live:
        yield live


@pytest.fixture
def on_server(server: LiveServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs one command in the data directory of the real server."""
    monkeypatch.setenv("LIVEFEED_DATA_DIR", str(server.data_dir))
    return run
