"""`perturbation_map`: made once, made again when an input changes, and made from the inputs of its plan."""

import os

import numpy as np
import polars as pl
import pytest

from cellassets.errors import AlignmentError, CorruptArtifact, StaleArtifact
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.perturbation_map import map_protocol_fingerprint
from cellassets.stages.snapshot import NotReady
from cellassets.stages.stage import Context
from cellassets.stages.state import is_current, state_of
from cellassets.tables.parquet import read_table, vectors, with_vectors
from cellassets.tables.schemas import BATCH_EFFECT, PERTURBATION_MAP, WELL_EMBEDDINGS

NAME, KEYS = "perturbation_map", ("SIM", "m.v1")
FLAGGED = {("Plate1", "A01", 1), ("Plate1", "A02", 1), ("Plate1", "A02", 2)}
SCHEMAS = {
    "map.parquet": PERTURBATION_MAP,
    "wells.parquet": WELL_EMBEDDINGS,
    "wells_raw.parquet": WELL_EMBEDDINGS,
    "batch_effect.parquet": BATCH_EFFECT,
}


@pytest.fixture
def simulated(simulate):
    return simulate(seed=1)


def tables(published):
    return {name: read_table(published.path(name), schema) for name, schema in SCHEMAS.items()}


def test_a_map_has_one_row_per_gene_and_its_wells(simulated):
    published = simulated.make(NAME, *KEYS)
    found = tables(published)
    assert found["map.parquet"].height == 36 + 1
    assert found["map.parquet"].select("dataset_id", "model_key").unique().rows() == [KEYS]
    assert found["wells.parquet"].height == found["wells_raw.parquet"].height == 288
    assert vectors(found["map.parquet"]).shape[1] == vectors(found["wells.parquet"]).shape[1] == 12
    np.testing.assert_allclose(
        vectors(found["wells_raw.parquet"].sort("experiment_id", "plate_id", "well_id")),
        vectors(simulated.wells.sort("experiment_id", "plate_id", "well_id")),
        atol=1e-5,
    )
    summary = PerturbationMapSummary.model_validate(published.record.summary)
    assert summary.model_dump(mode="json", exclude_none=True) == published.record.summary
    assert (summary.n_perturbations, summary.n_controls_held_out) == (36, 36)
    assert summary.experiments == ("SIM-1", "SIM-2", "SIM-3")
    assert summary.dataset_fingerprint == published.record.inputs["dataset_fingerprint"]


def test_a_map_is_made_once_and_again_when_an_input_changes(simulated):
    first = simulated.make(NAME, *KEYS)
    assert simulated.make(NAME, *KEYS) == first
    simulated.judge_quality_again("SIM-1", FLAGGED)
    second = simulated.make(NAME, *KEYS).record
    assert (second.generation, second.summary["n_sites_flagged"], second.summary["n_wells_dropped"]) == (2, 3, 1)
    simulated.set("mapping.yaml", {"aggregation": "geometric_median", "steps": []})
    third = simulated.make(NAME, *KEYS).record
    assert third.fingerprint not in (first.record.fingerprint, second.fingerprint)


def test_the_same_inputs_give_equal_bytes(simulated):
    first = simulated.make(NAME, *KEYS)
    first.artifact.record_path(1).unlink()
    assert simulated.make(NAME, *KEYS).record.files == first.record.files


def test_missing_inputs_are_named_before_anything_is_read(simulated):
    with pytest.raises(NotReady, match=r"waits for site_embeddings of SIM-1\|n\.v1, SIM-2\|n\.v1"):
        simulated.plan(NAME, "SIM", "n.v1")


def test_a_dataset_without_a_usable_site_is_refused_and_publishes_nothing(simulated):
    for experiment_id in ("SIM-1", "SIM-2", "SIM-3"):
        every = {
            (row["plate_id"], row["well_id"], row["site_index"]) for row in simulated.sites(experiment_id).to_dicts()
        }
        simulated.judge_quality_again(experiment_id, every)
    with pytest.raises(AlignmentError, match="dataset SIM: no well of 3 experiments has a usable site"):
        simulated.make(NAME, *KEYS)
    assert simulated.lake.artifact(NAME, *KEYS).find_record() is None


def test_maps_of_one_protocol_differ_in_the_model_only(simulate):
    simulated = simulate(models={"m.v1": 2.0, "n.v1": 1.0})
    ours, theirs = (simulated.make(NAME, "SIM", key).record for key in ("m.v1", "n.v1"))
    assert ours.fingerprint != theirs.fingerprint
    assert ours.summary["protocol_fingerprint"] == theirs.summary["protocol_fingerprint"]
    assert map_protocol_fingerprint(open_snapshot(simulated.deployment), "SIM") == ours.summary["protocol_fingerprint"]
    simulated.judge_quality_again("SIM-1", FLAGGED)
    assert map_protocol_fingerprint(open_snapshot(simulated.deployment), "SIM") != ours.summary["protocol_fingerprint"]


