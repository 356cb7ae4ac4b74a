"""Clusters of a map: groups of similar perturbations, how stable they are, and the annotated sets they are rich in."""
