"""Benchmarks of compounds: their targets and the order of their doses."""
