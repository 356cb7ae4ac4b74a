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
