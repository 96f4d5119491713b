"""The shop-agreement certificate: connected shops' own orders against the tables; compared, recorded and repaired.

It must not know how things look on a terminal. What an order of a shop is worth is said in producers/connect/.
"""
