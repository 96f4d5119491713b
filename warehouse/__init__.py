"""Where rows are kept: the tables of Postgres and the lake, their versions, and the lake's maintenance.

It knows the contracts and the aggregates, and no engine: the deployed versions are passed in.
"""
