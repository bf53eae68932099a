"""An editor's day at the terminal, on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livefeed.cli.client import Client
from livefeed.cli.server import Server, read_settings
from tests.cli.conftest import Run
from tests.servers import LiveServer, wait_for


def publish(run: Run, headline: str, *options: str, rubric: str = "monde") -> dict[str, Any]:
    """Publish and give the server's answer."""
    result = run("publish", "--headline", headline, "--rubric", rubric, "--json", *options)
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def shown(run: Run, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first of the newest items that is as wanted, as soon as it is: a change may be there a moment later."""

    def look() -> dict[str, Any] | None:
        return next((item for item in recent(run, "--limit", "100") if wanted(item)), None)

    return wait_for(look, "the item") or {}


def recent(run: Run, *options: str) -> list[dict[str, Any]]:
    """The newest items, as JSON."""
    result = run("recent", "--json", *options)
    assert result.exit_code == 0, result.output
    items: list[dict[str, Any]] = json.loads(result.stdout)["items"]
    return items


def test_publish_says_where_the_item_is(on_server: Run, server: LiveServer) -> None:
    """Id, version, position and the page's address; and the item stands in `recent` with all its fields."""
    result = on_server(
        *["publish", "--headline", "Le pont rouvre", "--rubric", "societe", "--level", "urgent", "--tag", "pont"],
        *["--tag", "tanger", "--author", "A. Alami", "--thread", "pont-de-tanger", "--source", "Préfecture"],
        *[
            "--key",
            "--verification",
            "unverified",
            "--image-url",
            "https://img.example/1.jpg",
            "--image-alt",
            "Le pont",
        ],
        *["--pin-until", "2h", "--body-file", "-"],
        input="Il est **ouvert**.\n",
    )

    assert result.exit_code == 0, result.output
    item = shown(on_server, lambda item: item["headline"] == "Le pont rouvre")
    assert item["id"] in result.stdout
    assert "version 1" in result.stdout
    assert f"{server.url}/i/{item['id']}/le-pont-rouvre" in result.stdout
    assert "<strong>ouvert</strong>" in item["body_html"]
    assert item["tags"] == ["pont", "tanger"]
    assert item["level"] == "urgent"
    assert item["thread"] == "pont-de-tanger"
    assert item["image"]["alt"] == "Le pont"
    assert item["pinned_until"]
    assert item["key"] is True


def test_an_item_goes_through_its_whole_life_by_its_short_id(on_server: Run) -> None:
    """Publish, edit, correct, pin, unpin, withdraw, restore: each a version of the same item."""
    id = publish(on_server, "Une coquile", "--tag", "a", "--source", "AFP")["item"]["id"]
    short = id[-8:]

    assert on_server("edit", short, "--headline", "Une coquille", "--source", "").exit_code == 0
    assert on_server("correct", id, "--note", "Le chiffre était faux.", "--body", "Dix, non douze.").exit_code == 0
    assert "Pinned" in on_server("pin", short, "--for", "2h").stdout
    assert "Unpinned" in on_server("pin", short, "--off").stdout
    item = shown(on_server, lambda item: item["id"] == id and item["version"] == 5)
    assert item["headline"] == "Une coquille"
    assert item["source"] is None
    assert item["tags"] == ["a"]
    assert item["corrections"][0]["note"] == "Le chiffre était faux."
    assert item["pinned_until"] is None

    assert "Withdrawn" in on_server("withdraw", short, "--reason", "Démenti").stdout
    assert shown(on_server, lambda item: item["id"] == id and item["status"] == "withdrawn")
    refused = on_server("edit", short, "--tag", "b")
    assert refused.exit_code == 1
    assert "`livefeed restore` brings it back" in refused.stderr
    assert "Restored" in on_server("restore", short).stdout
    assert shown(on_server, lambda item: item["id"] == id and item["headline"] == "Une coquille")


def test_a_part_of_an_image_may_be_changed(on_server: Run) -> None:
    """The rest of it stays."""
    id = publish(on_server, "Image", "--image-url", "https://img.example/a.jpg", "--image-credit", "A.")["item"]["id"]

    assert on_server("edit", id, "--image-alt", "Une rue").exit_code == 0
    image = shown(on_server, lambda item: item["id"] == id and item["version"] == 2)["image"]
    assert image == {"url": "https://img.example/a.jpg", "alt": "Une rue", "credit": "A."}
    assert on_server("edit", id, "--image-url", "").exit_code == 0
    assert shown(on_server, lambda item: item["id"] == id and item["version"] == 3)["image"] is None


def test_a_change_based_on_an_old_version_changes_nothing(on_server: Run) -> None:
    """One sentence: which version is current, and how to go on; its own exit code."""
    id = publish(on_server, "Deux rédacteurs")["item"]["id"]
    on_server("correct", id, "--note", "Précision.", "--headline", "Deux rédactrices")

    result = on_server("edit", id, "--headline", "Trois", "--if-version", "1")

    assert result.exit_code == 4
    assert "version 2 (correct on " in result.stderr
    assert "« Deux rédactrices »" in result.stderr
    assert "not version 1" in result.stderr
    assert "--if-version 2" in result.stderr
    assert on_server("withdraw", id, "--if-version", "1").exit_code == 4
    assert on_server("edit", id, "--headline", "Trois", "--if-version", "2").exit_code == 0


def test_the_same_idempotency_key_publishes_once(
    on_server: Run, server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that runs twice with one token; another text under the same key is refused."""
    monkeypatch.setenv("LIVEFEED_TOKEN", on_server("token", "create", "--name", "a", "--scope", "publish").stdout)

    first = publish(on_server, "Une fois", "--idempotency-key", "k-1")
    again = publish(on_server, "Une fois", "--idempotency-key", "k-1")
    other = on_server(
        "publish", "--headline", "Autre", "--rubric", "monde", "--idempotency-key", "k-1", "--url", server.url
    )

    assert again["item"]["id"] == first["item"]["id"]
    assert other.exit_code == 1
    assert "--idempotency-key" in other.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--headline", ""], "--headline must not be empty"),
        (["--headline", "x" * 301], "--headline has 301 characters"),
        (["--headline", "a\nb"], "--headline contains the character U+000A"),
        (["--rubric", "nulle-part"], "--rubric 'nulle-part' is unknown"),
        (["--thread", "Pas Un Slug"], "--thread must be a slug"),
        (["--image-url", "javascript:alert(1)"], "--image-url must be an absolute http or https URL"),
        (["--tag", "\x00"], "--tag contains the character U+0000"),
        (["--idempotency-key", "é"], "--idempotency-key"),
    ],
)
def test_a_refused_field_names_its_option(on_server: Run, options: list[str], message: str) -> None:
    """And nothing is published."""
    result = on_server("publish", "--headline", "Refusé", "--rubric", "monde", *options)

    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert not any(item["headline"] == "Refusé" for item in recent(on_server))


def test_tokens_are_shown_once_and_can_be_revoked(on_server: Run, server: LiveServer, tmp_path: Path) -> None:
    """Made, listed without themselves, used from a file, refused beyond their scope, and gone when revoked."""
    made = on_server("token", "create", "--name", "Agence", "--scope", "publish", "--expires", "30d")
    secret = made.stdout.strip()
    file = tmp_path / "token"
    file.write_text(f"{secret}\n")
    remote = ["--url", server.url, "--token-file", str(file)]

    listed = on_server("token", "list")
    published = on_server("publish", "--headline", "Par l'agence", "--rubric", "monde", *remote, "--json")
    id = json.loads(published.stdout)["item"]["id"]
    beyond = on_server("withdraw", id, *remote)
    on_server("token", "revoke", "Agence")
    after = on_server("publish", "--headline", "Encore", "--rubric", "monde", *remote)

    assert "Agence" in listed.stdout
    assert "(cli)" not in listed.stdout
    assert "(cli)" in on_server("token", "list", "--all").stdout
    assert beyond.exit_code == 1
    assert "lacks the scope 'withdraw'" in beyond.stderr
    assert after.exit_code == 1
    assert "does not accept the token" in after.stderr
    assert not any(secret in result.output for result in (listed, published, beyond, after))


def test_recent_filters_and_is_a_line_each_in_a_pipe(on_server: Run) -> None:
    """Tabs between the fields, the whole id first."""
    publish(on_server, "But à la 90e", rubric="sport")
    publish(on_server, "هدف في الدقيقة التسعين", "--language", "ar", rubric="sport")
    shown(on_server, lambda item: item["language"] == "ar")

    lines = on_server("recent", "--rubric", "sport", "--language", "ar").stdout.splitlines()

    assert len(lines) == 1
    assert lines[0].split("\t")[2:] == ["sport", "ar", "normal", "published", "هدف في الدقيقة التسعين"]


def test_an_unknown_filter_value_is_refused(on_server: Run) -> None:
    """The message names the option and what is known."""
    result = on_server("recent", "--rubric", "nulle-part")

    assert result.exit_code == 1
    assert "--rubric: 'nulle-part' is unknown; known are" in result.stderr


def test_an_export_comes_back_by_import(on_server: Run, tmp_path: Path) -> None:
    """Where the items are it changes nothing; a line that is broken is named, and the rest goes in."""
    publish(on_server, "À sauvegarder", "--body", "Un *texte*.", "--tag", "sauvegarde", rubric="culture")
    shown(on_server, lambda item: item["headline"] == "À sauvegarder")
    file = tmp_path / "export.jsonl"

    assert on_server("export", str(file), "--rubric", "culture").exit_code == 0
    assert file.read_bytes() == on_server("export", "--rubric", "culture").stdout_bytes
    first = on_server("import", str(file))
    again = on_server("import", str(file))
    broken = on_server("import", "-", input=file.read_bytes() + b'{"guid": "x", "headline": 7}\n')
    nothing = on_server("import", "-", input=b"not a feed")

    assert first.exit_code == again.exit_code == 0
    assert "0 new, 0 updated, 1 unchanged" in first.stderr
    assert "0 new, 0 updated, 1 unchanged" in again.stderr
    assert broken.exit_code == 3
    assert "line 2" in broken.stderr
    assert nothing.exit_code == 1


RSS = """<rss version="2.0"><channel><title>Fil</title><link>https://fil.example/</link>
<item><title>Premier</title><guid>https://fil.example/1</guid><category>Sport</category>
<pubDate>Thu, 08 Aug 2024 12:55:00 GMT</pubDate><description>&lt;p&gt;Un.&lt;/p&gt;</description></item>
<item><title>Sans rubrique</title><guid>https://fil.example/2</guid></item>
</channel></rss>"""


def test_a_feed_file_is_imported_with_its_dates(on_server: Run) -> None:
    """Entries without a rubric are refused by their place, unless a default is given; a dry run sends nothing."""
    dry = on_server("import", "-", "--dry-run", input=RSS)
    assert not any(item["headline"] == "Premier" for item in recent(on_server))
    partly = on_server("import", "-", input=RSS)
    whole = on_server("import", "-", "--rubric", "monde", input=RSS)

    assert dry.exit_code == partly.exit_code == 3
    assert "1 new, 0 updated, 0 unchanged, 1 refused" in partly.stderr
    assert "« Sans rubrique »" in partly.stderr
    assert whole.exit_code == 0
    assert "1 new, 0 updated, 1 unchanged" in whole.stderr
    item = shown(on_server, lambda item: item["headline"] == "Premier")
    assert item["first_published_at"] == "2024-08-08T12:55:00Z"
    assert item["rubric"] == "sport"


def test_a_minted_token_that_ran_out_is_replaced(on_server: Run, server: LiveServer) -> None:
    """A long import outlives the token that it began with."""
    with Client(Server(read_settings()), frozenset({"publish"})) as client:
        body = {"headline": "Longue importation", "rubric": "monde"}
        client.change("POST", "/api/items", body)
        listed = json.loads(on_server("token", "list", "--all", "--json").stdout)["tokens"]
        name = next(token["name"] for token in listed if token["name"].endswith("(cli)"))
        assert on_server("token", "revoke", name).exit_code == 0

        assert client.change("POST", "/api/items", body).body["version"] == 1


def test_a_command_on_another_store_is_told_so(on_server: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its minted token is unknown to the server: the message names the settings that must agree."""
    monkeypatch.setenv("LIVEFEED_FEED_NAME", "another")

    result = on_server("publish", "--headline", "x", "--rubric", "monde")

    assert result.exit_code == 1
    assert "LIVEFEED_FEED_NAME must be the same" in result.stderr
