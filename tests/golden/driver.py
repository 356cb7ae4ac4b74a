"""All calls of the project's API that the golden tests make: functions that return tables by name.

Only this file needs changing where a function moves or a stage replaces it. The simulated inputs, the table names and
the columns must stay as they are, or the stored values mean nothing. Fingerprints are left out of every table.

`simulated_tables` are maps, scores, leaderboard, gate and report numbers of simulated wells; `screen_tables` are
manifest, store, quality and classical features of a tiny simulated screen with planted faults.
"""

import hashlib
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import yaml

from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.parts import Part
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.scoring import influences_table, scores_table
from cellassets.configuration import Parameters
from cellassets.encoders.classical import site
from cellassets.errors import BenchmarkError
from cellassets.images.reader import ExperimentStore
from cellassets.judging.comparison import Evidence, compare_models
from cellassets.judging.gate import GatePolicy, judge_candidate
from cellassets.judging.leaderboard import leaderboard_markdown, rank_models
from cellassets.judging.verdict import standing_of, verdict, versus
from cellassets.mapping.aggregate import aggregate_wells
from cellassets.mapping.build import MapParameters, align_wells, map_held_out_controls
from cellassets.mapping.dataset import Dataset
from cellassets.quality.grey_scale import GreyScale
from cellassets.quality.measures import flag_sites, measure_site
from cellassets.quality.parameters import QualityParameters
from cellassets.screens.summary import RawPlatesSummary
from cellassets.screens.well_selection import selection_fingerprints
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
from cellassets.storage.lake import Lake, Published
from cellassets.storage.plan import Plan
from cellassets.studies.simulated import annotations_of
from cellassets.synthetic.embeddings import Known, SimulatedWells, another_cell_type, simulate_wells
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.tables.parquet import read_table, vectors, with_vectors, write_table
from cellassets.tables.schema import TableSchema
from cellassets.tables.schemas import (
    BATCH_EFFECT,
    FINDINGS,
    IMAGES,
    INFLUENCES,
    PART_COLUMNS,
    PERTURBATION_COLUMNS,
    PERTURBATION_MAP,
    QUALITY,
    SCORES,
    SITE_EMBEDDINGS,
    SITES,
    WELL_EMBEDDINGS,
    WELLS,
)
from cellassets.training.normalisation import channel_statistics
from cellassets.training.recipe import ClassicalParameters

Tables = dict[str, pl.DataFrame]

DESIGN = SimulatedWells(
    n_batches=4,
    n_complexes=6,
    n_lone_genes=10,
    n_guides_per_gene=2,
    n_combinations=6,
    n_compounds=5,
    n_doses=4,
    n_arms=4,
    n_controls_per_plate=16,
    arm_effect=0.7,
    position_effect=0.5,
    plate_share=(0.8, 1.0),
    own_share=0.1,
    biology_seed=7,
    seed=11,
)
GENE_EFFECTS = {"good.v1": 3.0, "fair.v1": 1.2}  # of the wells that each model sees
DEFAULT = MapParameters()
OTHER_PARAMETERS = {
    "robust": MapParameters.model_validate(
        {
            "steps": [
                {"kind": "robust_z"},
                {"kind": "well_position"},
                {"kind": "sphering"},
                {"kind": "chromosome_arm", "min_genes": 3},
            ],
            "aggregation": "median",
            "n_judged_wells": 300,
        }
    ),
    "published": MapParameters.model_validate(
        {
            "steps": [
                {"kind": "efaar_centre"},
                {"kind": "efaar_pca", "n_components": 20},
                {"kind": "efaar_centre_scale"},
                {"kind": "efaar_tvn"},
            ],
            "aggregate_by": "perturbation",
            "aggregation": "geometric_median",
            "n_judged_wells": 300,
        }
    ),
}
DATASETS = {name: Dataset(dataset_id=name, cell_types=(name,)) for name in ("SIM", "SIM2")}
POLICY = GatePolicy.model_validate(
    {
        "deciding_datasets": ["SIM"],
        "guarded": [
            {"benchmark_name": "perturbation_consistency", "margin": 0.05},
            {"benchmark_name": "perturbation_magnitude", "margin": 0.05},
            {"benchmark_name": "phenotypic_activity"},
            {"benchmark_name": "leftover_batch_effect"},
            {"benchmark_name": "dose_response"},
        ],
    }
)
N_PERMUTATIONS = 199
VARIANTS = [  # other settings than the default ones
    ("known_relationships", {"leave_out_within": "arm"}),
    ("phenotypic_activity", {"is_across_plates": True, "max_controls": 20, "max_joint_wells": 100}),
    ("phenotypic_consistency", {"label": "set"}),
    ("held_out_batch_classification", {"split_by": "plate", "n_splits": 3}),
    ("perturbation_magnitude", {"max_controls_per_plate": 4, "max_joint_wells": 100}),
    ("analogies", {"candidates": "combinations"}),
    ("compound_targets", {"candidates": "all_genes"}),
    ("leftover_batch_effect", {"wells": "treated_wells", "max_wells_per_plate": 20}),
]
EXPERIMENT = "HUVEC-1"
N_CLASSICAL_SITES = 2


