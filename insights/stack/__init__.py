"""The embedded stack: every server from wheels and jars, supervised."""

from insights.stack.control import PartState, Step, down, log_path, part_states, up
from insights.stack.plan import UpPlan

__all__ = ["PartState", "Step", "UpPlan", "down", "log_path", "part_states", "up"]
