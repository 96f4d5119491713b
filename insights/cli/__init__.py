"""The command line: what each command of `insights` does, and how what it found looks on a terminal or as JSON.

The last to know: nothing else imports it.
"""