# --- maps, scores and reports of simulated wells ---


def simulated_tables() -> Tables:
    """Returns every table that is made of simulated wells."""
    with TemporaryDirectory() as folder:
        lake, known = simulated_lake(Path(folder))
        tables = maps(lake)
        tables |= scores(lake, known)
        headlines = [name for name in sorted(BENCHMARKS) if BENCHMARKS[name].is_headline]
        tables |= comparisons(pl.concat(tables[f"scores_{name}"] for name in headlines))
    return {name: without_fingerprints(table) for name, table in tables.items()}


def simulated_lake(root: Path) -> tuple[Lake, Known]:
    """Returns a lake with manifests, quality and site embeddings of two cell types by two models, and annotations."""
    lake = deployment(root).lake
    _, known = simulate_wells(DESIGN)
    for design in (DESIGN, another_cell_type(DESIGN)):
        for model_key, effect in GENE_EFFECTS.items():
            wells, _ = simulate_wells(design.model_copy(update={"gene_effect": effect}))
            for (experiment_id,), rows in wells.group_by("experiment_id", maintain_order=True):
                publish_experiment(lake, str(experiment_id), rows, model_key)
    lake.annotations.mkdir(parents=True)
    names = {"pairs": known.pairs, "sets": known.sets, "targets": known.targets, "gene_arms": known.gene_arms}
    for name, table in names.items():
        table.write_csv(str(lake.annotations / f"{name}.csv"))
    configs = root / "configs"
    (configs / "benchmarks").mkdir(parents=True)
    (configs / "policy.yaml").touch()
    (configs / "mapping.yaml").write_text(yaml.safe_dump(DEFAULT.model_dump(mode="json")))
    for name in BENCHMARKS:
        (configs / "benchmarks" / f"{name}.yaml").write_text(f"n_permutations: {N_PERMUTATIONS}")
    return lake, known


def deployment(root: Path) -> Deployment:
    """Returns the deployment in a folder."""
    return Deployment.of({}, home=root, configs=root / "configs")


def made(lake: Lake, name: str, dataset_id: str, model_key: str) -> Published:
    """Returns what a stage publishes about a dataset and a model."""
    root = Path(lake.root.path).parent
    return carry_out(stage_named(name), deployment(root), {"dataset": dataset_id, "model": model_key})


def publish_experiment(lake: Lake, experiment_id: str, wells: pl.DataFrame, model_key: str) -> None:
    """Publishes an experiment with two sites per well; of the first well one site is flagged, of the second both."""
    keys = ["experiment_id", "plate_id", "well_id"]
    sites = wells.select(keys).join(pl.DataFrame({"site_index": [1, 2]}), how="cross", maintain_order="left")
    number = np.arange(sites.height)
    quality = sites.with_columns(
        *(
            pl.lit(0.0).alias(name)
            for name in ("focus", "saturation_frac", "background", "illumination", "debris_frac")
        ),
        pl.lit(20).alias("n_nuclei"),
        pl.Series("is_flagged", (number == 1) | (number == 2) | (number == 3)),
        pl.lit(None, pl.String).alias("flag_reason"),
    )
    noise = np.random.default_rng(len(model_key)).standard_normal((sites.height, vectors(wells).shape[1]))
    embeddings = with_vectors(
        sites.with_columns(pl.lit(model_key).alias("model_key")), np.repeat(vectors(wells), 2, axis=0) + 0.3 * noise
    )
    labels = wells.select(*keys, "cell_type", *(column.name for column in PERTURBATION_COLUMNS))
    summary = RawPlatesSummary(
        n_plates=1, n_wells=labels.height, n_sites=sites.height, n_images=0, n_bytes=0, n_findings=0, n_dropped=0,
        cell_types=tuple(sorted(set(wells["cell_type"]))), channel_names=(), wells_fingerprint="",
        wells_fingerprints=selection_fingerprints(labels), landing_signature="", landing="",
    )  # fmt: skip
    publish(lake, "raw_plates", (experiment_id,), {"wells.parquet": (labels, WELLS)}, summary)
    publish(lake, "plate_quality", (experiment_id,), {"quality.parquet": (quality, QUALITY)}, Parameters())
    parts = {"part-00000.parquet": (embeddings, SITE_EMBEDDINGS)}
    publish(lake, "site_embeddings", (experiment_id, model_key), parts, Parameters())


