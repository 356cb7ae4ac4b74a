"""Profiles made elsewhere go the way of every model: embedded, mapped, scored, and compared on the leaderboard.

The model `m.v1` of a simulated deployment has two sites per well, 1 to either side of the well's vector. A table with
the vectors of the wells, and one with those of the sites, must therefore give the same map and the same scores.
"""

import json
from functools import partial

import numpy as np
import polars as pl
import pytest
import yaml

from assets.site_embeddings import check_vectors
from cellassets.encoders import embed
from cellassets.encoders.profiles import ProfilesEncoder
from cellassets.errors import ProfilesError, RegistryError
from cellassets.profiles.registering import register_profiles
from cellassets.registry.lineage import TrainedOn
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.models import active_models
from cellassets.tables.parquet import read_table, read_tables, vectors
from cellassets.tables.schemas import LEADERBOARD, PERTURBATION_MAP, SCORES, SITE_EMBEDDINGS, WELL_EMBEDDINGS

CONSISTENCY = "benchmark/perturbation_consistency"
KEYS = {"experiment_id": "Metadata_Batch", "plate_id": "Metadata_Plate", "well_id": "Metadata_Well"}
MANY = {"n_batches": 2, "gene_effect": 4.0}


def table_of(wells):
    """Profiles of wells, as pycytominer writes them."""
    values = vectors(wells).astype(float)
    features = {f"Cells_Texture_{number}": column for number, column in enumerate(values.T)}
    names = {name: wells[key] for key, name in KEYS.items()}
    return pl.DataFrame({**names, "Metadata_control_type": wells["control_kind"], **features})


def register(place, name, table, **declared):
    """Registers a table of profiles, and declares that nothing was trained for it."""
    folder = place.home / "tables"
    folder.mkdir(exist_ok=True)
    table.write_parquet(folder / f"{name}.parquet")
    file = folder / f"{name}.yaml"
    values = {"table": f"{name}.parquet", "rows": "well", "keys": KEYS, "steps": [], **declared}
    file.write_text(yaml.safe_dump(values))
    entry, _ = register_profiles(place.registry, file)
    place.registry.declare(entry.key, TrainedOn())
    return entry.key


def embed_all(place, model_key):
    return [place.make("site_embeddings", name, model_key) for name in ("SIM-1", "SIM-2")]


def sites_of(published):
    return read_tables([published.path(name) for name in published.names], SITE_EMBEDDINGS)


def map_of(place, model_key):
    published = place.make("perturbation_map", "SIM", model_key)
    return (
        read_table(published.path("map.parquet"), PERTURBATION_MAP),
        read_table(published.path("wells.parquet"), WELL_EMBEDDINGS),
    )


def scores_of(place, model_key):
    published = place.make(CONSISTENCY, "SIM", model_key)
    return read_table(published.path("scores.parquet"), SCORES)


def test_profiles_of_wells_and_of_sites_give_the_map_and_the_scores_of_the_same_vectors(simulate):
    place = simulate(**MANY)
    wells = table_of(place.wells)
    sites = pl.concat(
        wells.with_columns(pl.lit(site).alias("Metadata_Site"), pl.selectors.starts_with("Cells_") + shift)
        for site, shift in ((1, 1.0), (2, -1.0))
    )
    keys = [
        "m.v1",
        register(place, "of_wells", wells),
        register(place, "of_sites", sites, rows="site", keys={**KEYS, "site_index": "Metadata_Site"}),
    ]
    assert {entry.key for entry in active_models(open_snapshot(place.deployment))} == set(keys)
    for key in keys[1:]:
        assert [one.record.summary["precision"] for one in embed_all(place, key)] == ["fp32", "fp32"]
    units, aligned = zip(*(map_of(place, key) for key in keys), strict=True)
    scores = [scores_of(place, key) for key in keys]
    for found in (1, 2):
        np.testing.assert_allclose(vectors(units[found]), vectors(units[0]), rtol=1e-3, atol=1e-3)
        assert units[found]["n_wells"].equals(units[0]["n_wells"]), "a well counts once, whatever its sites"
        assert aligned[found].height == place.wells.height
        np.testing.assert_allclose(scores[found]["value"], scores[0]["value"], rtol=1e-3)
        np.testing.assert_allclose(scores[found]["p_value"], scores[0]["p_value"], atol=0.011)
    board = read_table(place.make("leaderboard").path("leaderboard.parquet"), LEADERBOARD)
    assert sorted(board["model_key"].unique()) == sorted(keys)
    assert not board["is_stale"].any()


def test_a_planted_effect_is_found_in_profiles_and_not_if_their_wells_are_mixed_up(simulate):
    place = simulate(**MANY)
    wells = table_of(place.wells)
    features = pl.selectors.starts_with("Cells_")
    mixed_up = pl.concat(
        [
            plate.select(~features).hstack(plate.select(features).sample(fraction=1.0, shuffle=True, seed=number))
            for number, (_, plate) in enumerate(wells.group_by("Metadata_Plate", "Metadata_Batch", maintain_order=True))
        ]
    )
    steps = [
        {"kind": "mad_robustize", "fit_on": "controls"},
        {"kind": "frequency_threshold"},
        {"kind": "correlation_threshold"},
    ]
    controls = {"column": "Metadata_control_type", "values": ["negative"]}
    p_values = {}
    for name, table in {"honest": wells, "mixed": mixed_up}.items():
        key = register(place, name, table, steps=steps, controls=controls)
        embed_all(place, key)
        place.make("perturbation_map", "SIM", key)
        p_values[name] = scores_of(place, key)["p_value"].to_numpy()
    assert np.median(p_values["honest"]) <= 0.02
    assert np.median(p_values["mixed"]) > 0.1


