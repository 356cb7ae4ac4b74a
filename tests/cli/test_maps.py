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


def test_hits_are_listed_with_their_distance_and_doses_on_request(home, run):
    every = json.loads(run("map", "hits", "HUVEC", "plain.v1", "--all", "--home", home, "--json"))
    called = json.loads(run("map", "hits", "HUVEC", "plain.v1", "--home", home, "--json"))
    assert every
    assert [row["perturbation_id"] for row in called] == [row["perturbation_id"] for row in every if row["is_active"]]
    distances = [row["distance_sd"] for row in every if row["distance_sd"] is not None]
    assert distances == sorted(distances, reverse=True)
    assert run("map", "hits", "HUVEC", "plain.v1", "--all", "--home", home).count("distance_sd") >= 1
    doses = json.loads(run("map", "hits", "HUVEC", "plain.v1", "--doses", "--all", "--home", home, "--json"))
    assert {row["compound_id"] for row in doses} <= {row["compound_id"] for row in every}
