"""Every asset check passes on good data and fails on bad data; `CASES` names the failing case of each."""

import imagecodecs
import numpy as np
import polars as pl
import pytest
import yaml

from assets.benchmarks import build_benchmark_assets, check_headline
from assets.checkpoint import check_accuracy
from assets.leaderboard import check_stale
from assets.model_report import check_page
from assets.perturbation_map import check_batch_effect, check_positions
from assets.plate_quality import check_flags
from assets.plate_store import check_pixels
from assets.production_model import check_decision
from assets.raw_plates import check_findings
from assets.site_embeddings import check_vectors
from cellassets.definitions import build_definitions
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.stages.carry_out import carry_out
from cellassets.stages.plate_store import PLATE_STORE
from cellassets.stages.raw_plates import RAW_PLATES
from cellassets.storage.deployment import Deployment
from cellassets.storage.plan import Plan
from cellassets.tables.parquet import read_table, with_vectors, write_table
from cellassets.tables.schemas import FINDINGS, LEADERBOARD, SCORES, SITE_EMBEDDINGS


@pytest.fixture
def place(tmp_path, policy) -> Deployment:
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "policy.yaml").write_text(yaml.safe_dump({"ingest": policy.model_dump(mode="json")}))
    return Deployment.of({}, home=tmp_path, configs=configs)


def publish(place, kind, keys, files) -> object:
    """Publishes files under an address, whatever made them."""
    lake = place.lake
    with lake.draft(Plan(kind, keys, {"of": list(keys)})) as draft:
        for name, write in files.items():
            draft.folder.mkdir(parents=True, exist_ok=True)
            write(draft.folder / name)
        draft.publish(list(files), PerturbationMapSummary.model_construct())
    return lake.current(kind, *keys)


def test_images_that_are_lost_fail_the_check_of_the_manifest(zone, place):
    folder = zone.land()
    good = carry_out(RAW_PLATES, place, {"experiment": "E-1"})
    assert check_findings(read_table(good.path("findings.parquet"), FINDINGS), is_refused=False).passed
    (folder / "Plate1/B02_s1_w2.png").write_bytes(b"not an image")
    (folder / "_COMPLETE").touch()
    (folder / "metadata.csv").touch()
    bad = carry_out(RAW_PLATES, place, {"experiment": "E-1"})
    assert not check_findings(read_table(bad.path("findings.parquet"), FINDINGS), is_refused=False).passed


def test_a_store_that_differs_from_the_landed_images_fails(zone, place):
    folder = zone.land()
    carry_out(RAW_PLATES, place, {"experiment": "E-1"})
    stored = carry_out(PLATE_STORE, place, {"experiment": "E-1"})
    assert check_pixels(place, stored).passed
    for path in folder.glob("Plate*/*.png"):  # somebody replaced the images after they were packed
        path.write_bytes(imagecodecs.png_encode(np.zeros(zone.size, np.uint8)))
    found = check_pixels(place, stored)
    assert not found.passed
    assert "Plate" in found.metadata["differing"].value


def test_many_flagged_sites_fail():
    assert check_flags(2, 10).passed
    assert not check_flags(3, 10).passed


def test_a_network_at_chance_fails_and_a_classical_encoder_passes():
    assert check_accuracy(0.3, 0.02).passed
    assert check_accuracy(None, None).passed
    assert not check_accuracy(0.02, 0.02).passed


def embeddings(place, name, values):
    """A published embedding table of some vectors."""
    rows = pl.DataFrame(
        {
            "experiment_id": ["E-1"] * len(values),
            "plate_id": ["Plate1"] * len(values),
            "well_id": ["A01"] * len(values),
            "site_index": pl.Series(range(1, len(values) + 1), dtype=pl.Int32),
            "model_key": [name] * len(values),
        }
    )
    table = with_vectors(rows, values)
    return publish(
        place,
        "site_embeddings",
        ("E-1", name),
        {"part-0.parquet": lambda path: write_table(table, path, SITE_EMBEDDINGS)},
    )


def test_a_collapsed_encoder_fails(place):
    rng = np.random.default_rng(0)
    assert check_vectors(embeddings(place, "good.v1", rng.normal(size=(40, 4)))).passed
    assert not check_vectors(embeddings(place, "flat.v1", np.ones((40, 4)))).passed


def batch_effect(before, after) -> pl.DataFrame:
    return pl.DataFrame(
        {"step": ["raw", "tvn"], "metric": ["batch_accuracy"] * 2, "value": [before, after], "chance": [0.1, 0.1]}
    )


def test_alignment_that_raises_the_batch_effect_fails():
    assert check_batch_effect(batch_effect(0.9, 0.2)).passed
    assert not check_batch_effect(batch_effect(0.2, 0.9)).passed


