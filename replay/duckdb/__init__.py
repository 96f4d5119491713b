"""DuckDB as an engine of a replay: events as its queries see them, and a task done on this machine without Java."""
