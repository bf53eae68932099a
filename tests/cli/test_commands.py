"""The command line itself: what it takes, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import livefeed
from livefeed.cli import main
from livefeed.settings import table, variable
from tests.cli.conftest import Run
from tests.cli.scripted import always, scripted
from tests.cli.scripted import json as answer


def test_publishing_does_not_load_the_server() -> None:
    """What makes `publish` quick, whatever the machine."""
    code = "import sys, livefeed.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"uvicorn", "starlette", "redis", "feedparser", "markdown_it"} & set(loaded)


@pytest.mark.parametrize("name", [[], *[[name] for name in main.commands], ["token", "create"], ["token", "list"]])
def test_every_command_has_help(run: Run, name: list[str]) -> None:
    """With an exit code of 0."""
    result = run(*name, "--help")

    assert result.exit_code == 0
    assert "Usage: livefeed" in result.stdout


def test_exit_codes_are_documented(run: Run) -> None:
    """All five, in the help of the whole."""
    stdout = run("--help").stdout

    assert "Exit codes:" in stdout
    assert all(f"\n    {code}  " in stdout for code in range(5))


def test_the_version_is_the_packages(run: Run) -> None:
    """As `livefeed --version`."""
    assert run("--version").stdout == f"livefeed {livefeed.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["publish", "--headline", "x", "--rubric", "monde"],
        ["edit", "01m86meb6p4k52cy2s", "--tag", "a"],
        ["withdraw", "01m86meb6p4k52cy2s"],
        ["pin", "4k52cy2s", "--off"],
        ["recent"],
        ["tail"],
        ["tail", "--since", "2h"],
        ["export"],
    ],
)
def test_without_a_server_one_sentence_says_how_to_start_one(run: Run, arguments: list[str]) -> None:
    """And names the data directory that was looked at."""
    result = run(*arguments)

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "start one with `livefeed serve`" in result.stderr
    assert "empty" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["publish", "--rubric", "monde"], "Missing option '--headline'"),
        (["publish", "--headline", "x"], "Missing option '--rubric'"),
        (["publish", "--headline", "x", "--rubric", "monde", "--level", "huge"], "--level"),
        (["publish", "--headline", "x", "--rubric", "monde", "--body", "a", "--body-file", "-"], "exclude each other"),
        (["publish", "--headline", "x", "--rubric", "monde", "--body-file", "/none"], "--body-file: cannot read /none"),
        (["publish", "--headline", "x", "--rubric", "monde", "--image-alt", "a"], "--image-url"),
        (["publish", "--headline", "x", "--rubric", "monde", "--pin-until", "soon"], "'soon' is not a time"),
        (["publish", "--headline", "x", "--rubric", "monde", "--pin-until", "2020-01-01"], "is over already"),
        (["publish", "--headline", "\udce9", "--rubric", "monde"], "headline holds bytes that are not UTF-8"),
        (["edit", "4k52cy2s"], "Nothing to change"),
        (["correct", "4k52cy2s", "--tag", "a"], "Missing option '--note'"),
        (["correct", "4k52cy2s", "--note", "\udce9"], "--note holds bytes"),
        (["pin", "4k52cy2s"], "one of --for, --until and --off"),
        (["pin", "4k52cy2s", "--off", "--for", "2h"], "one of --for, --until and --off"),
        (["pin", "4k52cy2s", "--for", "ever"], "--for"),
        (["recent", "--limit", "0"], "--limit"),
        (["recent", "--url", "news.example"], "--url: must be like https://news.example"),
        (["recent", "--url", "ftp://news.example"], "--url: must be like"),
        (["recent", "--url", "http://news.example:99999"], "--url: must be like"),
        (["recent", "--url", "https://me:pw@news.example"], "must not carry a name or password"),
        (["pin", "4k52cy2s", "--off", "--token-file", "/none"], "--token-file: cannot read /none"),
        (["pin", "4k52cy2s", "--off", "--token", "a b"], "characters that no token has"),
        (["token", "create", "--name", "a", "--scope", "all"], "--scope"),
        (["token", "create", "--name", "a", "--scope", "publish", "--expires", "soon"], "'soon' is not a duration"),
        (["publish", "--headline", "x", "--rubric", "a", "--body-file", "-", "--token-file", "-"], "Only one thing"),
        (["import", "-", "--token-file", "-"], "Only one thing"),
        (["import", "/none"], "cannot read /none"),
        (["import", "-", "--language", "de"], "--language"),
        (["serve", "--port", "70000"], "--port"),
        (["serve", "--speed", "2"], "--speed goes with --demo"),
        (["tail", "--since", "never"], "--since: 'never' is not a time"),
        (["publisch"], "No such command"),
    ],
)
def test_a_wrong_command_line_is_told_without_a_server(run: Run, arguments: list[str], message: str) -> None:
    """Exit code 2, and a message that names the option."""
    result = run(*arguments, input="")

    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"x" * 70_000])
def test_a_body_that_is_no_text_or_too_long_is_refused(run: Run, data: bytes) -> None:
    """Before anything is sent."""
    result = run("publish", "--headline", "x", "--rubric", "monde", "--body-file", "-", input=data)

    assert result.exit_code == 2
    assert "--body-file" in result.stderr


@pytest.mark.parametrize("content", [b"", b"\n", b"\xc3\xa9", b"x" * 5_000])
def test_a_file_that_holds_no_token_is_refused(run: Run, tmp_path: Path, content: bytes) -> None:
    """Without showing what is in it."""
    file = tmp_path / "token"
    file.write_bytes(content)

    result = run("pin", "4k52cy2s", "--off", "--url", "http://127.0.0.1:1", "--token-file", str(file))

    assert result.exit_code == 2
    assert "does not hold a token" in result.stderr


def test_a_server_elsewhere_needs_a_token(run: Run) -> None:
    """The sentence says where to put it."""
    result = run("publish", "--headline", "x", "--rubric", "monde", "--url", "https://news.example")

    assert result.exit_code == 1
    assert "LIVEFEED_TOKEN" in result.stderr


def test_the_commands_own_variables_are_no_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """LIVEFEED_URL and LIVEFEED_TOKEN name the server; the settings' check for unknown variables passes them."""
    page = answer(200, {"items": [], "position": "0-00000000", "next": None})
    with scripted(always(page)) as server:
        monkeypatch.setenv("LIVEFEED_URL", server.url)
        monkeypatch.setenv("LIVEFEED_TOKEN", "lf_t")

        assert run("recent").exit_code == 0
        assert run("settings").exit_code == 0


