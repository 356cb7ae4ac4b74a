"""A deployment in Python: `cellassets.open()` returns datasets, models, embeddings, maps, scores and images.

Tables are polars frames, vectors numpy arrays, images Zarr arrays or numpy arrays. Everything is read only. It is read when
it is asked for.
"""

from cellassets.access.home import OpenHome
from cellassets.access.images import OpenImages
from cellassets.access.map import OpenMap

__all__ = ["OpenHome", "OpenImages", "OpenMap"]
