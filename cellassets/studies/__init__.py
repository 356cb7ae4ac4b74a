"""Studies of the benchmarks themselves: are their p-values calibrated?"""
