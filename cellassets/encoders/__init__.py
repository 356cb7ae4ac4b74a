"""Encoders (networks and classical features) over the store, to embedding tables."""
