"""The embedded stack: every server from wheels and jars, supervised. It must not know the command line.

The names here are loaded on first use: looking at a stack needs nothing that starts one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from insights.stack.attended import paused, stay
    from insights.stack.composition import UpPlan
    from insights.stack.control import Step, down, up
    from insights.stack.states import PartState, counted_until, log_path, part_states

__all__ = ["PartState", "Step", "UpPlan", "counted_until", "down", "log_path", "part_states", "paused", "stay", "up"]
_HOMES = {
    "attended": ("paused", "stay"),
    "control": ("Step", "down", "up"),
    "composition": ("UpPlan",),
    "states": ("PartState", "counted_until", "log_path", "part_states"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
