"""Numbers for people: a YAML a dashboard, its model, and a web page that draws any of them.

It reads Postgres. It must not know what is computed and how.
"""
