"""The numbers of every benchmark on one stored map change only together with its `code_version`.

`data/code_versions.json` holds the version (`ROWS_VERSION` before it, which all benchmarks share) and the numbers. The
map itself is stored in `data/fixed_map`, so a change of the simulation or of alignment does not count. After raising a
`code_version`, write the numbers again:

    CELLASSETS_WRITE_GOLDEN=1 .venv/bin/python -m pytest tests/benchmarks/test_code_versions.py

That refuses to write numbers that changed under the same version.
"""

import json
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from upath import UPath

from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.parts import Part
from cellassets.benchmarks.registry import OWN
from cellassets.benchmarks.replicates import consistency
from cellassets.benchmarks.scoring import ScoreLabels, score_judged
from cellassets.knowledge.annotations import read_annotations
from cellassets.mapping.build import MapParameters

DATA = Path(__file__).parent / "data"
STORED = DATA / "code_versions.json"
WRITE = "CELLASSETS_WRITE_GOLDEN=1 .venv/bin/python -m pytest tests/benchmarks/test_code_versions.py"
COLUMNS = (
    *("value", "null_mean", "null_low", "null_high", "p_value", "interval_low", "interval_high"),
    *("z_score", "effect_size"),
)


def fault(name, stored, found):
    """What is wrong with a benchmark's stored version and numbers; None where they are those of the code."""
    if stored is None:
        return f"{name} has no golden values: write them with {WRITE}"
    are_numbers_equal = stored["values"].keys() == found["values"].keys() and all(
        stored["values"][key] == pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True)
        for key, value in found["values"].items()
    )
    is_version_equal = stored["code_version"] == found["code_version"]
    if not are_numbers_equal and is_version_equal:
        return f"numbers changed: raise code_version of {name} and write the golden values again with {WRITE}"
    if not is_version_equal:
        return f"code_version of {name} changed: write the golden values again with {WRITE}"
    return None


def with_positive_controls(judged):
    """The map with three compounds at their largest dose as positive controls; it was stored without any."""
    names = ["CMPD000@10uM", "CMPD001@10uM", "CMPD002@10uM"]
    kind = pl.when(pl.col("perturbation_id").is_in(names)).then(pl.lit("positive")).otherwise("control_kind")
    wells = judged.wells.with_columns(kind.alias("control_kind"))
    assert (wells["control_kind"] == "positive").sum() > 3
    return replace(judged, wells=wells)


def numbers_of(benchmark, judged):
    """The summary rows, the sums of all other rows, and the published statistics; by name."""
    parameters = benchmark.parameters(n_permutations=99)
    if benchmark.name == "proximity_bias":
        parameters = benchmark.parameters(n_permutations=99, min_genes=4)
    if benchmark.name == "positive_controls":
        judged = with_positive_controls(judged)
    scored = score_judged(
        benchmark, judged, parameters, ScoreLabels("D", "w", "p", "m.v1", Part("all", "unseen_experiments", ("E1",)))
    )
    values = defaultdict(float)
    for row in scored.scores.iter_rows(named=True):
        if row["level"] == "summary":
            values |= {f"{row['metric']} {column}": row[column] for column in COLUMNS if row[column] is not None}
        else:
            for column in ("value", "null_mean", "p_value", "q_value"):
                values[f"units {row['metric']} {column}"] += row[column]
    for number, row in enumerate(scored.influences.iter_rows(named=True)):
        values[f"influences {row['metric']}"] += (1 + number % 7) * row["influence"]  # their plain sum may be 0
    for row in scored.published.iter_rows(named=True):
        values[f"published {row['statistic']}"] = row["value"]
    return {"code_version": benchmark.version, "values": dict(values)}


@pytest.fixture(scope="module")
def fixed_map():
    folder = DATA / "fixed_map"
    return judged_map(
        pl.read_parquet(folder / "wells.parquet"),
        pl.read_parquet(folder / "map.parquet"),
        parameters=MapParameters(),
        annotations=read_annotations(UPath(folder), ("pairs", "sets", "targets", "gene_arms")),
        other_maps={"OTHER": pl.read_parquet(folder / "other_map.parquet")},
    )


@pytest.mark.parametrize("name", sorted(OWN))
def test_numbers_change_only_with_the_code_version(fixed_map, name):
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    found = numbers_of(OWN[name], fixed_map)
    assert found["values"]
    wrong = fault(name, stored.get(name), found)
    if wrong and os.environ.get("CELLASSETS_WRITE_GOLDEN") and not wrong.startswith("numbers changed"):
        STORED.write_text(json.dumps({**stored, name: found}, indent=1, sort_keys=True) + "\n")
        pytest.skip(f"golden values of {name} were written")
    assert wrong is None, wrong


def test_golden_values_are_those_of_registered_benchmarks():
    assert sorted(json.loads(STORED.read_text())) == sorted(OWN)


def test_other_numbers_under_the_same_version_are_a_fault():
    stored = {"code_version": "1", "values": {"magnitude value": 0.5}}
    other = {"code_version": "1", "values": {"magnitude value": 0.5001}}
    more = {"code_version": "1", "values": {"magnitude value": 0.5, "magnitude p_value": 0.01}}
    for found in (other, more):
        assert fault("x", stored, found).startswith("numbers changed: raise code_version of x and write the golden")
    assert fault("x", stored, stored) is None


def test_another_version_with_the_old_golden_values_is_a_fault():
    stored = {"code_version": "1", "values": {"magnitude value": 0.5}}
    for value in (0.5, 0.7):
        found = {"code_version": "2", "values": {"magnitude value": value}}
        assert fault("x", stored, found).startswith("code_version of x changed: write the golden values again")
    assert fault("x", None, stored).startswith("x has no golden values")


def test_a_changed_statistic_is_noticed(fixed_map, monkeypatch):
    chosen = OWN["perturbation_consistency"]
    stored = numbers_of(chosen, fixed_map)
    mean_cosines = consistency.mean_cosines
    monkeypatch.setattr(consistency, "mean_cosines", lambda wells, units: mean_cosines(wells, units) ** 3)
    assert fault(chosen.name, stored, numbers_of(chosen, fixed_map)).startswith("numbers changed")
