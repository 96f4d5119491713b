"""The live engine: log to live tables and lake."""
