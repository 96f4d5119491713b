"""The entry point: the `insights` command, settings, the embedded stack, status and doctor.

It may know every other folder, and none of them knows it.
"""
