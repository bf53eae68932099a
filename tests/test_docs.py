"""The documents say what the code does."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import click
import pytest
from starlette.routing import Route

from livefeed.app import create
from livefeed.cli import main
from livefeed.settings import Settings, table, variable

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_the_readme_lists_every_setting() -> None:
    """Name, default, unit and sentence of each setting stand in the README, and no others."""
    rows = re.findall(r"^\| `(LIVEFEED_\w+)` \| (.*?) \| (.*?) \| (.*) \|$", README, re.MULTILINE)
    documented = {name: (default.strip("`"), unit.strip(), text) for name, default, unit, text in rows}
    expected = {}
    for f in table():
        default = {True: "yes", False: "no"}[f.default] if isinstance(f.default, bool) else str(f.default) or "–"
        expected[variable(f.name)] = (default, f.metadata["unit"], f.metadata["help"])
    assert documented == expected


def test_the_readme_lists_every_route() -> None:
    """Each route and method of the application stands in the README, and nothing else does."""
    documented = set(re.findall(r"`(GET|POST|PATCH|PUT|DELETE) (/[^`?]*)`", README))
    app = create(Settings(redis_url="redis://127.0.0.1:1"))
    served = {
        (method, re.sub(r":\w+}", "}", route.path))
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD", "OPTIONS"}
    }
    shortened = {("GET", "/i/{id}"), ("GET", "/ar"), ("GET", "/en")}  # they lead to the documented ones
    assert documented == served - shortened


def test_the_readme_lists_every_command() -> None:
    """Each command of the command line stands in the README, and nothing else does."""
    assert isinstance(main, click.Group)
    assert set(re.findall(r"^\| `livefeed (\w+)` \|", README, re.MULTILINE)) == set(main.commands)


def test_the_architecture_gives_a_reason_for_each_dependency() -> None:
    """Each dependency has its row, and no row is left of one that went."""
    section = ARCHITECTURE.partition("## Dependencies")[2].partition("Not taken")[0]
    rows = re.findall(r"^\| ([\w, -]+) \| .{10,} \|$", section, re.MULTILINE)
    documented = {name.strip() for row in rows for name in row.split(",")} - {"package"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=; \[]", line)[0] for line in project["dependencies"]}
    assert documented == declared


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", ARCHITECTURE))))
def test_the_promises_tests_exist(test: str) -> None:
    """Each test that the architecture names is there."""
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert name in functions


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "bench/README.md"])
def test_links_and_pictures_are_there(document: str) -> None:
    """Each relative link and picture of a document leads to a file."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert ((ROOT / document).parent / target).exists(), target
