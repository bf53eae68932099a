"""`livefeed tail` as a process of its own, on a real server: it resumes, it ends when it should, it looks right."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from livefeed.cli.server import Server
from livefeed.cli.tail import Show
from livefeed.settings import Settings
from tests.cli.conftest import Run
from tests.servers import LiveServer, serving, wait_for


class Tail:
    """A running `livefeed tail`, and the lines that it has written."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.lines: list[str] = []
        self.notices: list[str] = []
        for stream, into in ((process.stdout, self.lines), (process.stderr, self.notices)):
            threading.Thread(target=_read, args=(stream, into)).start()

    def wait_for_line(self, text: str) -> str:
        """The first line that holds `text`."""
        return wait_for(
            lambda: next((line for line in self.lines if text in line), ""), f"{text!r} in {self.lines}", 20
        )


def _read(stream: Any, lines: list[str]) -> None:
    for line in stream:
        lines.append(line.decode())  # noqa: PERF401  (each line must be there at once)


@contextlib.contextmanager
def tailing(server: LiveServer, *options: str) -> Iterator[Tail]:
    """A `livefeed tail` that has its connection, killed at the end if the test has not ended it."""
    env = os.environ | {"LIVEFEED_DATA_DIR": str(server.data_dir), "LIVEFEED_TICK_S": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "livefeed", "tail", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    )
    with process:
        try:
            tail = Tail(process)
            wait_for(lambda: any("Following" in notice for notice in tail.notices), "its connection", 20)
            yield tail
        finally:
            process.kill()


def publish(run: Run, headline: str, *options: str, rubric: str = "monde") -> str:
    """Publish; the id."""
    result = run("publish", "--headline", headline, "--rubric", rubric, "--json", *options)
    assert result.exit_code == 0, result.output
    return str(json.loads(result.stdout)["item"]["id"])


def test_nothing_is_lost_or_doubled_across_restarts(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop, a kill -9, and publications between: every position comes once, in order."""
    monkeypatch.setenv("LIVEFEED_DATA_DIR", str(tmp_path / "var"))
    soon = {"LIVEFEED_RETRY_MIN_MS": "100", "LIVEFEED_RETRY_MAX_MS": "200"}
    with serving(tmp_path / "var", env=soon) as server, tailing(server, "--json", "-n", "0") as tail:
        publish(run, "premier")
        tail.wait_for_line("premier")
        server.terminate()
        server.start()
        publish(run, "pendant l'absence")
        tail.wait_for_line("pendant l'absence")
        server.kill()
        server.start()
        publish(run, "après la chute")
        tail.wait_for_line("après la chute")
        publish(run, "enfin")
        tail.wait_for_line("enfin")
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait(10) == 0

    found = [json.loads(line) for line in tail.lines]
    assert [event["headline"] for event in found] == ["premier", "pendant l'absence", "après la chute", "enfin"]
    assert [int(event["position"].split("-")[0]) for event in found] == [1, 2, 3, 4]
    assert any("trying again" in notice for notice in tail.notices)
    assert sum("Following" in notice for notice in tail.notices) == 3


def test_each_kind_of_change_is_a_line_in_a_pipe(server: LiveServer, on_server: Run) -> None:
    """Plain, flushed at once: time, kind, rubric, id, headline, and a correction's note."""
    with tailing(server, "--rubric", "culture") as tail:
        id = publish(on_server, "Festival", rubric="culture")
        tail.wait_for_line("Festival")
        on_server("correct", id, "--note", "Le 3, non le 4.")
        on_server("edit", id, "--headline", "Le festival")
        on_server("pin", id, "--for", "1h")
        on_server("pin", id, "--off")
        on_server("withdraw", id)
        on_server("restore", id)
        on_server("edit", id, "--rubric", "sport")
        publish(on_server, "Un match", rubric="sport")
        tail.wait_for_line("sorti")

    fields = [line.rstrip("\n").split("\t") for line in tail.lines]
    kinds = ["nouveau", "corrigé", "modifié", "épinglé", "désépinglé", "retiré", "rétabli", "sorti"]
    assert [line[1] for line in fields] == kinds
    assert {line[3] for line in fields} == {id}
    assert fields[1][4] == "Festival — Le 3, non le 4."
    assert fields[5][4] == "Info retirée par la rédaction"
    assert not any("\x1b" in line for line in tail.lines)


def test_a_pipe_that_closes_ends_it_on_a_calm_feed(server: LiveServer, on_server: Run) -> None:
    """`livefeed tail | head -1` comes back without waiting for the next item, and without a word."""
    publish(on_server, "Le dernier")
    wait_for(lambda: "Le dernier" in on_server("recent", "--limit", "1").stdout, "the item")
    env = os.environ | {"LIVEFEED_DATA_DIR": str(server.data_dir), "LIVEFEED_TICK_S": "60"}
    command = f"{sys.executable} -m livefeed tail -n 1 | head -1; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, timeout=20, check=True)

    line, code = done.stdout.decode().splitlines()
    assert "Le dernier" in line
    assert code == "0"
    assert done.stderr.count(b"\n") <= 1


def test_since_brings_what_happened(server: LiveServer, on_server: Run) -> None:
    """Events, not items: an edit is a line of its own; lite asks for less and shows the same."""
    id = publish(on_server, "Avant")
    on_server("edit", id, "--headline", "Ensuite")
    with tailing(server, "--since", "1h", "--lite") as tail:
        tail.wait_for_line("Ensuite")

    kinds = [line.split("\t")[1] for line in tail.lines if id in line]
    assert kinds == ["nouveau", "modifié"]


def test_an_unknown_rubric_ends_it_with_a_message(on_server: Run) -> None:
    """Before it follows anything."""
    result = on_server("tail", "--rubric", "nulle-part")

    assert result.exit_code == 1
    assert "--rubric" in result.stderr


def test_on_a_terminal_it_is_in_colour_and_fits(server: LiveServer, on_server: Run) -> None:
    """80 columns, urgent in red, and Ctrl-C ends it with 0."""
    publish(on_server, "Une alerte dont le titre est bien trop long pour une seule ligne " * 2, "--level", "urgent")
    leader, follower = pty.openpty()
    env = os.environ | {"LIVEFEED_DATA_DIR": str(server.data_dir), "COLUMNS": "80", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "livefeed", "tail", "-n", "1"], stdout=follower, stderr=follower, env=env
    )
    os.close(follower)
    shown = b""
    while b"ligne\x1b" not in shown.replace(b" ", b"") and b"\n" not in shown:
        shown += os.read(leader, 4096)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the terminal's end, once the process has gone
        while more := os.read(leader, 4096):
            shown += more
    os.close(leader)

    assert process.wait(10) == 0
    assert b"\x1b[1;31" in shown or b"\x1b[1;7;31" in shown
    assert b"Traceback" not in shown


