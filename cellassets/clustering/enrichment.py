"""Enrichment: which annotated sets have more members in a cluster than chance would put there?

Two null distributions: names drawn from the whole map (hypergeometric, as in the literature), and names permuted within
strata of plates (exact). Perturbations of the same plates are alike without any biology, so q-values are from the
second one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, Shaped
from scipy.sparse import coo_array, csr_array

from cellassets.clustering.named import NamedRows
from cellassets.clustering.parameters import ClusterParameters
from cellassets.knowledge.annotations import Annotations
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL
from cellassets.statistics.stratified_overlap import expected_overlap, overlap_p_value
from cellassets.tables.schemas import ENRICHMENT

MIN_OVERLAP = 2  # tests with fewer names in common, or no more than expected, have no row and count with a p-value of 1
SEPARATOR = ";"
IDENTITY = ("dataset_id", "model_key")
Labels = Int[np.ndarray, "row"]


@dataclass(frozen=True)
class SetSource:
    """An annotation source as sets: of genes, of compounds with one target, or of genes on one chromosome arm."""

    kind: str
    name: str
    rows: pl.DataFrame

    @property
    def label(self) -> str:
        """The name of the source with its kind."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class _Tested:
    """The names and sets of one source that are tested, and who is a member of what."""

    source: SetSource
    is_background: Bool[np.ndarray, "name"]
    set_ids: Shaped[np.ndarray, "set"]
    members: csr_array


def set_sources(annotations: Annotations) -> list[SetSource]:
    """Returns all sources that are sets or that group names: sets, targets of compounds, chromosome arms."""
    as_sets = {
        "sets": {"set_id": "set_id", "member": "member"},
        "targets": {"set_id": "gene_symbol", "member": "compound_id"},
        "gene_arms": {"set_id": "chromosome_arm", "member": "gene_symbol"},
    }
    return [
        SetSource(kind, name, getattr(annotations, kind)[name].select(**columns).unique())
        for kind, columns in as_sets.items()
        for name in sorted(getattr(annotations, kind))
    ]


def enrichment(
    clusters: Mapping[int, Labels], named: NamedRows, sources: list[SetSource], parameters: ClusterParameters
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Returns ENRICHMENT rows without dataset and model, and the number of tested sets of each source.

    The correction (Benjamini and Hochberg) is over all tests of one source: every tested cluster of every resolution
    with every tested set.

    Args:
        clusters: labels of the rows of the map by resolution.
        named: the names of these rows.
        sources: the annotation sources.
        parameters: sizes of the clusters and sets that are tested.
    """
    rows: list[dict[str, Any]] = []
    n_sets = {}
    for source in sources:
        tested = _tested_sets(source, named, parameters)
        n_sets[source.label] = len(tested.set_ids)
        own: list[dict[str, Any]] = []
        n_tests = 0
        for resolution, labels in clusters.items():
            held = _held_names(labels, named, tested.is_background)
            is_tested = held.sum(axis=1) >= parameters.min_members
            n_tests += int(is_tested.sum()) * len(tested.set_ids)
            own += [{"resolution": resolution, **row} for row in _rows(held, is_tested, tested, named)]
        q_values = corrected(np.array([row["p_permutation"] for row in own]), n_tests)
        rows += [{**row, "q_value": float(q)} for row, q in zip(own, q_values, strict=True)]
    columns = {column.name: column.dtype for column in ENRICHMENT.columns if column.name not in IDENTITY}
    order = ["q_value", "p_permutation", "resolution", "cluster_index", "source_kind", "source", "set_id"]
    return pl.DataFrame(rows, schema=columns).sort(order), n_sets


def corrected(p_values: Float[np.ndarray, "test"], n_tests: int) -> Float[np.ndarray, "test"]:
    """Returns q-values by Benjamini and Hochberg where only some of the tests have a p-value below 1.

    Args:
        p_values: of these tests.
        n_tests: all tests; those without a p-value here have a p-value of 1.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * n_tests / np.arange(1, len(p_values) + 1)
    q_values = np.empty(len(p_values))
    q_values[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q_values


def n_rich_in_one_stratum(labels: Labels, stratum: Int[np.ndarray, "row"], min_members: int) -> int:
    """Returns how many clusters are significantly rich in rows of one stratum, that is of the same plates.

    Args:
        labels: the cluster of each row.
        stratum: the stratum of each row.
        min_members: rows that a tested cluster has at least.
    """
    from scipy.stats import hypergeom

    n_held, n_there = np.bincount(labels), np.bincount(stratum)
    is_tested = n_held >= min_members
    pairs, n_both = np.unique(labels * len(n_there) + stratum, return_counts=True)
    cluster, place = np.divmod(pairs, len(n_there))
    p_values = hypergeom.sf(n_both - 1, len(labels), n_there[place], n_held[cluster])[is_tested[cluster]]
    q_values = corrected(p_values, int(is_tested.sum()) * int((n_there > 0).sum()))
    return len(np.unique(cluster[is_tested[cluster]][q_values <= SIGNIFICANCE_LEVEL]))


def _held_names(labels: Labels, named: NamedRows, is_background: Bool[np.ndarray, "name"]) -> csr_array:
    """Which cluster holds which names of the background, as 0 and 1."""
    is_named = named.name_of_row >= 0
    is_named[is_named] = is_background[named.name_of_row[is_named]]
    pairs = np.unique(np.stack([labels[is_named], named.name_of_row[is_named]]), axis=1)
    return _incidence(pairs[0], pairs[1], (int(labels.max()) + 1, len(named.names)))


def _tested_sets(source: SetSource, named: NamedRows, parameters: ClusterParameters) -> _Tested:
    """The background is all names of the kinds that the source knows; a source of genes says nothing of compounds."""
    numbers = pl.DataFrame({"member": named.names, "kind": named.kind, "name": np.arange(len(named.names))})
    kind = {"targets": "compound", "gene_arms": "gene"}.get(source.kind)
    known = numbers if kind is None else numbers.filter(pl.col("kind") == kind)
    found = source.rows.join(known, on="member")
    is_background = np.isin(named.kind, found["kind"].unique().to_numpy())
    largest = len(named.names) if source.kind == "gene_arms" else parameters.max_set_members
    size = pl.len().over("set_id")
    found = found.filter(size >= parameters.min_members, size <= largest, size < int(is_background.sum()))
    set_ids, index = np.unique(found["set_id"].to_numpy(), return_inverse=True)
    members = _incidence(index, found["name"].to_numpy(), (len(set_ids), len(named.names)))
    return _Tested(source, is_background, set_ids, members)


def _incidence(rows: Int[np.ndarray, "pair"], columns: Int[np.ndarray, "pair"], shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(rows), dtype=np.int64), (rows, columns)), shape=shape)


