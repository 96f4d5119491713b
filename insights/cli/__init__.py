"""The command line: what each command of `insights` does, and how what it found looks on a terminal or as JSON.

``main`` has the commands themselves, ``NAME_commands`` a group of them, ``NAME_views`` how things look. It may know
all, and nothing else may know it.
"""
