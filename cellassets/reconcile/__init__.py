"""Compares what should exist with what exists, and says what to request: the logic of the sensors, without Dagster.

`live` keeps a snapshot up to date, `wanted` says which partitions should exist, `work` says which of them are due or
waiting and groups due ones into runs, and `standing` summarises the progress.
"""