def _rows(
    held: csr_array, is_tested: Bool[np.ndarray, "cluster"], tested: _Tested, named: NamedRows
) -> Iterator[dict[str, Any]]:
    """One row per tested cluster and set with at least two names in common, and with more than expected."""
    from scipy.stats import hypergeom

    overlaps = coo_array(held @ tested.members.T)
    n_background = int(tested.is_background.sum())
    n_cluster, n_set = held.sum(axis=1)[overlaps.row], tested.members.sum(axis=1)[overlaps.col]
    expected = n_cluster * n_set / n_background
    is_row = (overlaps.data >= MIN_OVERLAP) & (overlaps.data > expected) & is_tested[overlaps.row]
    clusters, sets, n_overlap = overlaps.row[is_row], overlaps.col[is_row], overlaps.data[is_row]
    n_cluster, n_set, expected = n_cluster[is_row], n_set[is_row], expected[is_row]
    p_values = hypergeom.sf(n_overlap - 1, n_background, n_set, n_cluster)
    n_names = np.bincount(named.stratum[tested.is_background])
    for row, (cluster, chosen) in enumerate(zip(clusters.tolist(), sets.tolist(), strict=True)):
        in_cluster, in_set = _columns_of(held, cluster), _columns_of(tested.members, chosen)
        counts = _counts(named.stratum, n_names, in_cluster, in_set)
        yield {
            "cluster_index": cluster,
            "source_kind": tested.source.kind,
            "source": tested.source.name,
            "set_id": str(tested.set_ids[chosen]),
            "n_overlap": int(n_overlap[row]),
            "n_cluster": int(n_cluster[row]),
            "n_set": int(n_set[row]),
            "n_background": n_background,
            "expected": float(expected[row]),
            "expected_permuted": expected_overlap(*counts),
            "fold": float(n_overlap[row] / expected[row]),
            "p_hypergeometric": float(min(1.0, p_values[row])),
            "p_permutation": overlap_p_value(int(n_overlap[row]), *counts),
            "members": SEPARATOR.join(sorted(named.names[np.intersect1d(in_cluster, in_set)])),
        }


def _counts(
    stratum: Int[np.ndarray, "name"],
    n_names: Int[np.ndarray, "stratum"],
    first: Int[np.ndarray, "one"],
    second: Int[np.ndarray, "two"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names, first and second group by stratum, of the strata that both groups have names in."""
    ours, n_first = np.unique(stratum[first], return_counts=True)
    theirs, n_second = np.unique(stratum[second], return_counts=True)
    both, own, other = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    return n_names[both], n_first[own], n_second[other]


def _columns_of(matrix: csr_array, row: int) -> Int[np.ndarray, "column"]:
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
