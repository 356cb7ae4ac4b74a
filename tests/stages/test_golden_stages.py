"""Numbers of the stages right of the images change only together with the `CODE_VERSION` of the stage.

`data/golden_stages.json` holds the code version, a fingerprint of the inputs and the numbers. The inputs are simulated;
if the simulation changes, the numbers may be written again under the same version. Numbers of benchmarks are held in
tests/benchmarks/test_code_versions.py, of training in tests/training/test_golden_training.py, of classical features in
tests/encoders/test_classical_encoder.py, of plates in test_golden_plates.py. Write new values with

    .venv/bin/python -m pytest tests/stages/test_golden_stages.py --write-golden
"""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cellassets.encoders.embed import embed_store
from cellassets.encoders.loading import load_encoder
from cellassets.encoders.network import NetworkEncoder
from cellassets.stages import (
    active_perturbations,
    leaderboard,
    map_clusters,
    model_report,
    perturbation_map,
    production_model,
    site_embeddings,
)
from cellassets.stages.catalogue import stages
from cellassets.stages.stores import open_store
from cellassets.tables.content import frame_fingerprint
from cellassets.tables.parquet import read_table, vectors
from cellassets.tables.schemas import (
    ACTIVE_SCORES,
    BATCH_EFFECT,
    CLUSTERS,
    DIFFERENCES,
    ENRICHMENT,
    GATE,
    HITS,
    LEADERBOARD,
    PERTURBATION_MAP,
    SITE_EMBEDDINGS,
    WELL_EMBEDDINGS,
)

GOLDEN = Path(__file__).parent / "data" / "golden_stages.json"
WRITE = ".venv/bin/python -m pytest tests/stages/test_golden_stages.py --write-golden"
ELSEWHERE = {"raw_plates", "plate_store", "plate_quality", "checkpoint", "search"}  # a search has those of its variants
VERSIONS = {
    "site_embeddings": site_embeddings.CODE_VERSION,
    "perturbation_map": perturbation_map.CODE_VERSION,
    "map_clusters": map_clusters.CODE_VERSION,
    "active_perturbations": active_perturbations.CODE_VERSION,
    "leaderboard": leaderboard.CODE_VERSION,
    "model_report": model_report.CODE_VERSION,
    "production_model": production_model.CODE_VERSION,
}
TOLERANCE = {"site_embeddings": 1e-3}  # of float32 sums in another order; 1e-6 for the others


def map_numbers(scored):
    published = scored.lake.current("perturbation_map", "SIM", "good.v1")
    effect = read_table(published.path("batch_effect.parquet"), BATCH_EFFECT)
    numbers = {f"{row['step']} {row['metric']}": row["value"] for row in effect.iter_rows(named=True)}
    for name, schema in (("map", PERTURBATION_MAP), ("wells", WELL_EMBEDDINGS), ("wells_raw", WELL_EMBEDDINGS)):
        sums = np.abs(vectors(read_table(published.path(f"{name}.parquet"), schema)).astype(float)).sum(axis=0)
        numbers |= {f"{name} feature {place}": value for place, value in enumerate(sums)}
    counts = {name: value for name, value in published.record.summary.items() if isinstance(value, int | float)}
    return numbers | counts


def cluster_numbers(scored):
    """Clusters of the map with its complexes as sets."""
    scored.annotate("complexes", scored.known.sets)
    published = scored.make("map_clusters", "SIM", "good.v1")
    clusters = read_table(published.path("clusters.parquet"), CLUSTERS)
    numbers = {
        f"{row['perturbation_id']} {row['resolution']} {name}": row[name]
        for row in clusters.iter_rows(named=True)
        for name in ("cluster_index", "stability", "null_mean", "null_high")
    }
    for row in read_table(published.path("enrichment.parquet"), ENRICHMENT).iter_rows(named=True):
        name = f"{row['resolution']} {row['cluster_index']} {row['set_id']}"
        numbers |= {f"{name} {key}": row[key] for key in ("n_overlap", "p_hypergeometric", "p_permutation", "q_value")}
    return numbers


