"""What is computed: one folder per aggregate with query.sql, aggregate.toml and examples; their reader; time windows.

It knows the contracts. It must not know how events arrive, where rows go, or which engine runs a query.
"""
