"""The dashboards' YAML in Metabase: what each becomes there (pure), and a client that brings it there.

It must not know the page.
"""
