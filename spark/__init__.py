"""Log or lake to the same tables as the live job, for a stretch of history: the task of an engine, and PySpark.

It must not know the live job, Postgres' tables, or what becomes of its result.
"""
