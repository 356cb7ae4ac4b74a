"""Every check of the asset graph passes on sound artefacts and fails on faulty ones.

A test with the decorator `fails` returns the result of a check on a faulty artefact; the decorator asserts that it
failed. The last tests hold `FAILS` and docs/checks.md to the checks of the graph. Checks of benchmarks fail in
`test_benchmark_checks.py`.
"""

import re
from functools import wraps
from pathlib import Path

import dagster as dg
import imagecodecs
import numpy as np
import polars as pl
import pytest
import yaml
from pydantic import RootModel

from assets import (
    active_perturbations,
    checkpoint,
    leaderboard,
    map_clusters,
    model_report,
    perturbation_map,
    plate_quality,
    plate_store,
    production_model,
    raw_plates,
    search,
    site_embeddings,
)
from assets.checks import at_partition
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.clustering.map_clusters import cluster_map
from cellassets.clustering.parameters import ClusterParameters
from cellassets.clustering.summary import MapClustersSummary, ResolutionSummary
from cellassets.definitions import build_definitions
from cellassets.hits.summary import ActivePerturbationsSummary
from cellassets.judging.production import Override
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
from cellassets.storage.lake import Published
from cellassets.storage.plan import Plan
from cellassets.studies.simulated import SIMULATED_MAP, simulate_map
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.parquet import read_table, with_vectors
from cellassets.tables.schemas import BATCH_EFFECT, FINDINGS, LEADERBOARD
from cellassets.training.search_summary import SearchSummary, VariantRow
from cellassets.training.summary import CheckpointSummary
from resources.places import DeploymentResource

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"
DEFINITIONS = build_definitions()
CHECK_KEYS = DEFINITIONS.resolve_asset_graph().asset_check_keys
GRAPH = {f"{key.asset_key.to_user_string()}:{key.name}" for key in CHECK_KEYS}
FAILS: dict[str, set[str]] = {}  # check to the tests in which it fails
SEVERITIES: dict[str, set[str]] = {}  # check name to what the failing tests were given


def fails(*checks, severity="WARN"):
    """Registers a test in which checks fail, and asserts that the result that it returns is a failure."""

    def register(test):
        for check in checks:
            FAILS.setdefault(check, set()).add(test.__name__)
            SEVERITIES.setdefault(check, set()).add(severity)

        @wraps(test)
        def run(**fixtures):
            result = test(**fixtures)
            assert not result.passed
            assert result.check_name in {check.split(":")[1] for check in checks}
            assert result.severity.value == severity

        return run

    return register


class Place:
    """A deployment whose landing zone is `zone`."""

    def __init__(self, home, policy):
        self.deployment = Deployment.of({}, home=home, configs=home / "configs")
        (home / "configs").mkdir()
        (home / "configs" / "policy.yaml").write_text(yaml.safe_dump({"ingest": policy.model_dump(mode="json")}))

    def make(self, name, *keys):
        stage = stage_named(name)
        return carry_out(stage, self.deployment, stage.by_axis(keys))


@pytest.fixture
def place(tmp_path, policy, zone):  # noqa: ARG001  the landing zone is part of the deployment
    return Place(tmp_path, policy)


@pytest.fixture
def scored_copy(scored, tmp_path):
    return scored.copy(tmp_path / "home")


def findings_check(place):
    published = place.make("raw_plates", "E-1")
    return raw_plates.check_findings(read_table(published.path("findings.parquet"), FINDINGS), is_refused=False)


def test_whole_images_pass(zone, place):
    zone.land()
    assert findings_check(place).passed


@fails(f"raw_plates:{raw_plates.CHECK}")
def test_a_missing_image_fails(zone, place):
    (zone.land() / "Plate1/B02_s1_w1.png").unlink()
    return findings_check(place)


