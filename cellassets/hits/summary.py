"""Summary of the hits of one dataset by one model. Light to import."""

from pydantic import Field

from cellassets.configuration import Parameters


class ActivePerturbationsSummary(Parameters):
    """What people see first of the active perturbations of a map.

    Attributes:
        protocol_fingerprint: fingerprint of everything that the table depends on except the model.
        exposure: what the model has seen of the wells; hits are called on unseen wells where there are any.
        experiments: the experiments that the wells are from.
        fdr: the false discovery rate at which perturbations were called active.
        measure: the benchmark whose p-values decided.
        n_perturbations: perturbations of the map.
        n_tested: perturbations that could be tested.
        n_active: perturbations that were called active.
        n_active_by_kind: the same by kind of perturbation; a kind without an active perturbation has 0.
        least_n_active: smallest number of hits that the permutations allow.
        n_compounds: compounds with several doses that could be tested.
        n_active_compounds: compounds with a lowest active dose.
        not_tested: why perturbations could not be tested, with their number.
        not_scored: why a benchmark has no score among active perturbations.
    """

    protocol_fingerprint: str
    exposure: str
    experiments: str
    fdr: float
    measure: str
    n_perturbations: int
    n_tested: int
    n_active: int
    n_active_by_kind: dict[str, int] = Field(default_factory=dict)
    least_n_active: int | None = None
    n_compounds: int = 0
    n_active_compounds: int = 0
    not_tested: dict[str, int] = Field(default_factory=dict)
    not_scored: dict[str, str] = Field(default_factory=dict)
