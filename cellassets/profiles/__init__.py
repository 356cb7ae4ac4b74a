"""Profiles made elsewhere: tables of CellProfiler, DeepProfiler or JUMP become the vectors of a model.

`declaration.py` is the file that people write, `preparing.py` takes its table through all steps, `registering.py` makes
a model version of the result. `cellassets.encoders.profiles` looks the vectors up. No image is read.
"""
