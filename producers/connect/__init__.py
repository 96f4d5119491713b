"""Orders of a real shop from its own software: webhooks, history, and every hour what changed.

The only place that knows shops' APIs. It must not know the synthetic shop's simulation, nor what is computed.
"""