def test_an_unknown_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By every command; `settings`, which the message points to, lists them all the same."""
    monkeypatch.setenv("LIVEFEED_PROT", "8000")

    assert "LIVEFEED_PROT is not a setting" in run("recent").stderr
    listed = run("settings")
    assert listed.exit_code == 1
    assert "LIVEFEED_PORT = 8000" in listed.stdout
    assert "LIVEFEED_PROT is not a setting" in listed.stderr


def test_settings_lists_all_of_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variable, value now, default, unit and sentence; a password in a URL stays hidden."""
    monkeypatch.setenv("LIVEFEED_REDIS_URL", "redis://me:s3cret@store.example/0")
    monkeypatch.setenv("LIVEFEED_TICK_S", "5")

    plain = run("settings").stdout
    rows = {row["variable"]: row for row in json.loads(run("settings", "--json").stdout)["settings"]}

    assert list(rows) == [variable(field.name) for field in table()]
    assert all(f"{name} = " in plain for name in rows)
    assert all(row["help"] in plain for row in rows.values())
    assert rows["LIVEFEED_TICK_S"]["value"] == 5
    assert rows["LIVEFEED_TICK_S"]["default"] == 15
    assert "LIVEFEED_TICK_S = 5.0  seconds  (default 15.0)" in plain
    assert "s3cret" not in plain
    assert rows["LIVEFEED_REDIS_URL"]["value"] == "redis://me:***@store.example/0"


def test_news_from_a_foreign_server_cannot_steer_the_terminal(run: Run) -> None:
    """Control characters in its answers do not come through."""
    item = {"id": "01m86meb6p4k52cy2s", "version": 1, "status": "published", "headline": "\x1b[2Jvide\r\nligne"}
    page = answer(200, {"items": [item], "position": "1-3fa9c1d2", "next": None})
    with scripted(always(page)) as server:
        stdout = run("recent", "--url", server.url).stdout

    assert "\x1b" not in stdout
    assert stdout.count("\n") == 1


def test_a_terminal_without_arabic_still_shows_the_rest(tmp_path: Path) -> None:
    """Letters that its encoding lacks are escaped."""
    item = {"id": "01m86meb6p4k52cy2s", "version": 1, "status": "published", "headline": "خبر déjà"}
    page = answer(200, {"items": [item], "position": "1-3fa9c1d2", "next": None})
    env = os.environ | {"PYTHONIOENCODING": "latin-1", "LIVEFEED_DATA_DIR": str(tmp_path)}
    with scripted(always(page)) as server:
        command = [sys.executable, "-m", "livefeed", "recent", "--url", server.url]
        done = subprocess.run(command, env=env, capture_output=True, timeout=30, check=True)

    assert done.stdout.endswith(b"\\u062e\\u0628\\u0631 d\xe9j\xe0\n")


def test_an_export_that_cannot_be_written_says_so(run: Run, tmp_path: Path) -> None:
    """And leaves nothing behind; a file that was there stays as it was when the server fails midway."""
    page = answer(200, {"items": [{"id": 7}], "position": "1-3fa9c1d2", "next": None})
    file = tmp_path / "export.jsonl"
    file.write_text("old\n")
    with scripted(always(page)) as server:
        nowhere = run("export", str(tmp_path / "none" / "x"), "--url", server.url)
        broken = run("export", str(file), "--url", server.url)

    assert nowhere.exit_code == broken.exit_code == 1
    assert "Cannot write" in nowhere.stderr
    assert "an item that cannot be read" in broken.stderr
    assert file.read_text() == "old\n"
    assert list(tmp_path.glob(".*")) == []


def test_tokens_with_an_unreachable_store_name_the_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not its password."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("LIVEFEED_REDIS_URL", f"redis://:s3cret@127.0.0.1:{port}/0")
    monkeypatch.setenv("LIVEFEED_REDIS_TIMEOUT_S", "1")

    result = run("token", "list")

    assert result.exit_code == 1
    assert "LIVEFEED_REDIS_URL" in result.stderr
    assert "s3cret" not in result.output


def test_tokens_work_without_a_server(run: Run) -> None:
    """The embedded store is started for the command, and keeps what it made."""
    made = run("token", "create", "--name", "Nuit", "--scope", "publish", "--scope", "withdraw")

    assert made.exit_code == 0
    assert made.stdout.startswith("lf_")
    listed = run("token", "list", "--json")
    assert [token["name"] for token in json.loads(listed.stdout)["tokens"]] == ["Nuit"]
    assert run("token", "revoke", "Nuit").exit_code == 0
    assert run("token", "revoke", "Nuit").exit_code == 1


def test_output_into_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    """As `livefeed settings | true`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "livefeed", "settings"]
    done = subprocess.run(
        command, stdout=write, stderr=subprocess.PIPE, timeout=30, env=os.environ | {"LIVEFEED_DATA_DIR": str(tmp_path)}
    )
    os.close(write)

    assert done.stderr == b""
    assert done.returncode == 0