@fails(f"raw_plates:{raw_plates.CHECK}", severity="ERROR")
def test_a_refused_experiment_fails(zone, place):
    for image in zone.land().glob("Plate?/*_w1.png"):
        image.write_bytes(b"not an image")
    resources = {"deployment": DeploymentResource.of(place.deployment)}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("experiment", ["E-1"])
        done = dg.materialize(
            [raw_plates.raw_plates], instance=instance, partition_key="E-1", resources=resources, raise_on_error=False
        )
    assert not done.success
    (evaluation,) = done.get_asset_check_evaluations()
    assert evaluation.metadata["partition"].value == "E-1"
    return evaluation


def pixel_check(place):
    return plate_store.check_pixels(place.deployment, place.deployment.lake.current("plate_store", "E-1"))


@pytest.fixture
def packed(zone, place):
    """A landed experiment that is packed; returns its landing folder."""
    folder = zone.land()
    place.make("raw_plates", "E-1")
    place.make("plate_store", "E-1")
    return folder


def test_a_store_of_the_landed_images_passes(packed, place):
    assert packed.is_dir()
    result = pixel_check(place)
    assert result.passed
    assert result.metadata["n_compared"].value == 12


def test_a_store_is_compared_with_the_manifest_that_it_was_made_from(packed, place, publish_newer):
    assert packed.is_dir()
    exchanged = {"Plate1/B02_s1_w1.png": "Plate1/B02_s2_w1.png"}
    newer = {"images.parquet": lambda images: images.with_columns(pl.col("path").replace(exchanged))}
    publish_newer(place.deployment, "raw_plates", "E-1", change=newer)
    assert pixel_check(place).passed


@fails(f"plate_store:{plate_store.CHECK}", severity="ERROR")
def test_an_image_that_changed_after_packing_fails(zone, packed, place):
    name = "Plate2/C03_s2_w3.png"
    (packed / name).write_bytes(imagecodecs.png_encode(255 - zone.pixels(packed, name)))
    result = pixel_check(place)
    assert result.metadata["differing"].value == "Plate2 C03 site 2"
    return result


@fails(f"plate_store:{plate_store.CHECK}", severity="ERROR")
def test_a_store_whose_images_were_removed_fails(packed, place):
    (packed / "Plate2/C03_s2_w3.png").unlink()
    result = pixel_check(place)
    assert "not compared" in result.description
    return result


@fails(f"plate_store:{plate_store.CHECK}", severity="ERROR")
def test_a_store_with_a_damaged_shard_fails(packed, place):
    assert packed.is_dir()
    store = place.deployment.lake.current("plate_store", "E-1")
    path = store.path(next(name for name in store.names if "/c/" in name))
    path.write_bytes(path.read_bytes()[:-30])
    return pixel_check(place)


def flag_check(place):
    summary = place.make("plate_quality", "E-1").record.summary
    return plate_quality.check_flags(summary["n_flagged"], summary["n_sites"])


def test_sites_like_the_rest_of_their_plate_pass(packed, place):
    assert packed.is_dir()
    assert flag_check(place).passed


@fails(f"plate_quality:{plate_quality.CHECK}")
def test_a_saturated_plate_fails(zone, place):
    for number, path in enumerate(zone.land().glob("Plate1/*_w2.png")):
        overexposed = np.full(zone.size, 255, np.uint8)
        overexposed[0, number] = 0  # each image differs from the others
        path.write_bytes(imagecodecs.png_encode(overexposed))
    place.make("raw_plates", "E-1")
    place.make("plate_store", "E-1")
    result = flag_check(place)
    assert result.metadata["flagged_frac"].value >= 0.5
    return result


def test_a_fifth_of_the_sites_may_be_flagged_and_no_more():
    assert plate_quality.check_flags(2, 10).passed
    assert not plate_quality.check_flags(3, 10).passed
    assert not plate_quality.check_flags(0, 0).passed, "nothing was measured"


def trained(**numbers):
    return CheckpointSummary(
        model_key="m.v1", model_fingerprint="of m", run_id="1", metrics={}, n_train_sites=100, **numbers
    )


