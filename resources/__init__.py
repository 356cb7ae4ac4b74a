"""Dagster resources, partition axes and run settings: what assets and sensors stand on."""
