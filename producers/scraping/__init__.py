"""Reading a shop's site: what it allows, which pages it has, at which pace, and what is on a product page.

It must not know whose site it is: the demo shop's is one of many.
"""
