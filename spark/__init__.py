"""Log or lake to the same tables as the live job, for a period of history: an engine's task, and PySpark.

It must not know the live job, Postgres' tables, or how the result is used.
"""
