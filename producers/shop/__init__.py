"""One coherent synthetic shop: what it sells, who buys, and everything that happens in it, minute by minute.

It must not know how its pages are served or scraped.
"""