def test_a_network_above_chance_and_a_classical_encoder_pass():
    assert checkpoint.check_accuracy(trained(validation_accuracy=0.11, chance_accuracy=0.10)).passed
    classical = CheckpointSummary(model_key="m.v1", model_fingerprint="of m", run_id="1", metrics={})
    assert checkpoint.check_accuracy(classical).passed


def test_the_curves_and_the_speed_of_a_training_are_metadata():
    history = [
        {
            "epoch": float(number),
            "train_loss": 1 / number,
            "sites_per_second": 100.0 * number,
            "data_wait_frac": 0.02,
            "peak_memory_gib": 1.5,
            **({} if number % 10 else {"validation_accuracy": 0.4, "chance_accuracy": 0.1}),
        }
        for number in range(1, 301)
    ]
    found = checkpoint.describe_training(history)
    assert (found["sites_per_second"], found["data_wait_frac"], found["peak_memory_gib"]) == (15050.0, 0.02, 1.5)
    assert found["training_curves"].md_str.startswith("![Training curves](data:image/svg+xml;base64,"), "it is small"
    assert checkpoint.describe_training([]) == {}, "a classical encoder, and trainings of earlier versions"


def test_a_checkpoint_links_to_its_run_where_mlflow_can_be_reached(tmp_path):
    places = Deployment.of({"CELLASSETS_HOME": str(tmp_path), "CELLASSETS_MLFLOW_URL": "https://mlflow.example/"})
    found = checkpoint.link_to_run(DeploymentResource.of(places), "1a")
    assert found["mlflow"].url == "https://mlflow.example/#/runs/1a"
    assert checkpoint.link_to_run(DeploymentResource.of(places), None) == {}
    assert checkpoint.link_to_run(DeploymentResource.of(Deployment.of({}, home=tmp_path)), "1a") == {}


@pytest.mark.parametrize("accuracy", [0.05, 0.10, float("nan"), None])
@fails(f"checkpoint:{checkpoint.CHECK}")
def test_a_network_without_an_accuracy_above_chance_fails(accuracy):
    return checkpoint.check_accuracy(trained(validation_accuracy=accuracy, chance_accuracy=0.10))


def test_a_stopped_variant_passes_and_a_diverged_one_does_not():
    decision = {"rule": "median", "metric": "validation_accuracy", "epoch": 8, "value": 0.1, "compared_with": 0.3}
    stopped = CheckpointSummary(run_id="1", metrics={}, stopped={**decision, "n_siblings": 3})
    found = checkpoint.check_accuracy(stopped)
    assert (found.passed, "stopped after epoch 8 by the rule median" in found.description) == (True, True)
    assert not checkpoint.check_accuracy(CheckpointSummary(run_id="1", metrics={}, diverged="loss is nan")).passed


@fails(f"search:{search.CHECK}")
def test_a_variant_without_a_result_fails():
    rows = [{"name": "wide-a", "values": {}, "state": "trained", "value": 0.4}, {"name": "wide-b", "values": {}}]
    numbers = {"method": "list", "metric": "validation_accuracy", "n_variants": 2, "n_stopped": 0, "n_failed": 0}
    summary = SearchSummary(**numbers, n_open=1, n_trained=1, variants=rows)
    assert search.check_variants(summary).passed
    lost = {**rows[1], "state": "diverged", "note": "loss is nan"}
    result = search.check_variants(summary.model_copy(update={"variants": (VariantRow(**lost),)}))
    assert result.description == "wide-b: loss is nan"
    return result


def test_different_vectors_pass(simulate):
    embedded = simulate(n_batches=1).lake.current("site_embeddings", "SIM-1", "m.v1")
    assert site_embeddings.check_vectors(embedded).passed


