"""A small web shop to scrape: the synthetic shop's products as WooCommerce would show them.

Prices, reductions and stock are the synthetic shop's own, now, so its orders and its pages agree. It must not know
who reads the pages.
"""