def test_replicates_at_one_position_fail_unless_position_is_removed():
    summary = PerturbationMapSummary.model_construct(one_place_frac=0.1, has_position_step=False)
    assert check_positions(summary).passed
    assert not check_positions(summary.model_copy(update={"one_place_frac": 0.9})).passed
    assert check_positions(summary.model_copy(update={"one_place_frac": 0.9, "has_position_step": True})).passed


def headline(n_units, null_low, null_high) -> pl.DataFrame:
    row = {
        "benchmark_name": "b", "dataset_id": "d", "dataset_fingerprint": "", "protocol_fingerprint": "",
        "model_key": "m.v1", "metric": "recall", "level": "summary", "value": 0.5, "null_mean": 0.1,
        "null_low": null_low, "null_high": null_high, "p_value": 0.01, "correction": "none", "n_units": n_units,
        "unit": "pair", "is_higher_better": True,
    }  # fmt: skip
    nullable = [column for column in SCORES.columns if column.is_nullable]
    table = pl.DataFrame([row]).with_columns(pl.lit(None, column.dtype).alias(column.name) for column in nullable)
    return SCORES.conform(table, source="test")


def test_a_headline_over_few_units_or_without_a_null_fails():
    assert check_headline(headline(10, 0.0, 0.2), None).passed
    assert not check_headline(headline(9, 0.0, 0.2), None).passed
    assert not check_headline(headline(10, 0.1, 0.1), None).passed
    silent = check_headline(SCORES.empty(), "no compounds")
    assert silent.passed
    assert silent.description == "does not apply: no compounds"


def board(*, is_stale: bool) -> pl.DataFrame:
    row = {"benchmark_name": "b", "dataset_id": "d", "model_key": "m.v1", "is_stale": is_stale}
    return pl.DataFrame([row], schema={name: LEADERBOARD.empty().schema[name] for name in row})


def test_a_stale_score_fails_the_leaderboard():
    assert check_stale(board(is_stale=False)).passed
    assert not check_stale(board(is_stale=True)).passed


@pytest.mark.parametrize(
    "outside",
    [
        '<script src="https://cdn.example/vega.js"></script>',
        '<img src="http://example/picture.png">',
        '<link rel="stylesheet" href="style.css">',
        "<style>@import 'other.css'; p { color: red }</style>",
        "<style>body { background: url(https://example/x.png) }</style>",
    ],
)
def test_a_page_that_loads_something_fails(place, outside):
    whole = (
        '<p>See <a href="https://example.org">this</a></p><img src="data:image/png;base64,AA==">'
        "<script>const text = \"<img src='http://nothing'>\"</script>"
    )
    for number, (text, is_whole) in enumerate(((whole, True), (whole + outside, False))):
        page = publish(
            place, "model_report", (f"m.v{number}",), {"report.html": lambda path, t=text: path.write_text(t)}
        )
        assert check_page(page).passed is is_whole


def test_an_overridden_gate_fails():
    assert check_decision({"decision": "promoted", "approved_by": "the gate"}).passed
    assert check_decision({"decision": "kept", "approved_by": "the gate"}).passed
    assert not check_decision({"decision": "overridden", "approved_by": "M. Curie"}).passed


CASES = {
    "raw_plates:images_are_whole": test_images_that_are_lost_fail_the_check_of_the_manifest,
    "plate_store:sampled_sites_equal_the_landed_images": test_a_store_that_differs_from_the_landed_images_fails,
    "plate_quality:most_sites_are_in_line": test_many_flagged_sites_fail,
    "checkpoint:beats_chance_on_held_out_experiments": test_a_network_at_chance_fails_and_a_classical_encoder_passes,
    "site_embeddings:sites_have_vectors_of_their_own": test_a_collapsed_encoder_fails,
    "perturbation_map:alignment_lowers_the_batch_effect": test_alignment_that_raises_the_batch_effect_fails,
    "perturbation_map:position_is_not_taken_for_biology": (
        test_replicates_at_one_position_fail_unless_position_is_removed
    ),
    "benchmark:headline_rests_on_enough_units": test_a_headline_over_few_units_or_without_a_null_fails,
    "leaderboard:scores_are_as_they_would_be_taken_now": test_a_stale_score_fails_the_leaderboard,
    "model_report:needs_no_network": test_a_page_that_loads_something_fails,
    "production_model:no_guard_is_overridden": test_an_overridden_gate_fails,
}


def checks_of_the_graph() -> set[str]:
    keys = build_definitions().resolve_asset_graph().asset_check_keys
    return {f"{key.asset_key.path[0]}:{key.name}" for key in keys}


def test_every_check_has_a_case_in_which_it_fails():
    assert checks_of_the_graph() == set(CASES)
    assert len(build_benchmark_assets()) == 12


def test_the_page_of_checks_names_every_check_and_its_test(request):
    page = (request.config.rootpath / "docs" / "checks.md").read_text()
    for name, case in CASES.items():
        asset, check = name.split(":")
        assert f"`{check}`" in page, check
        assert f"`{case.__name__}`" in page, case.__name__
        assert f"`{asset}" in page
