"""Numbers for people: one YAML file per dashboard, its model, and a web page that draws any of them.

It reads Postgres. It must not know what is computed and how.
"""
