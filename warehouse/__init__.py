"""Where rows are kept: Postgres' and the lake's tables, their versions, and the lake's upkeep.

It knows the contracts and the aggregates, and no engine: which versions are deployed is handed in.
"""
