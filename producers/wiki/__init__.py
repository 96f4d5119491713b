"""Edits of Wikimedia's wikis: the stream of recent changes, read without loss and without doubles.

It must not know what is computed from edits. docs/sources.md says what is published, and
docs/decisions/0053-a-public-stream-is-read-again-from-before.md how reading goes on after a cut.
"""
