"""The benchmarks: their null models, statistics and annotations."""
