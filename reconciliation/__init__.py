"""Accounts for every event: published = counted + duplicate + late + dead, and lists every dead one.

It reads Kafka and Postgres, and must not know what is computed from the events or who looks at the sums.
"""
