"""Turns site embeddings into a map: datasets, quality filter, alignment, aggregation, similarities."""