@pytest.mark.parametrize("noise", [0.0, 1e-7], ids=["equal", "almost equal"])
@fails(f"site_embeddings:{site_embeddings.CHECK}")
def test_a_collapsed_encoder_fails(simulate, publish_newer, noise):
    simulated = simulate(n_batches=1)
    rng = np.random.default_rng(0)

    def collapse(table):
        return with_vectors(table.drop("embedding"), 3.0 + noise * rng.standard_normal((table.height, 8)))

    names = simulated.lake.current("site_embeddings", "SIM-1", "m.v1").names
    change = dict.fromkeys(names, collapse)
    publish_newer(simulated.deployment, "site_embeddings", "SIM-1", "m.v1", change=change)
    return site_embeddings.check_vectors(simulated.lake.current("site_embeddings", "SIM-1", "m.v1"))


@pytest.fixture
def batch_effect(scored):
    published = scored.lake.current("perturbation_map", "SIM", "good.v1")
    return read_table(published.path("batch_effect.parquet"), BATCH_EFFECT)


def test_an_alignment_that_removes_batch_effects_passes(batch_effect):
    assert perturbation_map.check_batch_effect(batch_effect).passed


@fails(f"perturbation_map:{perturbation_map.CHECK}")
def test_an_alignment_that_adds_a_batch_effect_fails(batch_effect):
    assert batch_effect["step"][0] == "raw"
    return perturbation_map.check_batch_effect(batch_effect.reverse())


def test_a_batch_effect_that_was_not_measured_passes_and_says_so(batch_effect):
    result = perturbation_map.check_batch_effect(batch_effect.filter(pl.col("metric") != "batch_accuracy"))
    assert result.passed
    assert "not measured" in result.description


def placed(scored, **changes):
    summary = scored.lake.current("perturbation_map", "SIM", "good.v1").record.summary
    return perturbation_map.check_positions(PerturbationMapSummary.model_validate({**summary, **changes}))


def test_replicates_at_several_positions_and_a_position_step_pass(scored):
    assert placed(scored, one_place_frac=0.1, other_plate_distance_frac=1.0).passed
    assert placed(scored, has_position_step=True).passed


@fails(f"perturbation_map:{perturbation_map.POSITION_CHECK}")
def test_replicates_at_one_position_fail(scored):
    return placed(scored)


def test_replicates_at_near_positions_of_different_plates_fail(scored):
    assert not placed(scored, one_place_frac=0.0).passed


def neighbours(scored, **changes):
    summary = scored.lake.current("perturbation_map", "SIM", "good.v1").record.summary
    return perturbation_map.check_neighbours(PerturbationMapSummary.model_validate({**summary, **changes}))


@pytest.mark.parametrize(
    "found",
    [
        {},  # one well of every perturbation per plate
        {"same_plate_distance_frac": 0.98, "same_plate_distance_p_value": 0.005},
        {"same_plate_distance_frac": 0.3, "same_plate_distance_p_value": 0.2},  # of a few wells
    ],
)
def test_replicates_as_far_from_each_other_as_by_chance_pass(scored, found):
    assert neighbours(scored, **found).passed


@fails(f"perturbation_map:{perturbation_map.NEIGHBOUR_CHECK}")
def test_replicates_on_neighbouring_wells_fail(scored):
    found = neighbours(scored, same_plate_distance_frac=0.12, same_plate_distance_p_value=0.005, has_position_step=True)
    assert "12% as far from each other as in a random layout" in found.description
    assert "is_one_well_per_plate: true" in found.description
    return found


RESOLUTION = ResolutionSummary(
    resolution=5, n_clusters=40, n_tested=40, n_enriched=9, n_of_one_arm=4, n_of_one_plate=4,
    adjusted_rand=0.3, null_adjusted_rand=0.1, p_value=0.05, stable_frac=0.4,
)  # fmt: skip


def clusters_with(**changes):
    """The summary of clusters at two resolutions; the changes are those of the second one."""
    coarse = RESOLUTION.model_copy(update={"resolution": 15, "p_value": 0.4})
    return MapClustersSummary(n_perturbations=200, resolutions=(RESOLUTION, coarse.model_copy(update=changes)))


