"""The door for text: what anyone typed is checked here before anything else sees it. Pure.

Refused by name rather than cleaned in silence: control characters (C0, DEL, C1), NUL, lone surrogates, line breaks in
one-line fields, U+2028/2029, and anything over its bound. Text that passes cannot become an SSE field, a header or a
log line of its own; what it means to HTML and XML is escaped where it leaves.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from urllib.parse import urlsplit

from livefeed.errors import InvalidField

_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_NOT_IN_LINES = re.compile(f"[{_CONTROL}\ud800-\udfff]")
_NOT_IN_ONE_LINE = re.compile(f"[{_CONTROL}\t\n\r\u2028\u2029\ud800-\udfff]")
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def one_line(field: str, value: str, max_chars: int, *, required: bool = False) -> str:
    """`value` stripped and in NFC; never holds a line break or a control character.

    :raises InvalidField: naming `field`, when a character is refused, it is too long, or empty though required.
    """
    _refuse(field, value, _NOT_IN_ONE_LINE)
    return _bounded(field, unicodedata.normalize("NFC", value).strip(), max_chars, required)


def lines(field: str, value: str, max_chars: int) -> str:
    """`value` with LF line ends, stripped at its end, in NFC; tabs and line breaks stay.

    :raises InvalidField: naming `field`, when a character is refused or it is too long.
    """
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    _refuse(field, value, _NOT_IN_LINES)
    return _bounded(field, unicodedata.normalize("NFC", value).strip("\n").rstrip(), max_chars, required=False)


def slug(field: str, value: str, max_chars: int) -> str:
    """`value` where it is a slug: lower-case ASCII letters and digits, joined by single hyphens.

    :raises InvalidField: naming `field`.
    """
    if not _SLUG.fullmatch(value) or len(value) > max_chars:
        raise InvalidField(
            f"{field} must be a slug of lower-case letters, digits and hyphens, at most {max_chars} characters.",
            field=field,
        )
    return value


def slugify(value: str, max_chars: int = 60) -> str:
    """A readable slug of any text: accents folded, Arabic letters kept, the rest hyphens; "" when nothing is left."""
    opened = unicodedata.normalize("NFKD", value.casefold()).casefold().replace("œ", "oe").replace("æ", "ae")
    words = re.findall(r"[^\W_]+", "".join(c for c in opened if not unicodedata.combining(c)))
    result = ""
    for word in words:
        longer = f"{result}-{word}" if result else word[:max_chars]
        if len(longer) > max_chars:
            break
        result = longer
    return result


def url(field: str, value: str, max_chars: int) -> str:
    """`value` where it is an absolute http(s) URL without credentials.

    :raises InvalidField: naming `field`.
    """
    value = one_line(field, value, max_chars)
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.username is None and " " not in value
    except ValueError:
        good = False
    if not good:
        raise InvalidField(f"{field} must be an absolute http or https URL.", field=field)
    return value


def utc(field: str, value: datetime) -> datetime:
    """`value` in UTC, whole milliseconds.

    :raises InvalidField: naming `field`, when it has no offset (whose clock would it be?) or lies outside 1900–2200.
    """
    if value.tzinfo is None:
        raise InvalidField(f"{field} must carry a time zone offset, such as Z or +01:00.", field=field)
    if not 1900 <= value.year <= 2200:
        raise InvalidField(f"{field} must lie between the years 1900 and 2200.", field=field)
    value = value.astimezone(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def _refuse(field: str, value: str, forbidden: re.Pattern[str]) -> None:
    match = forbidden.search(value)
    if match:
        name = f"U+{ord(match[0]):04X}"
        raise InvalidField(
            f"{field} contains the character {name} at {match.start()}, which is not allowed.", field=field
        )


def _bounded(field: str, value: str, max_chars: int, required: bool) -> str:
    if required and not value:
        raise InvalidField(f"{field} must not be empty.", field=field)
    if len(value) > max_chars:
        raise InvalidField(f"{field} has {len(value)} characters; at most {max_chars} are allowed.", field=field)
    return value
