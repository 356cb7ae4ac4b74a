"""Dagster assets and their checks. Each asset finds its partition, calls one library function and returns metadata."""
