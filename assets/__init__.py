"""Dagster assets and their checks: resolve the partition, call one library function, return metadata."""
