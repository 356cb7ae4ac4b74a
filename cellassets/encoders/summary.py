"""Summary of an embedding table. Light to import."""

from cellassets.configuration import Parameters


class SiteEmbeddingsSummary(Parameters):
    """Summary of the embeddings of one experiment by one model.

    Attributes:
        n_sites: rows.
        embedding_dim: width of the vectors.
        sites_per_s: sites per second, reading included; None where nothing was left to do.
        precision: number format that the encoder computed in.
        device: device that it ran on.
        n_parts: files.
        n_parts_resumed: files that an earlier, interrupted run had made.
    """

    n_sites: int
    embedding_dim: int
    sites_per_s: float | None = None
    precision: str
    device: str
    n_parts: int
    n_parts_resumed: int
