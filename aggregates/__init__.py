"""What is computed: a folder each with query.sql, aggregate.toml and examples; what reads them, and windows of time.

It knows the contracts. It must not know how events arrive, where rows go, or which engine runs a query.
"""
