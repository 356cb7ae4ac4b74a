"""Benchmarks as they are declared: name, words, parameters. Light enough for Dagster to load.

The arithmetic is imported when a benchmark runs: neither numpy nor polars here.
"""
