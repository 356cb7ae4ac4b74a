"""Exports in formats that other programs open: images as OME-Zarr, vectors as AnnData."""
