"""From a dead letter to the event that it should have been: recipes, their steps, and the event.

It publishes nothing, and must not know how letters are read or where it is recorded what became of them.
"""
