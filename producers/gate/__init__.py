"""The gate: what other programs publish to ``ingress.*`` is checked, and goes to the clean topics or the dead letters.

It must not know who those programs are. docs/decisions/0052-the-gate-reads-again-and-knows-its-letters.md
"""
