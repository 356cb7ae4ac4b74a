"""Dagster sensors: the event, and what it asks for."""
