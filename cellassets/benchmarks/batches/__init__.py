"""Benchmarks of batches: what alignment left of the batch effect."""
