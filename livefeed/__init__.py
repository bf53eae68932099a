"""livefeed: a newsroom's live feed, from an editor's publish to every open page."""

__version__ = "0.1.0"
