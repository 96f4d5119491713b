"""Compares connected shops' own orders with the tables, records the results and repairs differences.

It must not know how things look on a terminal. producers/connect/ defines an order's amounts.
"""
