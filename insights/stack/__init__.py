"""The embedded stack: every server from wheels and jars, supervised."""

from insights.stack.control import PartState, Step, counted_until, down, log_path, part_states, up
from insights.stack.plan import UpPlan

__all__ = ["PartState", "Step", "UpPlan", "counted_until", "down", "log_path", "part_states", "up"]
