"""What should exist, what does, and so what to ask for: the logic of the sensors, without Dagster.

Every function reads what has landed and what is published and returns `Work` items. It keeps no state of its own, so
it can be called again, by two daemons at once, or after a crash, with the same answer.
"""
