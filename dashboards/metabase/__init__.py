"""The dashboards' YAML in Metabase: what each part becomes there (pure), and a client that creates it.

It must not know the page.
"""
