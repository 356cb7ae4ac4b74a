"""Enrichment: rows worked by hand, what counts as a name, calibration with shuffled labels and on unaligned maps."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import false_discovery_control

from cellassets.benchmarks.strata import plate_strata
from cellassets.clustering.enrichment import corrected, enrichment, n_rich_in_one_stratum, set_sources
from cellassets.clustering.map_clusters import cut_map
from cellassets.clustering.named import named_rows
from cellassets.clustering.parameters import ClusterParameters
from cellassets.clustering.usable_map import usable_vectors
from cellassets.knowledge.annotations import Annotations
from cellassets.studies.simulated import SIMULATED_MAP, simulate_map
from cellassets.synthetic.embeddings import SimulatedWells

PARAMETERS = ClusterParameters(min_members=2)
UNALIGNED = SIMULATED_MAP.model_copy(update={"steps": ()})


def map_rows(*rows):
    """Rows of a map: name, kind and the compound's dose or the gene's guide."""
    return pl.DataFrame(
        [
            {
                "perturbation_id": f"{name}{suffix}",
                "perturbation_kind": kind,
                "gene_symbol": name if kind == "gene" else None,
                "compound_id": name if kind == "compound" else None,
            }
            for name, kind, suffix in rows
        ]
    )


def sets(*rows):
    return pl.DataFrame(rows, schema=["set_id", "member"], orient="row")


GENES = map_rows(*((name, "gene", "") for name in "ABCDEFGH"))
CLUSTERS = {4: np.array([0, 0, 0, 0, 1, 1, 1, 1])}  # A to D, and E to H


def rows_of(annotations, table=GENES, clusters=CLUSTERS, stratum=None, parameters=PARAMETERS):
    named = named_rows(table, np.zeros(table.height, dtype=int) if stratum is None else np.array(stratum))
    return enrichment(clusters, named, set_sources(annotations), parameters)


def test_a_row_by_hand():
    """All three names of a set are among the four of a cluster: 4 of 56 choices of three in eight do so."""
    found, n_sets = rows_of(Annotations(sets={"s": sets(*(("x", name) for name in "ABCZ"))}))
    assert n_sets == {"sets/s": 1}
    (row,) = found.to_dicts()
    assert (row["resolution"], row["cluster_index"], row["set_id"], row["members"]) == (4, 0, "x", "A;B;C")
    assert [row[name] for name in ("n_overlap", "n_cluster", "n_set", "n_background")] == [3, 4, 3, 8]
    assert (row["expected"], row["fold"]) == (1.5, 2.0)
    assert row["p_hypergeometric"] == pytest.approx(4 / 56)
    assert row["p_permutation"] == pytest.approx(4 / 56)
    assert row["q_value"] == pytest.approx(2 * 4 / 56), "two clusters were tested with one set"


def test_names_of_one_plate_are_exchanged_among_themselves_only():
    """A to D share their plates: every cluster of these plates would hold three of them."""
    found, _ = rows_of(
        Annotations(sets={"s": sets(*(("x", name) for name in "ABC"))}), stratum=[0, 0, 0, 0, 1, 1, 1, 1]
    )
    (row,) = found.to_dicts()
    assert row["p_hypergeometric"] == pytest.approx(4 / 56)
    assert (row["p_permutation"], row["expected_permuted"]) == (1.0, 3.0)


def test_doses_and_guides_count_once_and_combinations_do_not_count():
    table = map_rows(
        *(("drug1", "compound", f"@{dose}") for dose in (1, 2, 3)),
        ("drug2", "compound", "@1"),
        ("drug3", "compound", "@1"),
        ("A", "gene", "_g1"),
        ("A", "gene", "_g2"),
        ("A+B", "gene", ""),
    )
    targets = pl.DataFrame({"compound_id": ["drug1", "drug2"], "gene_symbol": ["T", "T"]})
    clusters = {4: np.array([0, 0, 1, 0, 1, 0, 0, 1])}
    found, _ = rows_of(Annotations(targets={"t": targets}), table, clusters)
    (row,) = found.to_dicts()
    assert (row["set_id"], row["members"]) == ("T", "drug1;drug2")
    assert [row[name] for name in ("n_overlap", "n_cluster", "n_set", "n_background")] == [2, 2, 2, 3]
    named = named_rows(table, np.zeros(table.height, dtype=int))
    assert named.names.tolist() == ["drug1", "drug2", "drug3", "A"]
    assert named.name_of_row.tolist() == [0, 0, 0, 1, 2, 3, 3, -1]


def test_sets_of_other_sizes_and_one_that_everything_is_in_are_not_tested():
    source = sets(*(("all", name) for name in "ABCDEFGH"), ("one", "A"), *(("four", name) for name in "ABCD"))
    assert rows_of(Annotations(sets={"s": source}))[1] == {"sets/s": 1}
    small = ClusterParameters(min_members=2, max_set_members=3)
    assert rows_of(Annotations(sets={"s": source}), parameters=small)[1] == {"sets/s": 0}
    arms = pl.DataFrame({"gene_symbol": list("ABCD"), "chromosome_arm": ["1p"] * 4})
    assert rows_of(Annotations(gene_arms={"a": arms}), parameters=small)[1] == {"gene_arms/a": 1}


def test_q_values_of_a_source_do_not_depend_on_other_sources():
    first = sets(*(("x", name) for name in "ABC"))
    alone, _ = rows_of(Annotations(sets={"s": first}))
    beside, _ = rows_of(Annotations(sets={"s": first, "t": sets(*((f"y{n}", m) for n in range(9) for m in "AEF"))}))
    assert beside.filter(pl.col("source") == "s").equals(alone)


def test_corrected_p_values_equal_scipys_with_the_other_tests_at_one():
    p_values = np.array([0.04, 0.001, 0.2, 0.001, 0.9])
    expected = false_discovery_control(np.concatenate([p_values, np.ones(15)]))[:5]
    np.testing.assert_allclose(corrected(p_values, 20), expected)


def test_clusters_of_one_plate_are_counted():
    labels = np.repeat([0, 1, 2], 10)
    assert n_rich_in_one_stratum(labels, np.repeat([0, 1, 2], 10), 3) == 3
    assert n_rich_in_one_stratum(labels, np.tile(np.arange(3), 10), 3) == 0
    assert n_rich_in_one_stratum(labels, np.zeros(30, dtype=int), 3) == 0


def judged_rows(judged, annotations):
    """ENRICHMENT rows and the number of clusters of one plate of a simulated map, without resampling."""
    table = judged.map_table.filter(pl.col("control_kind").is_null())
    stratum = plate_strata(judged, table["perturbation_id"].to_list())
    parameters = ClusterParameters()
    clusters = cut_map(usable_vectors(table, 20), parameters)
    found, _ = enrichment(clusters, named_rows(table, stratum), set_sources(annotations), parameters)
    return found, sum(n_rich_in_one_stratum(labels, stratum, 3) for labels in clusters.values())


def test_planted_complexes_are_found():
    judged = simulate_map(SimulatedWells(n_complexes=20, genes_per_complex=5, n_lone_genes=100, gene_effect=3.0))
    found, n_of_one_plate = judged_rows(judged, Annotations(sets=judged.annotations.sets))
    assert found.filter(pl.col("q_value") <= 0.05)["set_id"].n_unique() >= 16
    assert n_of_one_plate == 0


def test_sets_of_shuffled_labels_are_not_found():
    n_called = 0
    for seed in range(15):
        design = SimulatedWells(n_complexes=16, genes_per_complex=5, n_lone_genes=40, is_shuffled=True, seed=seed)
        judged = simulate_map(design)
        n_called += judged_rows(judged, Annotations(sets=judged.annotations.sets))[0]["q_value"].min() <= 0.05
    assert n_called <= 1


def test_on_an_unaligned_map_sets_of_genes_of_one_plate_are_not_taken_for_biology():
    """Every gene is in one of four batches, no gene has an effect, and the sets are random genes of one batch."""
    n_called = n_hypergeometric = 0
    for seed in range(15):
        design = SimulatedWells(
            n_batches=4, n_batches_per_treatment=1, n_complexes=0, n_lone_genes=100, gene_effect=0.0, seed=seed
        )
        judged = simulate_map(design, parameters=UNALIGNED)
        names = judged.map_table.filter(pl.col("control_kind").is_null())["perturbation_id"].to_numpy()
        stratum, rng = plate_strata(judged, names.tolist()), np.random.default_rng(seed)
        rows = [
            (f"plate{place}set{number}", gene)
            for place in np.unique(stratum)
            for number in range(4)
            for gene in rng.choice(names[stratum == place], 8, replace=False)
        ]
        found, n_of_one_plate = judged_rows(judged, Annotations(sets={"s": sets(*rows)}))
        n_called += found["q_value"].min() <= 0.05
        n_hypergeometric += corrected(found["p_hypergeometric"].to_numpy(), 16 * 27).min() <= 0.05
        assert n_of_one_plate > 0, "the map's clusters are batches"
    assert n_called <= 1
    assert n_hypergeometric >= 12, "drawn from the whole map, genes of one plate look like a set"
