"""What a report page is made from: tables, arrays and the gate's policy, read by whoever makes the report.

Input of `cellassets.reporting.page.render`. Nothing here knows where the tables came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from cellassets.judging.gate import GatePolicy
from cellassets.reporting.cluster_section import ClusterTables
from cellassets.reporting.examples import Example
from cellassets.reporting.hits_section import HitsPage
from cellassets.tables.schemas import RECALL_BY_SOURCE


@dataclass(frozen=True)
class ModelFacts:
    """The model that the page is about: its key, its kind (such as network or classical) and its aliases."""

    key: str
    kind: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetPage:
    """All that the page shows of one dataset.

    Attributes:
        dataset_id: the dataset.
        map_table: PERTURBATION_MAP rows of the model.
        wells: WELL_EMBEDDINGS rows that the map was made from.
        batch_effect: BATCH_EFFECT rows.
        scores: SCORES rows of each benchmark that was scored.
        published: PUBLISHED rows of each benchmark: statistics of the literature on the same map. They are shown beside
            the score, and models are not ranked by them.
        does_not_apply: the reason for each benchmark that cannot be computed on this dataset.
        known_pairs: by annotation source, genes that are known to belong together: `entity1` and `entity2`.
        examples: images of the strongest perturbations.
        clusters: the clusters of the map; None where none are published.
        hits: active perturbations; None where they have not been called.
    """

    dataset_id: str
    map_table: pl.DataFrame
    wells: pl.DataFrame
    batch_effect: pl.DataFrame
    scores: Mapping[str, pl.DataFrame]
    published: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    does_not_apply: Mapping[str, str] = field(default_factory=dict)
    known_pairs: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    clusters: ClusterTables | None = None
    hits: HitsPage | None = None


@dataclass(frozen=True)
class ReportPage:
    """All that the page shows of one model.

    Attributes:
        model: the model.
        policy: the gate's policy. It says which benchmark decides, which are guarded, and which q-value counts.
        leaderboard: LEADERBOARD rows of all models.
        differences: DIFFERENCES rows of all models.
        recall_by_source: RECALL_BY_SOURCE rows of all models.
        datasets: the datasets that the model has a map of, in the order to be shown.
        provenance: name and value of each thing that the page was made from.
        strongest_by: the benchmark that says how strong a perturbation is.
    """

    model: ModelFacts
    policy: GatePolicy
    leaderboard: pl.DataFrame
    differences: pl.DataFrame
    datasets: tuple[DatasetPage, ...]
    provenance: tuple[tuple[str, str], ...]
    strongest_by: str = "perturbation_magnitude"
    recall_by_source: pl.DataFrame = field(default_factory=RECALL_BY_SOURCE.empty)
