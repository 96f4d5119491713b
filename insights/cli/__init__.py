"""The command line: what each command of `insights` does, and how its results look on a terminal or as JSON.

``main`` has the commands themselves, ``NAME_commands`` a group of them, ``NAME_views`` their output. It may know all
other folders, and none may know it.
"""
