"""The tables of cellassets: columns, types and units, one file per layer."""

from cellassets.tables.schemas.columns import PART_COLUMNS, PERTURBATION_COLUMNS
from cellassets.tables.schemas.hits import ACTIVE_SCORES, HITS, LOWEST_ACTIVE_DOSES
from cellassets.tables.schemas.judging import DIFFERENCES, GATE, LEADERBOARD, RECALL_BY_SOURCE
from cellassets.tables.schemas.maps import (
    BATCH_EFFECT,
    CLUSTERS,
    ENRICHMENT,
    MAP_POINTS,
    PERTURBATION_MAP,
    SITE_EMBEDDINGS,
    WELL_EMBEDDINGS,
)
from cellassets.tables.schemas.scores import INFLUENCES, PUBLISHED, SCORES
from cellassets.tables.schemas.screens import FINDINGS, IMAGES, QUALITY, SITES, WELLS

__all__ = [
    "ACTIVE_SCORES",
    "BATCH_EFFECT",
    "CLUSTERS",
    "DIFFERENCES",
    "ENRICHMENT",
    "FINDINGS",
    "GATE",
    "HITS",
    "IMAGES",
    "INFLUENCES",
    "LEADERBOARD",
    "LOWEST_ACTIVE_DOSES",
    "MAP_POINTS",
    "PART_COLUMNS",
    "PERTURBATION_COLUMNS",
    "PERTURBATION_MAP",
    "PUBLISHED",
    "QUALITY",
    "RECALL_BY_SOURCE",
    "SCORES",
    "SITES",
    "SITE_EMBEDDINGS",
    "WELLS",
    "WELL_EMBEDDINGS",
]
