"""Encoders: networks and classical features that turn stored sites into embedding tables."""
