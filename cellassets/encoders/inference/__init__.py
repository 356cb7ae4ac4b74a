"""Ways to compute a trained network faster than torch in float32, and the choice between them by measurement.

`candidates.py` lists them for a device, `choice.py` chooses, `precision.py` in the package above keeps the choice for
all parts of a table.
"""
