"""The live engine: log to live tables and lake. The job as SQL, its submission, hand-overs, finality and health.

It knows the warehouse that it writes to. It must not know who publishes the events or who reads the tables.
"""
