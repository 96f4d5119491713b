"""Reading a shop's site: what it allows, which pages it has, at which pace, and what a product page says."""