def publish(
    lake: Lake,
    kind: str,
    keys: tuple[str, ...],
    tables: dict[str, tuple[pl.DataFrame, TableSchema]],
    summary: Parameters,
) -> None:
    """Publishes tables as an artefact, as the stage of that kind would."""
    generation = lake.artifact(kind, *keys).generation()
    with lake.draft(Plan(kind, keys, {"of": list(keys)}, replaces=generation)) as draft:
        for name, (table, schema) in tables.items():
            write_table(table, draft.folder / name, schema)
        draft.publish(list(tables), summary)


def maps(lake: Lake) -> Tables:
    """Returns the tables of all maps: the default ones through the lake, the others by the functions of one map."""
    tables = {}
    for dataset in DATASETS.values():
        for model_key in GENE_EFFECTS:
            published = made(lake, "perturbation_map", dataset.dataset_id, model_key)
            name = f"{dataset.dataset_id}_{model_key}"
            tables[f"map_{name}"] = read_table(published.path("map.parquet"), PERTURBATION_MAP)
            effect = read_table(published.path("batch_effect.parquet"), BATCH_EFFECT)
            numbers = numbers_of(published)
            tables |= {f"batch_effect_{name}": effect, f"map_summary_{name}": pl.DataFrame(numbers)}
            if name == "SIM_good.v1":
                for file in ("wells", "wells_raw"):
                    tables[file] = read_table(published.path(f"{file}.parquet"), WELL_EMBEDDINGS)
    for name in OTHER_PARAMETERS:
        aligned, units, batch_effect = other_map(lake, name)
        tables |= {
            f"wells_{name}": aligned.select("experiment_id", "plate_id", "well_id", "embedding"),
            f"map_{name}": units,
            f"batch_effect_{name}": batch_effect,
        }
    return tables


