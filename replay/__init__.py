"""Recomputes history, verifies it against the live tables, and swaps it in: plan, run, verify, promote, roll back.

It knows the engines and the warehouse. It must not know what a terminal shows, or how settings are read.
"""
