"""Permutation nulls, bootstrap intervals and the statistics that benchmarks are made of."""