def hit_numbers(scored):
    published = scored.lake.current("active_perturbations", "SIM", "good.v1")
    hits = read_table(published.path("hits.parquet"), HITS)
    scores = read_table(published.path("active_scores.parquet"), ACTIVE_SCORES)
    columns = ("activity", "activity_p_value", "distance_sd", "distance_sd_low", "magnitude_high", "is_active")
    numbers = {f"{row['perturbation_id']} {name}": row[name] for row in hits.to_dicts() for name in columns}
    return numbers | {
        f"{row['metric']} {name}": row[name] for row in scores.to_dicts() for name in ("value", "p_value")
    }


def leaderboard_numbers(scored):
    published = scored.make("leaderboard")
    rows = read_table(published.path("leaderboard.parquet"), LEADERBOARD)
    found = read_table(published.path("differences.parquet"), DIFFERENCES)
    numbers = {}
    for row in rows.iter_rows(named=True):
        name = f"{row['benchmark_name']} {row['model_key']}"
        numbers |= {f"{name} rank": row["rank"], f"{name} value": row["value"], f"{name} is_stale": row["is_stale"]}
    for row in found.iter_rows(named=True):
        name = f"{row['benchmark_name']} {row['model_key_a']} {row['model_key_b']}"
        columns = ("difference", "interval_low", "interval_high", "p_value", "q_value")
        numbers |= {f"{name} {column}": row[column] for column in columns}
    return numbers


