"""Benchmarks of confounders: proximity bias on chromosome arms."""