def test_clusters_that_are_found_again_at_one_resolution_pass():
    result = map_clusters.check_stability(clusters_with())
    assert result.passed
    assert result.description == "p = 0.05 at 5, p = 0.4 at 15"
    assert map_clusters.check_confounders(clusters_with()).passed


def test_a_map_that_cannot_be_clustered_passes_and_says_so():
    refused = MapClustersSummary(does_not_apply="the map has collapsed")
    for check in (map_clusters.check_stability, map_clusters.check_confounders):
        assert check(refused).passed
        assert check(refused).description == "does not apply: the map has collapsed"


@fails(f"map_clusters:{map_clusters.STABILITY_CHECK}")
def test_clusters_that_noise_would_repeat_as_well_fail():
    summary = clusters_with()
    weak = tuple(row.model_copy(update={"p_value": 0.06}) for row in summary.resolutions)
    return map_clusters.check_stability(summary.model_copy(update={"resolutions": weak}))


@fails(f"map_clusters:{map_clusters.STABILITY_CHECK}")
def test_clusters_without_a_stability_fail():
    missing = {"stability_missing": "0 of 60 perturbations have two wells or more"}
    return map_clusters.check_stability(clusters_with(p_value=None).model_copy(update=missing))


@fails(f"map_clusters:{map_clusters.CONFOUNDER_CHECK}")
def test_clusters_that_are_plates_fail():
    """The clusters of an unaligned map whose genes are in one batch each."""
    design = SimulatedWells(n_batches=4, n_batches_per_treatment=1, n_complexes=0, n_lone_genes=100, gene_effect=0.0)
    judged = simulate_map(design, parameters=SIMULATED_MAP.model_copy(update={"steps": ()}))
    return map_clusters.check_confounders(cluster_map(judged, ClusterParameters(n_resamples=19)).summary)


@fails(f"map_clusters:{map_clusters.CONFOUNDER_CHECK}")
def test_clusters_that_are_chromosome_arms_fail():
    return map_clusters.check_confounders(clusters_with(n_of_one_arm=5))


def map_partition(asset, deployment):
    """Returns the run that materialises an asset of one dataset and one model."""
    with dg.DagsterInstance.ephemeral() as instance:
        for axis, key in (("dataset", "SIM"), ("model", "good.v1")):
            instance.add_dynamic_partitions(axis, [key])
        resources = {"deployment": DeploymentResource.of(deployment)}
        return dg.materialize([asset], instance=instance, partition_key="SIM|good.v1", resources=resources)


@fails(f"map_clusters:{map_clusters.STABILITY_CHECK}", f"map_clusters:{map_clusters.CONFOUNDER_CHECK}")
def test_clusters_of_a_dataset_without_a_map_fail(tmp_path):
    done = map_partition(map_clusters.map_clusters, Deployment.of({}, home=tmp_path, configs=tmp_path / "configs"))
    evaluations = done.get_asset_check_evaluations()
    assert {found.check_name for found in evaluations} == {map_clusters.STABILITY_CHECK, map_clusters.CONFOUNDER_CHECK}
    assert not any(found.passed for found in evaluations)
    assert done.asset_materializations_for_node("map_clusters") == []
    return evaluations[0]


def test_clusters_are_shown_with_their_sets_and_a_picture(scored_copy):
    scored_copy.annotate("complexes", scored_copy.known.sets)
    done = map_partition(map_clusters.map_clusters, scored_copy.deployment)
    (made,) = done.asset_materializations_for_node("map_clusters")
    assert made.metadata["plot"].value.startswith("![stability of clusters](data:image/svg+xml;base64,")
    assert "| 5 | 6 |" in made.metadata["resolutions_table"].value
    assert "complex04" in made.metadata["enriched_sets"].value
    assert len(done.get_asset_check_evaluations()) == 2


