"""The page is one file, whole, escaped, and honest about what is not there."""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest
from PIL import Image
from upath import UPath

from cellassets.errors import ArtifactMissing
from cellassets.judging.leaderboard import build_leaderboard
from cellassets.reporting.charts import Band, Estimate, heat_map, interval_chart, steps_chart
from cellassets.reporting.picture import clustered_map, known_groups
from cellassets.reporting.report import build_report, plan_report
from cellassets.storage.lake import Lake

HOSTILE = "<script>alert(1)</script>"


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
        if tag not in ("meta", "img", "rect", "line", "circle", "image", "polyline", "br", "link"):
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "srcset") and value[:5] != "data:"]

    def handle_endtag(self, tag):
        if self.open and tag == self.open[-1]:
            self.open.pop()


def test_the_page_is_whole_and_fetches_nothing(scored_lake, models):
    text = page(scored_lake, models)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.fetched == []
    assert "script" not in tags.names
    assert "default-src 'none'" in text


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
    drawings = re.findall(r"<svg.*?</svg>", page(scored_lake, models), re.DOTALL)
    n_scored, n_of_pairs, n_of_the_map = 6, 1, 3  # pairs have no chart of their units
    assert len(drawings) == 2 * n_scored - n_of_pairs + n_of_the_map
    for drawing in drawings:
        root = ET.fromstring(drawing)  # noqa: S314  made by this test's own code
        assert root.find("{*}title").text
        assert root.find("{*}desc").text


def test_hostile_names_stay_text():
    drawings = [
        interval_chart(
            HOSTILE, [Estimate(HOSTILE, 0.5, 0.4, 0.6)], Band(0.0, 0.1, 0.2), axis=HOSTILE, reach=(0.0, 1.0)
        ),
        steps_chart(HOSTILE, [HOSTILE], [0.5], 0.1, axis=HOSTILE),
        heat_map(HOSTILE, np.eye(2), [HOSTILE, "B"], [0, None]),
    ]
    for drawing in drawings:
        assert "<script>" not in drawing
        ET.fromstring(drawing)  # noqa: S314


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


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_complaint_in_light_and_dark(scored_lake, models, tmp_path, scheme):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None and "CI" not in os.environ:
        pytest.skip("needs Chromium: apt-get install chromium")
    assert browser, "CI has no Chromium"
    page(scored_lake, models)
    path = scored_lake.model_report("good.v1").path("report.html")
    picture = tmp_path / "page.png"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'user'}",
        f"--blink-settings=preferredColorScheme={1 if scheme == 'light' else 0}",
        "--window-size=1100,2400", f"--screenshot={picture}", f"file://{path}",
    ]  # fmt: skip
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert picture.exists(), answer.stderr
    assert "CONSOLE" not in answer.stderr
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert (pixels[0, 0] > 200) == (scheme == "light")
    assert pixels.std() > 10