def test_each_site_has_the_vector_of_its_well_and_the_check_of_repeated_vectors_passes(simulate, monkeypatch):
    place = simulate(n_batches=1)
    monkeypatch.setattr(embed, "embed_store", partial(embed.embed_store, sites_per_part=20))
    key = register(place, "of_wells", table_of(place.wells))
    published = place.make("site_embeddings", "SIM-1", key)
    found = sites_of(published)
    assert found.height == 2 * place.wells.height
    assert found.select("plate_id", "well_id", "site_index").n_unique() == found.height
    expected = dict(zip(place.wells.select("plate_id", "well_id").rows(), vectors(place.wells), strict=True))
    for row, vector in zip(found.select("plate_id", "well_id").rows(), vectors(found), strict=True):
        np.testing.assert_array_equal(vector, expected[row])
    assert len(published.names) == -(-found.height // 20)
    assert check_vectors(published).passed


def test_the_same_table_is_the_same_version_and_the_model_says_what_was_done(simulate, tmp_path):
    place = simulate(n_batches=1)
    table = table_of(place.wells)
    constant = table.with_columns(pl.lit(1.0).alias("Nuclei_AreaShape_EulerNumber"))
    steps = [{"kind": "frequency_threshold"}]
    assert register(place, "jump", constant, steps=steps) == "jump.v1"
    assert register(place, "jump", constant, steps=steps) == "jump.v1"
    assert register(place, "jump", constant, steps=[*steps, {"kind": "standardize"}]) == "jump.v2"
    entry = place.registry.find("jump.v1")
    assert (entry.kind, entry.tags["table"]) == ("profiles", "jump.parquet")
    folder = place.registry.fetch("jump.v1", tmp_path / "fetched")
    assert sorted(path.name for path in folder.iterdir()) == ["encoder.json", "profiles.parquet"]
    described = json.loads((folder / "encoder.json").read_text())
    assert described["features"] == [name for name in table.columns if name.startswith("Cells_")]
    assert described["dropped"] == [{"step": "frequency_threshold", "features": ["Nuclei_AreaShape_EulerNumber"]}]


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (
            pl.col("Metadata_Batch") != "SIM-1",
            r"experiment SIM-1: its table .* has no row of this experiment; it has SIM-2",
        ),
        (pl.col("Metadata_Plate") != "Plate1", r"no row of plate Plate1; for this experiment it has Plate2\. Add"),
        (pl.col("Metadata_Well") != "A03", r"no row of 2 wells that landed: Plate1 A03, Plate2 A03\. Add them"),
    ],
    ids=["no experiment", "no plate", "no well"],
)
def test_what_a_table_lacks_is_named_and_nothing_is_published(simulate, kept, message):
    place = simulate(n_batches=2)
    wells = table_of(place.wells)
    key = register(place, "partial", wells.filter(kept))
    with pytest.raises(ProfilesError, match=message):
        place.make("site_embeddings", "SIM-1", key)
    assert place.lake.artifact("site_embeddings", "SIM-1", key).find_record() is None


@pytest.mark.parametrize(("level", "lacking"), [("wells", "A03"), ("sites", "B02 site 2")])
def test_what_may_lack_is_left_out_and_the_rest_is_mapped(simulate, caplog, level, lacking):
    place = simulate(n_batches=1)
    sites = table_of(place.wells).join(pl.DataFrame({"Metadata_Site": [1, 2]}), how="cross")
    well, _, site = lacking.partition(" site ")
    is_out = (pl.col("Metadata_Well") == well) & ((pl.col("Metadata_Site") == 2) | (not site))
    declared = {"rows": "site", "keys": {**KEYS, "site_index": "Metadata_Site"}}
    key = register(place, "strict", sites.filter(~is_out), **declared)
    with pytest.raises(ProfilesError, match=rf"no row of 2 {level} that landed: Plate1 {lacking}, Plate2 {lacking}"):
        place.make("site_embeddings", "SIM-1", key)
    key = register(place, "lenient", sites.filter(~is_out), may_lack=level, **declared)
    published = place.make("site_embeddings", "SIM-1", key)
    n_lacking = 2 if site else 4
    assert published.record.summary["n_sites"] == sites_of(published).height == sites.height - n_lacking
    assert f"{n_lacking} of {sites.height} sites have no row" in caplog.text
    assert place.make("perturbation_map", "SIM", key).record.summary["n_wells_dropped"] == (0 if site else 2)


def test_a_damaged_model_is_refused(simulate, tmp_path):
    place = simulate(n_batches=1)
    key = register(place, "jump", table_of(place.wells))
    folder = place.registry.fetch(key, tmp_path / "fetched")
    (tmp_path / "copy").mkdir()
    for path in folder.iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "copy" / "profiles.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(RegistryError, match=r"profiles\.parquet: .* register the profiles again"):
        ProfilesEncoder(tmp_path / "copy")
