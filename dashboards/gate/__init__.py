"""The login in front of the page: who is there, and may they come in. It must not know what a dashboard shows."""
