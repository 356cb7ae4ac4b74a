"""Summary of a perturbation map. Light to import."""

from cellassets.configuration import Parameters


class PerturbationMapSummary(Parameters):
    """Summary of the map of one dataset by one model.

    Attributes:
        dataset_fingerprint: fingerprint of the wells in the dataset.
        protocol_fingerprint: fingerprint of everything that the map was made from except the model. Maps of one
            protocol can be compared.
        experiments: experiments that the wells come from.
        cell_types: cell types of the wells.
        n_perturbations: perturbations that are not controls.
        n_wells: wells that were aligned.
        n_wells_dropped: wells without a usable site.
        n_sites_flagged: sites that `plate_quality` flagged.
        n_batches: batches that were aligned.
        one_place_frac: share of perturbations whose replicates are all at one plate position.
        same_plate_distance_frac: mean distance between replicates on one plate, as a share of that in a random layout;
            None where no perturbation has two wells on a plate.
        same_plate_distance_p_value: share of random layouts in which replicates are as near to each other.
        other_plate_distance_frac: the same for the positions of replicates on different plates.
        other_plate_distance_p_value: the same for the positions of replicates on different plates.
        n_controls_held_out: negative controls that no alignment step was fitted on.
        embedding_dim: width of the aligned vectors.
        has_position_step: true where a step removes what plate positions do.
        batch_effect: each batch effect metric before alignment (`_raw`), after it (`_aligned`) and by chance
            (`_chance`).
    """

    dataset_fingerprint: str
    protocol_fingerprint: str
    experiments: tuple[str, ...]
    cell_types: tuple[str, ...]
    n_perturbations: int
    n_wells: int
    n_wells_dropped: int
    n_sites_flagged: int
    n_batches: int
    one_place_frac: float
    same_plate_distance_frac: float | None = None
    same_plate_distance_p_value: float | None = None
    other_plate_distance_frac: float | None = None
    other_plate_distance_p_value: float | None = None
    n_controls_held_out: int
    embedding_dim: int
    has_position_step: bool
    batch_effect: dict[str, float]
