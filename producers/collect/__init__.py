"""Visitors' actions on a real shop's pages: a small tracker in the browser, and the collector that it sends to.

It must not know the synthetic shop's simulation, nor what is computed.
"""
