"""Random numbers without state: they depend on their arguments only.

Anything the shop decides about a thing at a time (a price, a promotion, a customer's region) is drawn this way, so
that every process that asks gets the same answer, whatever it asked before.
"""

from __future__ import annotations

MASK = (1 << 64) - 1


def mixed(*numbers: int) -> int:
    """64 well mixed bits of some integers (the finaliser of splitmix64, once an integer)."""
    state = 0
    for number in numbers:
        state = (state + (number & MASK) + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def share(*numbers: int) -> float:
    """A number in [0, 1) made of some integers."""
    return (mixed(*numbers) >> 11) / (1 << 53)
