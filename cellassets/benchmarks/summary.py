"""Summary of the scores of one benchmark on one map. Light to import."""

from pydantic import Field

from cellassets.configuration import Parameters


class ScoreSummary(Parameters):
    """What people see first: the headline and its null distribution, or the reason why there is none.

    Fields that do not apply are unset.

    Attributes:
        metric: name of the headline.
        value: its value.
        null_mean: mean of its null distribution.
        p_value: its permutation p-value.
        interval_low: lower end of its 95% interval.
        interval_high: upper end of its 95% interval.
        n_units: units that it is taken over.
        significant_frac: share of units with a q-value of at most 0.05; unset where units are pairs.
        does_not_apply: why there are no scores.
        is_too_small: true if there are none because this part of the dataset has too few wells.
        published_missing: why the benchmark's published statistic could not be computed on this map.
        over_corrected: in one sentence, that a nuisance is below chance; unset where it is not.
        n_pairs: annotated pairs by source.
        n_sets: members of annotated sets by source.
        n_targets: targets of compounds by source.
        n_gene_arms: genes with a chromosome arm by source.
        n_other_case: annotated names by source that the map has in another letter case only; they are not found.
    """

    metric: str | None = None
    value: float | None = None
    null_mean: float | None = None
    p_value: float | None = None
    interval_low: float | None = None
    interval_high: float | None = None
    n_units: int | None = None
    significant_frac: float | None = None
    does_not_apply: str | None = None
    is_too_small: bool = False
    published_missing: str | None = None
    over_corrected: str | None = None
    n_pairs: dict[str, int] = Field(default_factory=dict)
    n_sets: dict[str, int] = Field(default_factory=dict)
    n_targets: dict[str, int] = Field(default_factory=dict)
    n_gene_arms: dict[str, int] = Field(default_factory=dict)
    n_other_case: dict[str, int] = Field(default_factory=dict)