def board_check(scored):
    rows = read_table(scored.make("leaderboard").path("leaderboard.parquet"), LEADERBOARD)
    return leaderboard.check_stale(rows)


def test_a_leaderboard_of_current_scores_passes(scored_copy):
    assert board_check(scored_copy).passed


@fails(f"leaderboard:{leaderboard.CHECK}")
def test_scores_with_earlier_settings_fail(scored_copy):
    scored_copy.set("benchmarks/perturbation_magnitude.yaml", {"n_permutations": 99})
    result = board_check(scored_copy)
    assert result.metadata["stale"].value.startswith("perturbation_magnitude/SIM/")
    return result


def page_check(place, body):
    lake = place.deployment.lake
    plan = Plan("model_report", ("m.v1",), {"body": body})
    with lake.draft(plan) as draft:
        draft.folder.mkdir(parents=True)
        (draft.folder / "report.html").write_text(f"<!doctype html><html><body>{body}</body></html>")
        record = draft.publish(["report.html"], RootModel({}))
    return model_report.check_page(Published(lake.artifact("model_report", "m.v1"), record))


def test_a_page_of_links_and_data_uris_passes(place):
    picture = "data:image/png;base64,iVBORw0KGgo="
    assert page_check(
        place,
        f'<a href="https://a.org/paper">paper</a><img src="{picture}"><style>p {{ background: url({picture}) }}</style>'
        "<script>const schema = 'https://vega.github.io/schema.json'</script>",
    ).passed


@pytest.mark.parametrize(
    "body",
    [
        '<script src="https://cdn.org/vega.js"></script>',
        '<style>@import "https://cdn.org/style.css";</style>',
        '<img src="http://a.org/map.png">',
        '<img srcset="map.png 2x">',
    ],
)
@fails(f"model_report:{model_report.CHECK}", severity="ERROR")
def test_a_page_that_loads_something_fails(place, body):
    return page_check(place, body)


CURIE = Override(approved_by="M. Curie", reason="the assay team needs its channel order")


def decide(scored, candidate, **options):
    return production_model.check_decision(scored.make("production_model", candidate=candidate, **options))


def test_a_model_that_passed_the_gate_passes_also_after_others_were_refused(scored_copy):
    nobody = decide(scored_copy, "blind.v1")
    assert nobody.passed
    assert nobody.description == "no model is in production"
    assert decide(scored_copy, "good.v1").passed
    refused = decide(scored_copy, "blind.v1")
    assert refused.passed
    assert refused.metadata["decision"].value == "kept"


@fails(f"production_model:{production_model.CHECK}")
def test_an_override_fails(scored_copy):
    return decide(scored_copy, "blind.v1", override=CURIE)


@fails(f"production_model:{production_model.CHECK}")
def test_an_overridden_model_fails_also_after_later_decisions_kept_it(scored_copy):
    decide(scored_copy, "good.v1")
    decide(scored_copy, "fair.v1", override=CURIE)
    result = decide(scored_copy, "blind.v1")
    assert result.metadata["decision"].value == "kept"
    assert result.description == "fair.v1 was overridden by M. Curie"
    assert decide(scored_copy, "good.v1").passed, "a model that passes the gate ends it"
    return result


@fails(f"production_model:{production_model.CHECK}")
def test_a_model_that_a_person_gave_the_alias_fails(scored_copy):
    scored_copy.registry.move_alias("champion", "good.v1")
    return decide(scored_copy, "blind.v1")


def hits_summary(scored, **changes):
    published = scored.lake.current("active_perturbations", "SIM", "good.v1")
    return ActivePerturbationsSummary.model_validate({**published.record.summary, **changes})


