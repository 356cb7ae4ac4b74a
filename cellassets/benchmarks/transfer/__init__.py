"""Benchmarks of transfer: other cell types and combinations of perturbations."""
