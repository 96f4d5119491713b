"""Rates between currencies: what the European Central Bank publishes, and what an order in another currency is worth.

It must not know where orders come from. docs/decisions/0040-an-order-in-another-currency-is-converted-once.md
"""
