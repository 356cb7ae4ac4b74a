"""Benchmarks of known biology: recall of known relationships."""