def _item(id: str, version: int, headline: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "version": version, "status": "published", "headline": headline, "rubric": "monde", **fields}


def show() -> Show:
    """What writes JSON to stdout."""
    return Show(Server(Settings()), [("view", "full")], {}, as_json=True)


def written(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """Event and headline of each line."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [(line["event"], line.get("headline", line.get("reason"))) for line in lines]


def test_of_each_item_only_what_is_newer_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """What the snapshot had comes again on no stream."""
    shown = show()
    shown.snapshot({"items": [_item("a", 2, "A2")], "position": "5-aaaaaaaa"}, 10)
    shown.item(_item("a", 1, "A1", change="publish"), "3-aaaaaaaa")
    shown.item(_item("a", 2, "A2", change="edit"), "5-aaaaaaaa")
    shown.item(_item("a", 3, "A3", change="edit"), "6-aaaaaaaa")

    assert written(capsys) == [("snapshot", "A2"), ("item", "A3")]


async def test_after_a_reset_only_what_differs_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """In another history the same version may be another text, and what came later there may be a lower version."""
    shown = show()
    page = {"items": [_item("a", 4, "A4"), _item("b", 2, "B2")], "position": "5-aaaaaaaa"}
    shown.snapshot(page, 10)

    async def snapshot(params: Any) -> dict[str, Any]:
        return {"items": [_item("a", 2, "A2 d'avant"), _item("b", 2, "B2")], "position": "4-bbbbbbbb"}

    await shown.reset("diverged", "4-bbbbbbbb", snapshot)
    shown.item(_item("a", 3, "A3", change="edit"), "5-bbbbbbbb")

    assert written(capsys)[2:] == [("reset", "diverged"), ("snapshot", "A2 d'avant"), ("item", "A3")]


def test_a_server_that_is_not_sure_to_hear_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Once when it begins, and once when it is over; on stderr, beside the news."""
    shown = show()
    for live in (True, False, False, True):
        shown.tick({"live": live})

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["The server is not sure to hear the newsroom at the moment.", "Live again."]


def test_a_line_on_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, kind, rubric, headline, short id: within the width, wrapped under the headline."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    shown = Show(Server(Settings()), [], {}, as_json=False)
    shown.item(
        _item("01m86meb6p4k52cy2s", 1, "Un titre " * 15, change="publish", first_published_at="2024-08-08T12:55:00Z"),
        "1-aaaaaaaa",
    )

    lines = capsys.readouterr().out.splitlines()
    assert all(cell_len(line) <= 80 for line in lines)
