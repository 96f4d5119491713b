"""Real order history from a file of rows, by a mapping of its columns.

It must not know the synthetic shop's simulation.
"""
