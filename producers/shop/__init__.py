"""One coherent synthetic shop: what it sells, who buys, and everything that happens in it, minute by minute."""
