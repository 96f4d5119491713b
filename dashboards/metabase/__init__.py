"""The dashboards' YAML in Metabase: what each becomes there (pure), and a client that brings it there."""
