"""From a file's bytes to its text, in whatever encoding it declares or turns out to have. Pure; never fails."""

from __future__ import annotations

import codecs
import json
import re

_DECLARED = re.compile(r"""\A\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,39})["']""")
_HEAD_BYTES = 400
"""An XML declaration is shorter than this."""
_NOT_FOR_TEXT = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "raw_unicode_escape", "undefined", "unicode-escape"}
)
_NOT_FOR_TEXT |= {"unicode_escape", "utf-7"}
"""Codecs of Python that no feed is written in, and that are slow or strange on hostile bytes."""
_FEW_BROKEN = 0.01
"""Up to this part of unreadable characters a file still is what it says, with some broken places."""


def text(data: bytes) -> tuple[str, str | None]:
    """The file's text without its byte order mark, and a remark where it is not what it declares."""
    wide = json.detect_encoding(data)  # by the mark or by the NULs between ASCII characters, as RFC 4627 tells
    if wide not in ("utf-8", "utf-8-sig"):
        return _lenient(data, wide)
    if wide == "utf-8-sig":
        return _lenient(data, "utf-8-sig")
    match = _DECLARED.match(data[:_HEAD_BYTES].decode("latin-1"))
    return _lenient(data, match[1] if match else "utf-8")


def _lenient(data: bytes, declared: str) -> tuple[str, str | None]:
    for encoding, remark in (
        (_usable(declared), None),
        ("utf-8", f"The file says that it is in {declared}, but it was read as UTF-8."),
    ):
        if encoding is not None:
            try:
                return data.decode(encoding).removeprefix("\ufeff"), remark
            except (UnicodeDecodeError, LookupError):  # the latter for codecs of bytes to bytes, such as zlib
                continue
    guess = data.decode("utf-8", "replace")
    if guess.count("\ufffd") <= len(guess) * _FEW_BROKEN:
        return guess.removeprefix("\ufeff"), f"The file is not all {declared}: some characters could not be read."
    return data.decode("cp1252", "replace"), f"The file is not {declared}: it was read as windows-1252."


def _usable(declared: str) -> str | None:
    """The codec of a declared encoding; None where there is none. What the web calls Latin-1 is windows-1252."""
    try:
        name = codecs.lookup(declared).name
    except LookupError:
        return None
    if name in _NOT_FOR_TEXT:
        return None
    return "cp1252" if name in ("iso8859-1", "ascii") else name
