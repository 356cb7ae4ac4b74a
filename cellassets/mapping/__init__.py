"""From site embeddings to a map: datasets, filter, align, aggregate, relate."""
