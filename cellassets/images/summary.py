"""Summary of a `plate_store` record: the numbers that people see and that later stages decide by."""

from cellassets.configuration import Parameters


class PlateStoreSummary(Parameters):
    """Summary of the repacked images of one experiment.

    Attributes:
        n_sites: sites in the store.
        n_plates: plates, one Zarr array each.
        n_shards_resumed: shards that an earlier, interrupted run had packed.
        n_bytes: size of all shards in bytes.
        source_bytes: size of the image files that were packed, in bytes.
        channel_names: stains in the order of the channels.
        height: image height in pixels.
        width: image width in pixels.
        dtype: numpy dtype of the pixels.
    """

    n_sites: int
    n_plates: int
    n_shards_resumed: int
    n_bytes: int
    source_bytes: int
    channel_names: tuple[str, ...]
    height: int
    width: int
    dtype: str
