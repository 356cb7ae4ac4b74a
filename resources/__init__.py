"""Dagster resources, partition axes and run settings, which assets and sensors use."""
