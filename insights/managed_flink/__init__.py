"""The live job on Managed Service for Apache Flink: its package, and the application that runs it.

It does not know the hub's stack, nor the command line.
"""
