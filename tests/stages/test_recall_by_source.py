"""Two sources, three models: the leaderboard publishes recall by source, and the report shows it with its licences."""

import hashlib
import json

import polars as pl
import pytest

from cellassets import cli
from cellassets.knowledge.installation import Order, install_pack
from cellassets.knowledge.packs import Licence, Pack
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import RECALL_BY_SOURCE, SCORES

KIND = "benchmark/known_relationships"
MODELS = ("blind.v1", "fair.v1", "good.v1")


@pytest.fixture(scope="module")
def judged(scored, tmp_path_factory):
    """The scored deployment with a second source, which was installed from a pack."""
    folder = tmp_path_factory.mktemp("by_source")
    copy = scored.copy(folder / "home")
    content = copy.known.pairs.select("entity1", "entity2").head(8).write_csv().encode()
    (folder / "pairs.csv").write_bytes(content)
    pack = Pack(
        name="LITERATURE", title="Pairs", kind="pairs", url="https://127.0.0.1/LITERATURE.csv", version="7.1",
        sha256=hashlib.sha256(content).hexdigest(), n_bytes=len(content), n_rows=8, citation="Nobody (2026)",
        licence=Licence(name="NC", spdx="CC-BY-NC-4.0", url="https://127.0.0.1/nc", is_non_commercial=True),
    )  # fmt: skip
    order = Order(
        is_licence_accepted=True, installed_at="2026-11-27T08:00:00+00:00", installed_by="ada",
        source=str(folder / "pairs.csv"),
    )  # fmt: skip
    install_pack(copy.lake.annotations, pack, order)
    for model_key in MODELS[:2]:
        copy.make(KIND, "SIM", model_key)
    copy.make("leaderboard")
    return copy


@pytest.fixture(scope="module")
def table(judged):
    return read_table(judged.lake.current("leaderboard").path("recall_by_source.parquet"), RECALL_BY_SOURCE)


def test_the_leaderboard_publishes_the_recall_of_every_source_that_is_scored_now(judged, table):
    assert table.group_by("model_key").len().sort("model_key").rows() == [("blind.v1", 3), ("fair.v1", 3)]
    scores = read_table(judged.lake.current(KIND, "SIM", "fair.v1").path("scores.parquet"), SCORES)
    for source, metric in (("LITERATURE", "recall[LITERATURE]"), ("planted", "recall[planted]")):
        (expected,) = scores.filter(pl.col("metric") == metric).to_dicts()
        (found,) = table.filter(pl.col("model_key") == "fair.v1", pl.col("source") == source).to_dicts()
        assert {name: found[name] for name in ("value", "null_mean", "p_value", "n_units")} == {
            name: expected[name] for name in ("value", "null_mean", "p_value", "n_units")
        }
    assert table.filter(pl.col("source") == "LITERATURE")["n_units"].to_list() == [8, 8]


def test_the_command_shows_the_same_table(judged, table, capsys):
    for arguments, shown in (
        (["--json"], table.to_dicts()),
        (["--json", "--dataset", "SIM"], table.to_dicts()),
        (["--json", "--dataset", "OTHER"], []),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(["leaderboard", "by-source", "--home", str(judged.home), *arguments])
        assert not ended.value.code
        assert json.loads(capsys.readouterr().out) == shown
    with pytest.raises(SystemExit):
        cli.main(["leaderboard", "by-source", "--home", str(judged.home)])
    assert "LITERATURE" in capsys.readouterr().out


def test_the_report_shows_the_table_and_the_terms_of_the_sources(judged):
    text = judged.make("model_report", "fair.v1").path("report.html").read_text()
    section = text.split("Recall by source of annotations</h3>")[1].split("</table>")[0]
    for part in ("LITERATURE", "planted", "8 pairs", "<b>fair.v1</b>", "blind.v1"):
        assert part in section
    assert "good.v1" not in section, "its score was computed without the second source"
    provenance = text.split(">Provenance</h2>")[1]
    for part in (
        "<dt>annotations: LITERATURE</dt>", "7.1; CC-BY-NC-4.0, not for commercial use (https://127.0.0.1/nc)",
        "installed 2026-11-27T08:00:00+00:00 by ada", "cite Nobody (2026)",
        "<dt>annotations: planted</dt><dd><code>added by hand; version and licence are not recorded",
    ):  # fmt: skip
        assert part in provenance


def test_a_source_that_changed_after_it_was_installed_makes_reports_due(judged, tmp_path):
    copy = judged.copy(tmp_path / "home")
    before = copy.plan("model_report", "good.v1").fingerprint
    (copy.lake.annotations / "LITERATURE.csv").write_text("entity1,entity2\nA,B\n")
    plan = copy.plan("model_report", "good.v1")
    assert plan.fingerprint != before
    assert plan.inputs["annotation_terms"]["LITERATURE"].startswith("changed after it was installed")
