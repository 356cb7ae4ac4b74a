"""Classical features of cells in the manner of CellProfiler: intensity, texture, granularity, shape, radial profile.

The values are those of `cp_measure`, in faster code: bench/classical_features.py compares the two.
"""

from cellassets.encoders.classical.encoder import ClassicalEncoder
from cellassets.encoders.classical.site import Acquisition, feature_names, measure_site

__all__ = ["Acquisition", "ClassicalEncoder", "feature_names", "measure_site"]
