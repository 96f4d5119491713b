"""Reads a shop's site: what it allows, which pages it has, at which rate, and the contents of a product page.

It must not know which site it reads: the demo shop's is one of many. Only ``profiles.py`` names shops' software.
"""
