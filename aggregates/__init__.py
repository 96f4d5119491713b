"""What is computed: one folder each with query.sql (both engines run it), aggregate.toml and examples."""
