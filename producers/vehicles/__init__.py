"""Positions of vehicles, as transit agencies publish them (GTFS-Realtime), read feed by feed.

It must not know any agency. docs/sources.md says what is published, and what is left out.
"""
