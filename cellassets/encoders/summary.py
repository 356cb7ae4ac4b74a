"""Summary of an embedding table. Light to import."""

from cellassets.configuration import Parameters, added_field


class SiteEmbeddingsSummary(Parameters):
    """Summary of the embeddings of one experiment by one model.

    Attributes:
        n_sites: rows.
        embedding_dim: width of the vectors.
        sites_per_s: sites per second, reading included; None where nothing was left to do.
        precision: number format that the encoder computed in.
        backend: what computed a trained network, for example `torch-fp32` or `openvino-fp32`; None for other encoders.
        speed_ratio: how many times as fast as torch in float32 it was on the first batch; None if it was not measured.
        min_cosine: lowest centred cosine between the vectors of both, of sites over the whole experiment; None if it
            was not measured.
        refused_backends: the other backends, and why each was not taken.
        device: device that it ran on.
        n_parts: files.
        n_parts_resumed: files that an earlier, interrupted run had made.
    """

    n_sites: int
    embedding_dim: int
    sites_per_s: float | None = None
    precision: str
    device: str
    backend: str | None = added_field(None, description="What computed a trained network")
    speed_ratio: float | None = added_field(None, description="Its speed, as a multiple of torch in float32")
    min_cosine: float | None = added_field(None, description="Lowest centred cosine to torch in float32")
    refused_backends: str | None = added_field(None, description="The other backends, and why each was not taken")
    n_parts: int
    n_parts_resumed: int
