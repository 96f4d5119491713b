"""Sources to the log: one module per source, one line in the list of sources, one publisher for all of them.

It knows the contracts. It must not know what is computed from the events.
"""
