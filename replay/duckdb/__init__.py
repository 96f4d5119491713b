"""DuckDB as an engine of a replay: events as its queries see them, and a task done on this machine without Java.

It knows a task and the lake's files. It must not know plans, runs, Kafka or Postgres' tables.
"""
