"""A day of an invented newsroom, played through the publishing service for ``livefeed serve --demo``."""

from livefeed.newsroom.demo.playing import DEFAULT_SPEED, Newsroom, Placed, demo, play, prefill

__all__ = ["DEFAULT_SPEED", "Newsroom", "Placed", "demo", "play", "prefill"]
