"""The training-ready image store: sharded Zarr v3 arrays, their writer and their reader."""
