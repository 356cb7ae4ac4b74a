"""Documents about one map: its rows, and in blocks of rows the neighbours, vectors and profiles."""

from typing import Any

import numpy as np
import polars as pl

from cellassets.access import OpenMap
from cellassets.explorer.arrays import Document, encoded, rounded, rounded_list
from cellassets.statistics.similarity_null import METHOD

BLOCK_ROWS = {"neighbours": 64, "profiles": 64, "vectors": 16}
N_NEIGHBOURS = 50
LABELS = (
    "perturbation_id", "perturbation_kind", "gene_symbol", "guide_id", "compound_id", "concentration_um",
    "control_kind", "n_wells", "n_batches",
)  # fmt: skip
OF_HITS = (
    "is_active", "distance_sd", "distance_sd_low", "distance_sd_high", "activity_q_value", "magnitude_q_value",
    "not_tested",
)  # fmt: skip
MIDDLE_RESOLUTION = 15  # members per cluster, nearest to which a map's clusters are shown


def index(opened: OpenMap, cell_types: list[str]) -> Document:
    """Returns the rows of a map: labels, activity, places in the plane, and clusters."""
    rows = opened.table.select(LABELS)
    hits = rows.select("perturbation_id").join(
        opened.hits.select("perturbation_id", *OF_HITS), on="perturbation_id", how="left", maintain_order="left"
    )
    points = rows.select("perturbation_id").join(
        opened.points.select("perturbation_id", "x", "y", "agreement"),
        on="perturbation_id",
        how="left",
        maintain_order="left",
    )
    return {
        "dataset_id": opened.dataset_id,
        "model_key": opened.model_key,
        "n_rows": rows.height,
        "block_rows": BLOCK_ROWS,
        **{name: rows[name].to_list() for name in LABELS},
        **{name: _column(hits[name]) for name in OF_HITS},
        "agreement": _column(points["agreement"]),
        "x": encoded(points["x"].fill_null(np.nan).to_numpy()),
        "y": encoded(points["y"].fill_null(np.nan).to_numpy()),
        "cluster": _clusters(opened),
        "cell_types": cell_types,
        "null": {"method": METHOD, "n_tested": int((opened.is_active & ~opened.is_control).sum())},
        "annotation_sources": [
            {"kind": source.kind, "name": source.name, "n_sets": len(source.sets)} for source in opened.sets
        ],
    }


def neighbours(opened: OpenMap, block: int) -> Document:
    """Returns the nearest and the most opposite perturbations of the rows of a block."""
    rows = _rows(opened, "neighbours", block)
    return {"first_row": rows.start, "rows": [_neighbours_of(opened, row) for row in rows]}


def vectors(opened: OpenMap, block: int) -> Document:
    """Returns the unit vectors of the rows of a block, in half precision: cosines are good to 0.001."""
    rows = _rows(opened, "vectors", block)
    return {"first_row": rows.start, "unit": encoded(opened.unit[rows.start : rows.stop].astype(np.float16))}


def profiles(opened: OpenMap, block: int) -> Document:
    """Returns wells, guides, doses, known relations and sets of the rows of a block."""
    rows = _rows(opened, "profiles", block)
    sets_of: dict[int, list[Document]] = {}
    for source in opened.sets:
        for set_id, members in source.sets.items():
            for row in members[(members >= rows.start) & (members < rows.stop)].tolist():
                sets_of.setdefault(row, []).append({"source": source.name, "set_id": set_id})
    return {"first_row": rows.start, "rows": [_profile(opened, row, sets_of.get(row, [])) for row in rows]}


def sets(opened: OpenMap) -> Document:
    """Returns the annotated sets as rows of the map."""
    return {
        "sources": [
            {
                "kind": source.kind,
                "name": source.name,
                "background": source.background.tolist(),
                "sets": [{"id": set_id, "rows": members.tolist()} for set_id, members in source.sets.items()],
            }
            for source in opened.sets
        ]
    }


def n_blocks(n_rows: int, kind: str) -> int:
    """Returns the number of blocks of one kind of document."""
    return -(-n_rows // BLOCK_ROWS[kind])


def _rows(opened: OpenMap, kind: str, block: int) -> range:
    size = BLOCK_ROWS[kind]
    if not 0 <= block < n_blocks(opened.table.height, kind):
        message = (
            f"{kind}: the map has {n_blocks(opened.table.height, kind)} blocks, numbered from 0; asked for {block}"
        )
        raise KeyError(message)
    return range(block * size, min((block + 1) * size, opened.table.height))


def _neighbours_of(opened: OpenMap, row: int) -> Document:
    found = opened.similarities(row, N_NEIGHBOURS)
    known = opened.pairs.of(row)

    def listed(rows: Any) -> list[Document]:
        return [
            {
                "row": other,
                "cosine": rounded(found.cosine[other]),
                "p_value": rounded(found.p_value[other]),
                "q_value": rounded(found.q_value[other]),
                "relations": known.get(other, []),
            }
            for other in rows.tolist()
        ]

    return {
        "nearest": listed(found.nearest),
        "opposite": listed(found.opposite),
        "why_not_tested": opened.why_not_tested(row),
    }


def _profile(opened: OpenMap, row: int, member_of: list[Document]) -> Document:
    places = {name: at for at, name in enumerate(opened.perturbation_ids)}
    cosines = opened.unit @ opened.unit[row]
    compound = opened.table["compound_id"][row]
    lowest = opened.lowest_active_doses.filter(pl.col("compound_id").eq_missing(compound))["lowest_active_um"].to_list()
    known = opened.pairs.of(row)
    return {
        "wells": _dicts(opened.replicates(row)),
        "guides": _dicts(opened.guides(row)),
        "doses": [{"row": places[dose["perturbation_id"]], **dose} for dose in _dicts(opened.doses(row))],
        "lowest_active_um": rounded(lowest[0]) if lowest else None,
        "known": [
            {"row": other, "sources": sources, "cosine": rounded(float(cosines[other]))}
            for other, sources in sorted(known.items(), key=lambda found: -cosines[found[0]])
        ],
        "sets": member_of,
    }


def _clusters(opened: OpenMap) -> list[int | None]:
    """The cluster of each row, at the resolution nearest to 15 members per cluster."""
    found = opened.clusters
    if found.is_empty():
        return [None] * opened.table.height
    resolution = min(found["resolution"].unique().to_list(), key=lambda size: (abs(size - MIDDLE_RESOLUTION), size))
    of_name = dict(found.filter(pl.col("resolution") == resolution).select("perturbation_id", "cluster_index").rows())
    return [of_name.get(name) for name in opened.perturbation_ids]


def _column(values: pl.Series) -> list[Any]:
    return rounded_list(values.to_list()) if values.dtype.is_float() else values.to_list()


def _dicts(table: pl.DataFrame) -> list[Document]:
    floats = [name for name, dtype in table.schema.items() if dtype.is_float()]
    return [{**row, **{name: rounded(row[name]) for name in floats}} for row in table.to_dicts()]
