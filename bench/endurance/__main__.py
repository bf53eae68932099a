"""``python -m bench.endurance [SCENARIO ...]``: all of them take about five minutes."""

from __future__ import annotations

import logging
import sys

import structlog

from bench.endurance import scenarios
from livefeed.server import raise_descriptor_limit

SCENARIOS = ("deploy", "storm", "connects", "rolling", "reload", "churn", "memory", "stalled", "beside")


def main() -> int:
    """Run them; 0 when every promise was kept."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    raise_descriptor_limit()
    chosen = sys.argv[1:] or list(SCENARIOS)
    if unknown := set(chosen) - set(SCENARIOS):
        raise SystemExit(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    kept = [getattr(scenarios, name)() for name in chosen]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
