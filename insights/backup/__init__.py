"""A data folder as one encrypted file, and back: what it holds of log, tables, lake, job state and keys.

The file is a tar archive, compressed with zstd and encrypted with age (age-encryption.org) for a public key; the `age`
and `zstd` programs read it, too. It must not know how a stack is stopped and started.
"""
