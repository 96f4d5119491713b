"""Dead letters as work: why they are dead, what to do about each, and publishing them again (docs/dead-letters.md).

It must not know how things look on a terminal.
"""
