"""Measures that profiling papers report: percent replicating, percent matching, grit and the mp-value.

Each is a benchmark with a null distribution of its own. They are not headline benchmarks: similar questions are asked
by `replicates` and `retrieval`.
"""