def test_a_map_is_current_until_something_that_it_was_made_from_changes(simulated):
    assert state_of(open_snapshot(simulated.deployment), NAME, *KEYS).status == "due"
    simulated.make(NAME, *KEYS)
    assert is_current(open_snapshot(simulated.deployment), NAME, *KEYS)
    simulated.judge_quality_again("SIM-1", FLAGGED)
    waiting = state_of(open_snapshot(simulated.deployment), NAME, *KEYS)
    assert (waiting.status, waiting.blockers) == ("waiting", (("plate_quality", ("SIM-1",)),))


def shifted(table):
    values = vectors(table)
    return with_vectors(table.drop("embedding"), values + np.linspace(0, 5, len(values))[:, None])


def newer_wells(table):
    return table.with_columns(
        pl.when(pl.col("gene_symbol") == "GENE000")
        .then(pl.lit("GENE001"))
        .otherwise("gene_symbol")
        .alias("gene_symbol")
    )


def newer_quality(table):
    return table.with_columns((pl.col("well_id") < "A05").alias("is_flagged"))


@pytest.mark.parametrize(
    ("kind", "keys", "change"),
    [
        ("site_embeddings", ("SIM-1", "m.v1"), {"part-00000.parquet": shifted}),
        ("plate_quality", ("SIM-2",), {"quality.parquet": newer_quality}),
        ("raw_plates", ("SIM-3",), {"wells.parquet": newer_wells}),
    ],
)
def test_a_map_is_made_from_the_inputs_of_its_plan(simulated, made_from_pins, publish_newer, kind, keys, change):
    """The wells' fingerprints in the summary of a manifest change with the wells, as in a real one."""
    summary = {"wells_fingerprints": {}} if kind == "raw_plates" else None
    made_from_pins(
        simulated, NAME, KEYS, lambda: publish_newer(simulated.deployment, kind, *keys, change=change, summary=summary)
    )


ARMS = [{"kind": "centre_scale"}, {"kind": "chromosome_arm", "min_genes": 5}]


def arms(n_arms):
    rows = "\n".join(f"GENE{number:03d},{number % n_arms + 1}p" for number in range(36))
    return f"gene_symbol,chromosome_arm\n{rows}\n"


def test_a_map_reads_chromosome_arms_only_where_a_step_asks(simulated):
    assert "gene_arms" not in simulated.plan(NAME, *KEYS).inputs
    simulated.set("mapping.yaml", {"steps": ARMS})
    with pytest.raises(AlignmentError, match=r"no annotation source gene_arms .* the step chromosome_arm reads it"):
        simulated.plan(NAME, *KEYS)
    simulated.annotate("gene_arms", arms(2))
    first = simulated.make(NAME, *KEYS).record
    assert first.inputs["gene_arms"][0] == len(arms(2))
    simulated.annotate("gene_arms", arms(3))
    assert simulated.make(NAME, *KEYS).record.generation == 2


def test_arms_that_change_between_plan_and_alignment_are_refused(simulated):
    simulated.set("mapping.yaml", {"steps": ARMS})
    simulated.annotate("gene_arms", arms(2))
    plan = simulated.plan(NAME, *KEYS)
    simulated.annotate("gene_arms", arms(3))
    with pytest.raises(StaleArtifact, match="gene_arms changed since the plan"):
        stage_named(NAME).make(Context(simulated.deployment), plan)
    assert simulated.lake.artifact(NAME, *KEYS).find_record() is None


def test_settings_that_change_between_plan_and_alignment_change_nothing(simulated):
    plan = simulated.plan(NAME, *KEYS)
    simulated.set("mapping.yaml", {"steps": []})
    record = stage_named(NAME).make(Context(simulated.deployment), plan)
    assert (record.fingerprint, record.summary["embedding_dim"]) == (plan.fingerprint, 12)


def test_two_runs_at_once_publish_one_map(simulated, made_once_by_two):
    made_once_by_two(simulated, NAME, *KEYS)


def test_a_truncated_table_is_named_and_nothing_is_published(simulated):
    path = simulated.lake.current("site_embeddings", "SIM-1", "m.v1").path("part-00000.parquet")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorruptArtifact, match="part-00000"):
        simulated.make(NAME, *KEYS)
    assert simulated.lake.artifact(NAME, *KEYS).find_record() is None


def test_a_full_disk_leaves_nothing_visible(simulated, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        simulated.make(NAME, *KEYS)
    monkeypatch.undo()
    artifact = simulated.lake.artifact(NAME, *KEYS)
    assert artifact.find_record() is None
    assert list(artifact.data.iterdir()) == [], "nothing half done is left"
    assert simulated.make(NAME, *KEYS).record.generation == 1


def test_progress_counts_experiments_and_steps(simulated):
    told = []
    stage = stage_named(NAME)
    context = Context(simulated.deployment, lambda done, total, what, **_: told.append((done, total, what)))
    stage.make(context, simulated.plan(NAME, *KEYS))
    assert (3, 3, "wells of experiments read") in told
    assert told[-1] == (3, 3, "aligned: tvn")
