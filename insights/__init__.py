"""The front door: the `insights` command, settings, the embedded stack, status and doctor. May import every sibling."""
