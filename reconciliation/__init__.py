"""What became of every event: published = counted + duplicate + late + dead, and every dead one by name.

It reads Kafka and Postgres, and must not know what is computed from the events or who looks at the sums.
"""
