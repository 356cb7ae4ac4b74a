"""Benchmarks of retrieval: replicates, related perturbations, held-out batches."""
