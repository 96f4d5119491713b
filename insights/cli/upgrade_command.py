"""``insights upgrade``: adds what a stack of an older release lacks."""

from __future__ import annotations

from insights.cli import runtime
from insights.settings import load_settings


def upgrade() -> None:
    """Add the aggregates, facts and columns that are new in this release.

    The stack does this by itself after `insights up`; this command does it now.
    No number changes: a version that computes different numbers is refused.

    Example: insights upgrade
    """
    from insights.engines import engine_of
    from insights.upgrade import upgrade as brought
    from insights.wiring import replay_context

    settings = load_settings()
    brought(replay_context(settings), engine_of(settings, "duckdb", runtime.say), say=runtime.say)
    runtime.say("Everything that this release added is live.", style="bold green")
