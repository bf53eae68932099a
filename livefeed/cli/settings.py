"""All settings of the server, as this environment sets them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import click
import msgspec
from rich.padding import Padding
from rich.text import Text

from livefeed.cli.appearance import FAINT, clean, stdout
from livefeed.cli.server import read_settings
from livefeed.errors import StartError
from livefeed.settings import Settings, table, variable


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def settings(as_json: bool) -> None:
    """List all settings, as they are here and now.

    Variable, value, unit, default where it differs, and what each does. With an environment that does not work it
    lists the defaults, and says what is wrong.
    """
    error: StartError | None = None
    try:
        now = read_settings()
    except StartError as found:
        now, error = Settings(), found
    rows = [
        {
            "variable": variable(field.name),
            "value": "***" if _secret(field.name, now) else _shown(getattr(now, field.name)),
            "default": _shown(field.default),
            "unit": field.metadata["unit"],
            "help": field.metadata["help"],
        }
        for field in table()
    ]
    if as_json:
        click.echo(msgspec.json.encode({"settings": rows}))
    else:
        out = stdout()
        for row in rows:
            out.print(_line(row), soft_wrap=True)
            out.print(Padding(row["help"], (0, 0, 0, 4), style=FAINT) if out.is_terminal else f"    {row['help']}")
    if error:
        raise error


def _line(row: dict[str, Any]) -> Text:
    changed = row["value"] != row["default"]
    style = "bold yellow" if changed else "green"
    text = Text.assemble((row["variable"], "bold"), " = ", (_written(row["value"]), style))
    text.append(f"  {row['unit']}" if row["unit"] else "", FAINT)
    text.append(f"  (default {_written(row['default'])})" if changed else "", FAINT)
    return text


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value != "" else "empty"


def _secret(name: str, now: Settings) -> bool:
    return name.endswith("_token") and bool(getattr(now, name))


def _shown(value: Any) -> Any:
    """A value for everyone's eyes: paths as text, a URL without its password."""
    if isinstance(value, bool | int | float):
        return value
    text = clean(str(value))
    try:
        parts = urlsplit(text)
        secret = parts.password
    except ValueError:
        return "(unreadable)"
    return text.replace(f":{secret}@", ":***@", 1) if secret else text