@fails(
    f"active_perturbations:{active_perturbations.TESTED_CHECK}",
    f"active_perturbations:{active_perturbations.PERMUTATIONS_CHECK}",
    f"active_perturbations:{active_perturbations.UNSEEN_CHECK}",
)
def test_hits_of_a_dataset_without_a_map_fail(tmp_path):
    deployment = Deployment.of({}, home=tmp_path, configs=tmp_path / "configs")
    done = map_partition(active_perturbations.active_perturbations, deployment)
    evaluations = done.get_asset_check_evaluations()
    assert len(evaluations) == 3
    assert not any(found.passed for found in evaluations)
    assert done.asset_materializations_for_node("active_perturbations") == []
    return evaluations[0]


def test_hits_of_perturbations_with_enough_wells_and_permutations_pass(scored):
    summary = hits_summary(scored, least_n_active=1)
    assert active_perturbations.check_tested(summary).passed
    assert active_perturbations.check_permutations(summary).passed
    assert active_perturbations.check_permutations(hits_summary(scored, n_tested=0, least_n_active=None)).passed


@fails(f"active_perturbations:{active_perturbations.TESTED_CHECK}")
def test_perturbations_without_enough_wells_fail(scored):
    result = active_perturbations.check_tested(
        hits_summary(scored, n_tested=25, not_tested={"fewer than two wells": 3})
    )
    assert result.description == "25 of 28 tested. 3: fewer than two wells"
    return result


@fails(f"active_perturbations:{active_perturbations.TESTED_CHECK}")
def test_a_map_of_which_nothing_was_tested_fails(scored):
    return active_perturbations.check_tested(hits_summary(scored, n_perturbations=0, n_tested=0))


@fails(f"active_perturbations:{active_perturbations.UNSEEN_CHECK}")
def test_hits_on_wells_of_the_training_fail(scored):
    assert active_perturbations.check_unseen(hits_summary(scored)).passed
    return active_perturbations.check_unseen(hits_summary(scored, exposure="training"))


@fails(f"active_perturbations:{active_perturbations.PERMUTATIONS_CHECK}")
def test_few_permutations_fail(scored):
    result = active_perturbations.check_permutations(hits_summary(scored))
    assert "Fewer than 3 active perturbations among 28 cannot be called" in result.description
    return result


def page_rows():
    """The rows of docs/checks.md: check, severities and tests by check."""
    rows = {}
    for line in PAGE.read_text().splitlines():
        asset, check, _, severity, tests = ([cell.strip() for cell in line.split("|")[1:-1]] + [""] * 5)[:5]
        if check.startswith("`"):
            names = BENCHMARKS if asset == "`benchmark/<name>`" else [None]
            found = set(severity.replace(",", " ").split()), set(re.findall(r"`(test_\w+)`", tests))
            rows |= {f"{f'benchmark/{name}' if name else asset.strip('`')}:{check.strip('`')}": found for name in names}
    return rows


OF_BENCHMARKS = {check for check in GRAPH if check.startswith("benchmark/")}


def test_every_check_of_the_graph_fails_in_a_test():
    assert set(FAILS) == GRAPH - OF_BENCHMARKS


def test_the_page_lists_every_check_with_its_severity_and_tests():
    rows = page_rows()
    assert set(rows) == GRAPH
    of_benchmarks = Path(__file__).with_name("test_benchmark_checks.py").read_text()
    for check, (severities, tests) in rows.items():
        assert tests, check
        if check in OF_BENCHMARKS:
            assert all(f"def {test}(" in of_benchmarks for test in tests), check
        else:
            assert severities == SEVERITIES[check], check
            assert tests <= FAILS[check], check


def test_no_check_has_partitions_and_a_result_names_its_own():
    """Dagster's webserver derives the state of partitioned checks from all results at every look at an asset."""
    specs = [DEFINITIONS.resolve_asset_graph().get_check_spec(key) for key in CHECK_KEYS]
    assert [spec.name for spec in specs if spec.partitions_def is not None] == []
    result = dg.AssetCheckResult(check_name="check", passed=True, metadata={"n": 1})
    told = at_partition(result, "E-1").metadata
    assert {name: value.value for name, value in told.items()} == {"n": 1, "partition": "E-1"}
    assert at_partition(result, "") == result
