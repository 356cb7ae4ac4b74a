"""The page is one file, whole, escaped, and honest about what is not there."""

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.errors import ArtifactMissing
from cellassets.judging.leaderboard import build_leaderboard
from cellassets.reporting.clustered_map import clustered_map, known_groups
from cellassets.reporting.report import build_report, plan_report
from cellassets.storage.lake import Lake

HOSTILE = "<script>alert(1)</script>"
MAX_SCRIPT_BYTES = 3_000_000


def page(lake, models, model_key="good.v1"):
    build_report(lake, models, model_key)
    return lake.model_report(model_key).path("report.html").read_text()


class Tags(HTMLParser):
    """Checks that tags are closed, and notes what would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.names = [], [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        if tag not in ("path", "meta", "img", "rect", "line", "circle", "image", "polyline", "br", "link"):
            self.open.append(tag)
        fetching = [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]
        self.fetched += [value for value in fetching if value[:1] != "#" and value[:5] != "data:"]

    def handle_endtag(self, tag):
        if self.open and tag == self.open[-1]:
            self.open.pop()


def test_the_page_is_whole_and_fetches_nothing(scored_lake, models):
    text = page(scored_lake, models)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.fetched == []
    assert "default-src 'none'" in text


def test_only_the_two_named_scripts_may_run_and_they_are_small(scored_lake, models):
    text = page(scored_lake, models)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    allowed = re.search(r"script-src ([^\"]*)\"", text)[1].split()
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert allowed == [f"'sha256-{found}'" for found in hashes]
    assert len(scripts) == 2
    assert sum(len(script.encode()) for script in scripts) < MAX_SCRIPT_BYTES


def test_it_says_the_verdict_and_shows_every_part(scored_lake, models):
    text = page(scored_lake, models)
    assert re.search(r"good\.v1 scores 0\.\d\d in recall of known relationships on SIM, clearly more than", text)
    assert "better than" in text
    for part in ("Perturbation consistency", "The map", "Batch effect before", "Strongest perturbations", "Provenance"):
        assert part in text
    for fact in ("fp-good", "run-1", "wells-1", "SIM-1, SIM-2, SIM-3", "pca → centre_scale"):
        assert fact in text


def test_the_blind_model_is_not_praised(scored_lake, models):
    text = page(scored_lake, models, "blind.v1")
    assert "not distinguishable from the 0.09 of chance" in text
    assert "worse than" in text


def test_every_drawing_is_well_formed_and_described(scored_lake, models):
    drawings = re.findall(r'<svg xmlns="[^>]* role="img">.*?</svg>', page(scored_lake, models), re.DOTALL)
    n_scored, n_of_pairs, n_of_the_map = 6, 1, 3  # pairs have no chart of their units
    assert len(drawings) == 2 * n_scored - n_of_pairs + n_of_the_map
    for drawing in drawings:
        root = ET.fromstring(drawing)  # noqa: S314  made by this test's own code
        assert root.find("{*}title").text
        assert root.find("{*}desc").text


def test_a_hostile_gene_on_the_map_stays_text(scored_lake, models, tmp_path):
    shutil.copytree(scored_lake.root, tmp_path / "hostile")
    lake = Lake(UPath(tmp_path / "hostile"))
    shutil.rmtree(lake.root / "model_report", ignore_errors=True)
    path = lake.perturbation_map("SIM", "good.v1").path("map.parquet")
    table = pl.read_parquet(path)
    first = pl.when(pl.col("gene_symbol") == "GENE000").then(pl.lit(HOSTILE)).otherwise("gene_symbol")
    table.with_columns(first.alias("gene_symbol")).write_parquet(path)
    text = page(lake, models)
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_making_it_again_does_nothing_until_something_changed(scored_lake, models):
    first = build_report(scored_lake, models, "good.v1")
    assert build_report(scored_lake, models, "good.v1") == first
    assert plan_report(scored_lake, models, "fair.v1").fingerprint != first.fingerprint


def test_a_benchmark_that_was_not_scored_is_named(scored_lake, models, protocols_of, tmp_path):
    shutil.copytree(scored_lake.root, tmp_path / "partly")
    lake = Lake(UPath(tmp_path / "partly"))
    shutil.rmtree(lake.scores("perturbation_magnitude", "SIM", "good.v1").root)
    build_leaderboard(lake, protocols_of(lake))
    text = page(lake, models)
    assert "Not scored yet on these wells: perturbation_magnitude." in text


def test_a_model_without_scores_gets_a_page_that_says_so(scored_lake, models):
    text = page(scored_lake, models, "unknown.v1")
    assert "This model has no scores yet" in text


def test_without_a_leaderboard_there_is_no_report(tmp_path, models):
    with pytest.raises(ArtifactMissing):
        plan_report(Lake(UPath(tmp_path)), models, "good.v1")


def test_groups_are_what_pairs_connect_largest_first():
    pairs = pl.DataFrame({"entity1": ["A", "B", "X"], "entity2": ["B", "C", "Y"]})
    assert known_groups(pairs) == {"A": 0, "B": 0, "C": 0, "X": 1, "Y": 1}
    assert known_groups(None) == {}


def test_planted_groups_lie_together_in_the_clustered_map(scored_lake):
    artifact = scored_lake.perturbation_map("SIM", "good.v1")
    pairs = pl.read_csv(scored_lake.annotations / "planted.csv")
    clustered = clustered_map(pl.read_parquet(artifact.path("map.parquet")), pairs)
    places = {}
    for place, group in enumerate(clustered.groups):
        places.setdefault(group, []).append(place)
    together = [max(p) - min(p) == len(p) - 1 for group, p in places.items() if group is not None]
    assert sum(together) >= 5
    np.testing.assert_allclose(np.diag(clustered.cosines), 1, atol=1e-6)