def numbers_of(published: Published) -> dict[str, float]:
    """Returns the numbers in a summary, without what was added to it later."""
    summary = {**published.record.summary, **published.record.summary.get("batch_effect", {})}
    return {
        key: value for key, value in summary.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


@cache
def other_map(lake: Lake, name: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Returns aligned wells, map and batch effect of good.v1 on SIM by other steps than the default ones."""
    parameters = OTHER_PARAMETERS[name]
    path = lake.current("perturbation_map", "SIM", "good.v1").path("wells_raw.parquet")
    wells = read_table(path, WELL_EMBEDDINGS)
    arms = pl.read_csv(lake.annotations / "gene_arms.csv")
    is_held_out = map_held_out_controls(wells, parameters)
    aligned, batch_effect = align_wells(wells, is_held_out, parameters, gene_arms=arms)
    units, unit_vectors = aggregate_wells(
        wells, aligned, aggregate_by=parameters.aggregate_by, method=parameters.aggregation
    )
    labels = units.with_columns(pl.lit("SIM").alias("dataset_id"), pl.lit("good.v1").alias("model_key"))
    return with_vectors(wells, aligned), with_vectors(labels, unit_vectors), batch_effect


def scores(lake: Lake, known: Known) -> Tables:
    """Returns SCORES of every benchmark: of both models through the lake, and of the other maps by `score` itself."""
    tables, summaries = {}, []
    for name in sorted(BENCHMARKS):
        found = []
        for model_key in GENE_EFFECTS:
            published = made(lake, f"benchmark/{name}", "SIM", model_key)
            scored = read_table(published.path("scores.parquet"), SCORES)
            found.append(with_influences(scored, read_table(published.path("influences.parquet"), INFLUENCES)))
            summaries.append({"benchmark_name": name, "model_key": model_key, **numbers_of(published)})
        tables[f"scores_{name}"] = pl.concat(found)
    tables["score_summaries"] = pl.DataFrame(summaries, infer_schema_length=None)
    for map_name in OTHER_PARAMETERS:
        for name in sorted(BENCHMARKS):
            tables[f"scores_{name}_{map_name}"] = scores_of_other_map(lake, known, map_name, name, {"seed": 1})
    for name, settings in VARIANTS:
        tables[f"scores_{name}_variant"] = scores_of_other_map(lake, known, "robust", name, settings)
    return {name: table for name, table in tables.items() if table.height}


def scores_of_other_map(
    lake: Lake, known: Known, map_name: str, benchmark_name: str, settings: dict[str, Any]
) -> pl.DataFrame:
    """Returns SCORES of one of the other maps; none where the benchmark refuses it (it may need one row per gene)."""
    wells, units, _ = other_map(lake, map_name)
    others = {
        "SIM2": read_table(lake.current("perturbation_map", "SIM2", "good.v1").path("map.parquet"), PERTURBATION_MAP)
    }
    judged = judged_map(
        wells, units, parameters=OTHER_PARAMETERS[map_name], annotations=annotations_of(known), other_maps=others
    )
    chosen = BENCHMARKS[benchmark_name]
    try:
        rows = chosen.rows(judged, chosen.parameters(**{"n_permutations": N_PERMUTATIONS, **settings}))
    except BenchmarkError:
        return SCORES.empty()
    labels = {"dataset_id": "SIM", "model_key": "good.v1", "dataset_fingerprint": "", "protocol_fingerprint": ""}
    labels |= Part("all", "unseen_experiments", ("E1",)).columns()
    labels |= {"benchmark_name": benchmark_name}
    scored = scores_table(rows, is_higher_better=chosen.is_higher_better, **labels)
    return with_influences(scored, influences_table(rows, **labels))


def with_influences(scored: pl.DataFrame, influences: pl.DataFrame) -> pl.DataFrame:
    """Returns SCORES with the influences as the rows of level `control` that they were when the values were stored."""
    if influences.is_empty():
        return scored
    rows = influences.rename({"shared_id": "perturbation_id", "influence": "value"}).with_columns(
        *(pl.lit(value).alias(name) for name, value in CONTROL_ROW.items()),
        *(pl.lit(scored[column.name][0]).alias(column.name) for column in PART_COLUMNS),
        pl.lit(scored["is_higher_better"][0]).alias("is_higher_better"),
    )
    return pl.concat([scored, SCORES.conform(with_nulls(rows), source="influences")])


def with_nulls(rows: pl.DataFrame) -> pl.DataFrame:
    """Returns the rows with the nullable columns of SCORES that they lack."""
    missing = [column for column in SCORES.columns if column.is_nullable and column.name not in rows.columns]
    return rows.with_columns(pl.lit(None, column.dtype).alias(column.name) for column in missing)


CONTROL_ROW = {
    "level": "control",
    "null_mean": 0.0,
    "null_low": 0.0,
    "null_high": 0.0,
    "p_value": 1.0,
    "correction": "none",
    "n_units": 1,
    "unit": "well",
}


def without_influences(scored: pl.DataFrame) -> Evidence:
    """Returns what models are compared by, from what `with_influences` made."""
    is_control = pl.col("level") == "control"
    influences = scored.filter(is_control).rename({"perturbation_id": "shared_id", "value": "influence"})
    return Evidence(scored.filter(~is_control), INFLUENCES.conform(influences, source="influences"))


def comparisons(scored: pl.DataFrame) -> Tables:
    """Returns leaderboard, differences, gate decisions and verdicts."""
    newest = {
        "/".join(row[:4]): row[4]
        for row in scored.select("benchmark_name", "dataset_id", "model_key", "part_id", "protocol_fingerprint")
        .unique()
        .rows()
    }
    evidence = without_influences(scored)
    ranked, differences = rank_models(evidence.scores, newest), compare_models(evidence.scores, evidence.influences)
    judged_on = {(name, "SIM") for name in BENCHMARKS}
    gate = {
        candidate: judge_candidate(
            evidence, POLICY, candidate=candidate, champion=champion, champion_judged_on=judged_on
        ).comparisons
        for candidate, champion in (("good.v1", "fair.v1"), ("fair.v1", "good.v1"))
    }
    return {
        "leaderboard": ranked,
        "differences": differences,
        "leaderboard_lines": pl.DataFrame({"line": leaderboard_markdown(ranked).splitlines()}),
        "compared_models": differences,
        **{f"gate_{candidate}": table for candidate, table in gate.items()},
        "verdicts": verdicts(ranked, differences),
    }


def verdicts(ranked: pl.DataFrame, differences: pl.DataFrame) -> pl.DataFrame:
    """Returns what a report says of each model and benchmark: standings against the other model, and the sentence."""
    rows = []
    for row in ranked.iter_rows(named=True):
        chosen = BENCHMARKS[row["benchmark_name"]]
        on_same_wells = differences.filter(pl.col("benchmark_name") == row["benchmark_name"])
        compared = versus(on_same_wells, row["model_key"]).to_dicts()
        told = verdict({**row, "title": chosen.title}, compared, is_higher_better=chosen.is_higher_better)
        rows += [
            {
                **{name: other[name] for name in ("benchmark_name", "other", "difference", "interval_low", "q_value")},
                "standing": standing_of(
                    other["difference"], other["q_value"], is_higher_better=chosen.is_higher_better
                ),
                "verdict": told,
            }
            for other in compared
        ]
    return pl.DataFrame(rows)


def without_fingerprints(table: pl.DataFrame) -> pl.DataFrame:
    """Returns the table without fingerprints, and without what the model has seen: here it has seen nothing."""
    fingerprints = ("dataset_fingerprint", "protocol_fingerprint")
    return table.drop(*fingerprints, *(column.name for column in PART_COLUMNS), "is_main_part", strict=False)


# --- manifest, store, quality and classical features of a simulated screen ---


def screen_tables() -> Tables:
    """Returns every table that is made of a tiny simulated screen's images."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        write_screen(tiny_design(image_size=80), root / "landing", experiment_ids=[EXPERIMENT])
        spoil(root / "landing" / EXPERIMENT)
        (root / "configs").mkdir()
        (root / "configs" / "policy.yaml").touch()
        for name in ("raw_plates", "plate_store", "plate_quality"):
            carry_out(stage_named(name), deployment(root), {"experiment": EXPERIMENT})
        lake = deployment(root).lake
        return {**manifest(lake), **store(lake), **quality(lake), **classical_features(lake)}


def opened_store(lake: Lake) -> ExperimentStore:
    """Returns the reader of the store."""
    published = lake.current("plate_store", EXPERIMENT)
    return ExperimentStore.open(published.folder, published.record.files, EXPERIMENT)


def spoil(folder: Path) -> None:
    """Plants faults that manifest and quality find: a cut image, a missing and a copied one, a repeated row, glare."""
    images = sorted((folder / "Plate1").glob("*.png"))
    images[0].write_bytes(images[0].read_bytes()[:-40])
    images[7].unlink()
    images[14].write_bytes(images[26].read_bytes())
    images[37].write_bytes(images[36].read_bytes() + b"\0")  # no copy byte for byte, which would drop the site
    lines = (folder / "metadata.csv").read_text().splitlines()
    (folder / "metadata.csv").write_text("\n".join([*lines, lines[5]]))


def manifest(lake: Lake) -> Tables:
    """Returns the tables of the manifest."""
    published = lake.current("raw_plates", EXPERIMENT)
    schemas = {"images": IMAGES, "wells": WELLS, "findings": FINDINGS}
    return {f"manifest_{name}": read_table(published.path(f"{name}.parquet"), s) for name, s in schemas.items()}


def store(lake: Lake) -> Tables:
    """Returns the sites of the store with their statistics, a digest of their pixels, and what normalises a plate."""
    opened = opened_store(lake)
    digests = [hashlib.sha256(site.tobytes()).hexdigest() for site in opened.read(range(opened.n_sites))]
    sites = read_table(lake.current("plate_store", EXPERIMENT).path("sites.parquet"), SITES)
    mean, std = channel_statistics(sites, "plate")
    return {
        "store_sites": sites.with_columns(pl.Series("pixels_sha256", digests)),
        "store_plate_statistics": pl.DataFrame({"mean": mean[0], "std": std[0]}),
    }


def quality(lake: Lake) -> Tables:
    """Returns the quality table of the stage, and the measures in full precision with their flags."""
    opened, parameters = opened_store(lake), QualityParameters(max_robust_z=3.0)
    measure = partial(
        measure_site, nucleus_channel=0, nucleus_diameter_px=opened.height / 12, scale=GreyScale.of(opened.dtype, None)
    )
    measured = [measure(site) for site in opened.read(range(opened.n_sites))]
    measures = pl.concat(
        [opened.sites.select("plate_id", "well_id", "site_index"), pl.DataFrame(measured)], how="horizontal"
    )
    published = read_table(lake.current("plate_quality", EXPERIMENT).path("quality.parquet"), QUALITY)
    return {"quality": published, "quality_strict": flag_sites(measures, parameters)}


def classical_features(lake: Lake) -> Tables:
    """Returns every classical feature of a few sites, one row per feature."""
    families = tuple(site.MEASURES)
    parameters = ClassicalParameters(families=families)
    opened = opened_store(lake)
    acquisition = site.Acquisition(nucleus_channel=0, nucleus_diameter_px=opened.height / 12)
    measured = [site.measure_site(images, parameters, acquisition) for images in opened.read(range(N_CLASSICAL_SITES))]
    columns = {f"site_{number}": list(features.values()) for number, features in enumerate(measured)}
    return {"classical_features": pl.DataFrame({"feature": list(measured[0]), **columns})}
