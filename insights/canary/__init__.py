"""The canary: an event each minute whose row is known beforehand, checked in table and mart.

It has a topic, an aggregate and a mart of its own, so that it is in no number of the shop. It takes the way of all
events.
"""
