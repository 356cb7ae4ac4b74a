"""What should exist, what does, and so what to ask for: the logic of the sensors, without Dagster.

`live` keeps a snapshot up to date, `wanted` says which partitions should exist, `work` says which are due or
waiting and puts due ones together to runs.
"""