def report_numbers(scored):
    """How many numbers each chart shows, and their sum; wording and looks do not count."""
    page = scored.make("model_report", "good.v1").path("report.html").read_text()
    specs = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    specs = [spec for spec in specs if "datasets" in json.loads(spec)]
    assert len(specs) > 10
    numbers = {}
    for place, spec in enumerate(specs):
        shown = [
            value
            for rows in json.loads(spec)["datasets"].values()
            for row in rows
            for value in row.values()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        numbers |= {f"chart {place} count": len(shown), f"chart {place} sum": float(np.abs(shown).sum())}
    return numbers


def gate_numbers(scored):
    numbers = {}
    scored.registry.move_alias("champion", "fair.v1")
    for candidate in ("blind.v1", "good.v1"):
        published = scored.make("production_model", candidate=candidate)
        numbers[f"{candidate} is_promoted"] = published.record.summary["decision"] == "promoted"
        for row in read_table(published.path("comparisons.parquet"), GATE).iter_rows(named=True):
            name = f"{candidate} {row['benchmark_name']}"
            numbers |= {f"{name} {key}": row[key] for key in ("gain", "p_value", "largest_p_value", "is_passed")}
    return numbers


def embedding_numbers(screened, save_network, folder):
    """Of a tiny network of random weights in float32."""
    store = open_store(screened.lake, screened.lake.records().need("plate_store", "HUVEC-1"))
    encoder = load_encoder(save_network(folder / "model", seed=5))
    assert isinstance(encoder, NetworkEncoder)
    encoder.compute_in("fp32")
    found = embed_store(store, encoder, screened.lake.root.parent / "golden", model_key="golden.v1")
    paths = [screened.lake.root.parent / "golden" / name for name in found.names]
    table = pl.concat([read_table(path, SITE_EMBEDDINGS) for path in paths])
    sums = np.abs(vectors(table).astype(float)).sum(axis=0)
    return {f"feature {place}": value for place, value in enumerate(sums)}


@pytest.fixture(scope="module")
def found(scored, screened, save_network, tmp_path_factory):
    """Inputs and numbers by stage."""
    copy = scored.copy(tmp_path_factory.mktemp("golden") / "home")
    clustered = scored.copy(tmp_path_factory.mktemp("golden_clusters") / "home")
    screen = screened.copy(tmp_path_factory.mktemp("golden_screen") / "home")
    wells = read_table(
        copy.lake.current("perturbation_map", "SIM", "good.v1").path("wells_raw.parquet"), WELL_EMBEDDINGS
    )
    records = [one for one in copy.lake.records() if one.kind.startswith("benchmark/")]
    scores = sorted((one.kind, one.keys, one.summary(stages()[one.kind].summary).value) for one in records)
    sites = open_store(screen.lake, screen.lake.records().need("plate_store", "HUVEC-1")).sites
    numbers = {
        "perturbation_map": (frame_fingerprint(wells.drop("embedding")), map_numbers(copy)),
        "active_perturbations": (frame_fingerprint(wells.drop("embedding")), hit_numbers(copy)),
        "leaderboard": (str(scores), leaderboard_numbers(copy)),
        "map_clusters": (frame_fingerprint(wells.drop("embedding")), cluster_numbers(clustered)),
        "model_report": (str(scores), report_numbers(copy)),
        "production_model": (str(scores), gate_numbers(copy)),
        "site_embeddings": (
            frame_fingerprint(sites.drop("channel_mean", "channel_std")),
            embedding_numbers(screen, save_network, tmp_path_factory.mktemp("network")),
        ),
    }
    return {
        stage: {
            "code_version": VERSIONS[stage],
            "inputs": inputs if len(inputs) <= 32 else f"{frame_fingerprint(pl.DataFrame({'inputs': [inputs]}))}",
            "numbers": {name: None if value is None else float(value) for name, value in its.items()},
        }
        for stage, (inputs, its) in numbers.items()
    }


MISSING = float("inf")  # of a name that only the stored or only the new numbers have


def fault(stage, stored, now):
    """What is wrong with the stored version and numbers of a stage; None where they are those of the code."""
    if stored is None:
        return f"{stage} has no golden values: write them with {WRITE}"
    tolerance = TOLERANCE.get(stage, 1e-6)
    changed = [
        name
        for name in sorted(stored["numbers"].keys() | now["numbers"].keys())
        if now["numbers"].get(name, MISSING)
        != pytest.approx(stored["numbers"].get(name, MISSING), rel=tolerance, abs=1e-9)
    ]
    if stored["code_version"] != now["code_version"]:
        return f"the code version of {stage} was raised: write the golden values again with {WRITE}"
    if changed and stored["inputs"] == now["inputs"]:
        return (
            f"numbers of {stage} changed ({', '.join(changed[:5])}): raise CODE_VERSION in "
            f"cellassets/stages/{stage}.py, so that what is published is made again, and write the golden "
            f"values with {WRITE}"
        )
    return f"the simulated inputs of {stage} changed: write the golden values again with {WRITE}" if changed else None


@pytest.mark.parametrize("stage", sorted(VERSIONS))
def test_numbers_change_only_with_the_code_version(stage, found, request):
    stored = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    wrong = fault(stage, stored.get(stage), found[stage])
    if wrong and request.config.getoption("write_golden") and not wrong.startswith("numbers of"):
        GOLDEN.write_text(json.dumps({**stored, stage: found[stage]}, indent=1, sort_keys=True) + "\n")
        pytest.skip(f"golden values of {stage} were written")
    assert wrong is None, wrong


def test_every_stage_has_golden_values_here_or_elsewhere():
    own = {name for name in stages() if not name.startswith("benchmark/")}
    assert own == set(VERSIONS) | ELSEWHERE
    assert sorted(json.loads(GOLDEN.read_text())) == sorted(VERSIONS)


def test_other_numbers_under_the_same_version_are_a_fault_that_says_what_to_do():
    stored = {"code_version": "1", "inputs": "a", "numbers": {"x": 0.5}}
    other = {"code_version": "1", "inputs": "a", "numbers": {"x": 0.5001}}
    assert fault("leaderboard", stored, stored) is None
    assert fault("leaderboard", stored, other).startswith(
        "numbers of leaderboard changed (x): raise CODE_VERSION in cellassets/stages/leaderboard.py"
    )
    assert "inputs of leaderboard changed" in fault("leaderboard", stored, {**other, "inputs": "b"})
    assert "was raised" in fault("leaderboard", stored, {**other, "code_version": "2"})
    more = {"code_version": "1", "inputs": "a", "numbers": {"x": 0.5, "y": 0.1}}
    assert "changed (y)" in fault("leaderboard", stored, more)
    assert "has no golden values" in fault("leaderboard", None, other)
