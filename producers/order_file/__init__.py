"""Real order history from a file of rows, read with a mapping of its columns.

It must not know the synthetic shop's simulation.
"""
