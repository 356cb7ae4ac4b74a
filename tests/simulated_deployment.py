"""A deployment whose whole chain of artefacts is current, made from simulated wells instead of real images.

Manifests, quality and embeddings are written from the simulation, by the plans of their stages, so that everything that
is made from them counts as current. Stores are packed from one tiny image. Maps, scores and the rest are made by the
stages themselves. Loaded by `tests/conftest.py`, which hands it to tests as fixtures.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import polars as pl
import yaml
from pydantic import RootModel
from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.encoders.summary import SiteEmbeddingsSummary
from cellassets.quality.summary import PlateQualitySummary
from cellassets.registry import Registry
from cellassets.screens.landing import signature_of
from cellassets.screens.summary import RawPlatesSummary
from cellassets.screens.well_selection import selection_fingerprints
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.storage.artifact import describe_file
from cellassets.storage.deployment import Deployment
from cellassets.storage.plan import Plan
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.content import frame_fingerprint
from cellassets.tables.parquet import vectors, with_vectors, write_table
from cellassets.tables.schemas import FINDINGS, IMAGES, PERTURBATION_COLUMNS, QUALITY, SITE_EMBEDDINGS, WELLS

KEYS = ["experiment_id", "plate_id", "well_id"]
MAP = {"steps": [{"kind": "pca", "n_components": 12}, {"kind": "centre_scale"}, {"kind": "tvn"}], "n_judged_wells": 100}
GATE = {
    "deciding_datasets": ["SIM"],
    "guarded": [{"benchmark_name": "perturbation_consistency"}, {"benchmark_name": "perturbation_magnitude"}],
}
SITE_PX = 8


class SimulatedDeployment:
    """Experiments of simulated wells with two sites each, which lie 1 to either side of their well's vector."""

    def __init__(self, home, design=None, *, models=None, registry=None, n_permutations=99):
        self.home, self.design = Path(home), SimulatedWells() if design is None else design
        self.deployment = Deployment.of({}, home=self.home, configs=self.home / "configs")
        self.n_landed = 0
        if self.home.is_dir():  # a copy of another one
            return
        if registry is not None:
            shutil.copytree(registry, self.home)
        settings = {"policy.yaml": {}, "mapping.yaml": MAP, "gate.yaml": GATE}
        settings |= {f"benchmarks/{name}.yaml": {"n_permutations": n_permutations} for name in BENCHMARKS}
        settings["hits.yaml"] = {"n_permutations": n_permutations, "n_dose_permutations": n_permutations}
        for name, values in settings.items():
            self.set(name, values)
        for model_key, effect in (models or {"m.v1": self.design.gene_effect}).items():
            self.register(model_key.split(".v")[0])
            wells, _ = simulate_wells(self.design.model_copy(update={"gene_effect": effect}))
            self.add(wells, model_key)

    @property
    def lake(self):
        return self.deployment.lake

    @property
    def registry(self):
        return Registry(self.deployment.tracking_uri, self.deployment.model_root)

    @property
    def known(self):
        return simulate_wells(self.design)[1]

    @property
    def wells(self):
        return simulate_wells(self.design)[0]

    def copy(self, home):
        """Returns a deployment of its own with the same content."""
        shutil.copytree(self.home, home, symlinks=True)
        return SimulatedDeployment(home, self.design)

    def set(self, name, values):
        """Writes a settings file."""
        path = self.home / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))

    def annotate(self, name, table):
        """Writes an annotation source: a table, or CSV text."""
        self.lake.annotations.mkdir(parents=True, exist_ok=True)
        text = table if isinstance(table, str) else table.write_csv()
        (self.lake.annotations / f"{name}.csv").write_text(text)

    def register(self, name, content="first"):
        """Registers the next version of a model; its files say what it is."""
        folder = self.home / "unregistered" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "encoder.json").write_text(json.dumps({"kind": "classical", "name": name, "content": content}))
        return self.registry.register(folder, name=name, run_id=None, tags={"kind": "classical", "recipe_name": name})

    def make(self, name, *keys, **options):
        """Returns what a stage publishes at some keys."""
        stage = stage_named(name)
        return carry_out(stage, self.deployment, stage.by_axis(keys), options=options or None)

    def make_all(self, dataset_id, model_key, benchmarks=tuple(BENCHMARKS)):
        """Makes a map, its scores and its hits."""
        self.make("perturbation_map", dataset_id, model_key)
        for name in benchmarks:
            self.make(f"benchmark/{name}", dataset_id, model_key)
        self.make("active_perturbations", dataset_id, model_key)

    def plan(self, name, *keys, **options):
        """Returns the plan of a stage now."""
        stage = stage_named(name)
        return stage.plan(open_snapshot(self.deployment), stage.by_axis(keys), **options)

    def add(self, wells, model_key):
        """Lands every experiment of the wells that has not landed, and embeds all of them by a model."""
        for (experiment_id,), rows in wells.group_by("experiment_id", maintain_order=True):
            if self.lake.artifact("raw_plates", experiment_id).find_record() is None:
                self.land(experiment_id, rows)
                self.make("plate_store", experiment_id)
                self.judge_quality(experiment_id)
            self.embed(experiment_id, model_key, rows)

    def paint(self, experiment_id, step):
        """Publishes the manifest again, with another image of every site."""
        self.land(
            experiment_id,
            pl.read_parquet(self.lake.current("raw_plates", experiment_id).path("wells.parquet").path),
            step,
        )

    def land(self, experiment_id, wells, step=1):
        """Publishes the manifest of an experiment; `step` says what the image of its sites looks like."""
        labels = wells.select(*KEYS, "cell_type", *(column.name for column in PERTURBATION_COLUMNS))
        self.n_landed += 1
        folder = self.home / "landing" / experiment_id
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (step * np.arange(SITE_PX**2)).astype(np.uint8).reshape(SITE_PX, SITE_PX)
        (folder / "site.png").write_bytes(imagecodecs.png_encode(pixels))
        (folder / "_COMPLETE").write_text(f"{self.n_landed} {frame_fingerprint(labels)}")
        entry = describe_file(UPath(folder / "site.png"), "site.png")
        images = sites_of(labels).with_columns(
            pl.lit(1).alias("channel_index"), pl.lit("DNA").alias("channel_name"), pl.lit("site.png").alias("path"),
            pl.lit(entry.n_bytes).alias("n_bytes"), pl.lit(entry.crc32c).alias("crc32c"),
            pl.lit(SITE_PX).alias("height"), pl.lit(SITE_PX).alias("width"), pl.lit("uint8").alias("dtype"),
            pl.lit(value=True).alias("is_usable"), pl.lit(None).alias("z_index"), pl.lit(None).alias("part"),
        )  # fmt: skip
        summary = RawPlatesSummary(
            n_plates=labels["plate_id"].n_unique(), n_wells=labels.height, n_sites=images.height,
            n_images=images.height, n_bytes=entry.n_bytes * images.height, n_findings=0, n_dropped=0,
            cell_types=tuple(sorted(set(labels["cell_type"]))), channel_names=("DNA",),
            wells_fingerprint=frame_fingerprint(labels), wells_fingerprints=selection_fingerprints(labels),
            landing_signature=signature_of(self.deployment.landing, experiment_id), landing=str(folder),
        )  # fmt: skip
        tables = {
            "wells.parquet": (labels, WELLS),
            "images.parquet": (images, IMAGES),
            "findings.parquet": (FINDINGS.empty(), FINDINGS),
        }
        generation = self.lake.artifact("raw_plates", experiment_id).generation()
        inputs = {"wells": frame_fingerprint(labels), "step": step}
        return self.write(Plan("raw_plates", (experiment_id,), inputs, replaces=generation), tables, summary)

    def judge_quality(self, experiment_id, flagged=(), *, is_again=False):
        """Publishes the quality of an experiment: these sites (plate, well, number) are flagged."""
        sites = self.sites(experiment_id)
        is_flagged = [(row["plate_id"], row["well_id"], row["site_index"]) in flagged for row in sites.to_dicts()]
        table = sites.with_columns(
            *(
                pl.lit(0.0).alias(name)
                for name in ("focus", "saturation_frac", "background", "illumination", "debris_frac")
            ),
            pl.lit(20).alias("n_nuclei"),
            pl.Series("is_flagged", is_flagged),
            pl.lit(None, pl.String).alias("flag_reason"),
        )
        summary = PlateQualitySummary(
            n_sites=table.height, n_flagged=sum(is_flagged), flag_reasons={}, nuclei_per_site=20
        )
        plan = self.plan("plate_quality", experiment_id)
        if is_again:
            plan = replace(plan, inputs={**plan.inputs, "flagged": sorted(map(list, flagged))})
        return self.write(plan, {"quality.parquet": (table, QUALITY)}, summary)

    def judge_quality_again(self, experiment_id, flagged):
        """Publishes the quality with other flags, as another code version would."""
        return self.judge_quality(experiment_id, flagged, is_again=True)

    def embed(self, experiment_id, model_key, wells):
        """Publishes the embeddings of an experiment by a model, in two parts."""
        labels = sites_of(wells.select(KEYS)).with_columns(pl.lit(model_key).alias("model_key"))
        values = np.repeat(vectors(wells), 2, axis=0) + np.tile([[1.0], [-1.0]], (wells.height, 1))
        table = with_vectors(labels, values)
        half = table.height // 2
        parts = {
            f"part-{number:05d}.parquet": (rows, SITE_EMBEDDINGS)
            for number, rows in enumerate((table[:half], table[half:]))
        }
        summary = SiteEmbeddingsSummary(
            n_sites=table.height, embedding_dim=values.shape[1], precision="fp64", device="cpu", n_parts=2,
            n_parts_resumed=0,
        )  # fmt: skip
        return self.write(self.plan("site_embeddings", experiment_id, model_key), parts, summary)

    def sites(self, experiment_id):
        """Returns the sites of a landed experiment."""
        return sites_of(pl.read_parquet(self.lake.current("raw_plates", experiment_id).path("wells.parquet").path))

    def write(self, plan, tables, summary):
        """Returns the record of tables that are published by a plan."""
        with self.lake.draft(plan) as draft:
            for name, (table, schema) in tables.items():
                write_table(table, draft.folder / name, schema)
            return draft.publish(list(tables), summary)


def sites_of(wells):
    """Returns two sites per well."""
    return wells.select(KEYS).join(pl.DataFrame({"site_index": [1, 2]}), how="cross", maintain_order="left")


def publish_newer(deployment, kind, *keys, change=None, summary=None):
    """Publishes the files of an artefact again by another plan.

    Args:
        deployment: where.
        kind: kind of artefact.
        keys: its keys.
        change: name of a file to a function from its table to another one.
        summary: values of the summary that change.
    """
    lake = deployment.lake
    current = lake.current(kind, *keys)
    inputs = {**current.record.inputs, "published_again": current.record.generation}
    with lake.draft(Plan(kind, keys, inputs, replaces=current.record.generation)) as draft:
        for name in current.names:
            path = draft.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name in (change or {}):
                change[name](pl.read_parquet(current.path(name).path)).write_parquet(path.path)
            else:
                path.write_bytes(current.path(name).read_bytes())
        return draft.publish(current.names, RootModel({**current.record.summary, **(summary or {})}))
