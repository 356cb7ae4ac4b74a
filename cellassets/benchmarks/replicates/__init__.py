"""Benchmarks of replicates: are wells of one perturbation alike, and unlike the controls?"""
