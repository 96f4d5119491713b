"""Real order history from a file of rows, by a mapping of its columns."""
