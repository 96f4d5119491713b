"""A person's rights over what is held of them: found, exported, and erased (docs/privacy.md).

It must not know how things look on a terminal.
"""
