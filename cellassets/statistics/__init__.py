"""Permutation nulls, intervals of means and the statistics that benchmarks are made of."""
