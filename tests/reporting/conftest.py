"""Report pages of three models on simulated wells: one sees the biology well, one less, one not at all."""

import json
from dataclasses import dataclass

import polars as pl
import pytest

from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.parts import Part
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.scoring import ScoreLabels, score_judged
from cellassets.judging.comparison import compare_models
from cellassets.judging.gate import GatePolicy, Guard
from cellassets.judging.leaderboard import rank_models
from cellassets.mapping.aggregate import aggregate_wells
from cellassets.mapping.build import MapParameters, align_wells, map_held_out_controls
from cellassets.reporting.chart import Chart
from cellassets.reporting.page import DatasetPage, ModelFacts, ReportPage, render
from cellassets.studies.simulated import annotations_of
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import with_vectors

PARAMETERS = MapParameters.model_validate(
    {"steps": ({"kind": "pca", "n_components": 16}, {"kind": "centre_scale"}), "n_judged_wells": 100}
)
DESIGN = SimulatedWells(n_complexes=6, n_lone_genes=10)
EFFECTS = {"good.v1": 4.0, "fair.v1": 1.6, "blind.v1": 0.0}
POLICY = GatePolicy(
    deciding_datasets=("SIM",),
    guarded=(Guard(benchmark_name="perturbation_consistency"), Guard(benchmark_name="perturbation_magnitude")),
)
PART = Part("all", "unseen_experiments", ("SIM-1", "SIM-2"))


@dataclass(frozen=True)
class Scored:
    """One model's map, and its scores, influences and published statistics by benchmark."""

    dataset: DatasetPage
    influences: list[pl.DataFrame]


def score(model_key, effect):
    wells, known = simulate_wells(DESIGN.model_copy(update={"gene_effect": effect}))
    aligned, batch_effect = align_wells(wells, map_held_out_controls(wells, PARAMETERS), PARAMETERS)
    units, unit_vectors = aggregate_wells(wells, aligned, aggregate_by="gene", method="mean")
    labels = units.with_columns(pl.lit("SIM").alias("dataset_id"), pl.lit(model_key).alias("model_key"))
    aligned_wells, map_table = with_vectors(wells, aligned), with_vectors(labels, unit_vectors)
    annotations = annotations_of(known, ("pairs",))
    judged = judged_map(aligned_wells, map_table, parameters=PARAMETERS, annotations=annotations, other_maps={})
    found = {
        name: score_judged(
            chosen, judged, chosen.parameters(n_permutations=199), ScoreLabels("SIM", "wells-1", name, model_key, PART)
        )
        for name, chosen in BENCHMARKS.items()
    }
    reasons = {name: its.summary.does_not_apply for name, its in found.items()}
    dataset = DatasetPage(
        dataset_id="SIM",
        map_table=map_table,
        wells=aligned_wells,
        batch_effect=batch_effect,
        scores={name: its.scores for name, its in found.items()},
        published={name: its.published for name, its in found.items()},
        does_not_apply={name: reason for name, reason in reasons.items() if reason},
        known_pairs=annotations.pairs,
    )
    return Scored(dataset, [its.influences for its in found.values()])


@pytest.fixture(scope="session")
def report_pages():
    """Returns the tables of the report on each model."""
    scored = {model_key: score(model_key, effect) for model_key, effect in EFFECTS.items()}
    scores = pl.concat([table for its in scored.values() for table in its.dataset.scores.values()])
    influences = pl.concat([table for its in scored.values() for table in its.influences])
    newest = {f"{name}/SIM/{model_key}/all": name for name in BENCHMARKS for model_key in scored}
    leaderboard, differences = rank_models(scores, newest), compare_models(scores, influences)
    return {
        model_key: ReportPage(
            model=ModelFacts(model_key, "network", ("candidate",)),
            policy=POLICY,
            leaderboard=leaderboard,
            differences=differences,
            datasets=(its.dataset,),
            provenance=(("model fingerprint", f"fp-{model_key}"), ("MLflow run", "run-1")),
        )
        for model_key, its in scored.items()
    }


@pytest.fixture(scope="session")
def report_page(report_pages):
    """Returns the tables of the report on the model that sees the biology well."""
    return report_pages["good.v1"]


@pytest.fixture(scope="session")
def page_text(report_page):
    """Returns the page of the model that sees the biology well."""
    return render(report_page)


@pytest.fixture(scope="module")
def _drawn_once():
    """Draws equal charts once: pages that differ in a part have most charts in common."""
    drawn, draw = {}, Chart.svg

    def svg(chart):
        spec = chart.spec if chart.static_spec is None else chart.static_spec
        key = json.dumps([chart.title, chart.description, spec], sort_keys=True)
        if key not in drawn:
            drawn[key] = draw(chart)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chart, "svg", svg)
        yield
