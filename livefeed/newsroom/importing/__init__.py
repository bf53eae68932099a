"""Reading other people's feed files, and our own export: bytes in, entries out, and the run that sends them."""

from livefeed.newsroom.importing.lines import export_line
from livefeed.newsroom.importing.reading import ENTRIES_MAX, FILE_MAX_BYTES, read
from livefeed.newsroom.importing.results import BadEntry, Found, Place, Remark, Result
from livefeed.newsroom.importing.running import Note, Outcome, Post, Progress, Summary, run_import

__all__ = [
    "ENTRIES_MAX",
    "FILE_MAX_BYTES",
    "BadEntry",
    "Found",
    "Note",
    "Outcome",
    "Place",
    "Post",
    "Progress",
    "Remark",
    "Result",
    "Summary",
    "export_line",
    "read",
    "run_import",
]
