"""`cellassets map`: what is most similar on a map."""

import json

import pytest


@pytest.fixture
def gene(home, run) -> str:
    rows = json.loads(run("sql", "SELECT perturbation_id FROM perturbation_map LIMIT 1", "--home", home, "--json"))
    return rows[0]["perturbation_id"]


def test_neighbours_come_with_their_cosines_most_similar_first(home, run, gene):
    rows = json.loads(run("map", "nearest", "HUVEC", "plain.v1", gene, "--n", "3", "--home", home, "--json"))
    cosines = [row["cosine"] for row in rows]
    assert len(rows) == 3
    assert cosines == sorted(cosines, reverse=True)
    assert gene not in {row["perturbation_id"] for row in rows}


def test_the_clusters_of_a_gene_come_with_their_members(home, run, gene):
    rows = json.loads(run("map", "clusters", "HUVEC", "plain.v1", "--with", gene, "--home", home, "--json"))
    assert all(gene in row["members"].split(";") for row in rows)
    assert rows


def test_without_an_enriched_set_the_answer_says_so(home, run):
    assert "no cluster of this map is enriched" in run("map", "clusters", "HUVEC", "plain.v1", "--home", home)
