"""A deployment with two stored experiments, in which Dagster embeds sites by container encoders.

Test files load this module and take its fixture `stored`.
"""

import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.site_embeddings import site_embeddings
from cellassets.encoders.container.registering import register_container
from cellassets.registry import Registry
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.stages.stores import open_store
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.tables.parquet import read_tables
from cellassets.tables.schemas import SITE_EMBEDDINGS
from resources.places import DeploymentResource

EXAMPLE = Path(__file__).parents[1] / "examples" / "container_encoder"
EXPERIMENTS = ("HUVEC-1", "HUVEC-2")
# a program without Pipes: two features, the number of the row in the batch and the size of the batch
PLAIN = """
n=$(sed -n 's/^ "n_sites": \\([0-9]*\\),$/\\1/p' "$CELLASSETS_INPUT/manifest.json")
row=0
while [ "$row" -lt "$n" ]; do echo "$row,$row,$n"; row=$((row + 1)); done > "$CELLASSETS_OUTPUT/embeddings.csv"
"""
DECLARED = {"local_command": ["sh", "encode.sh"], "files": ["encode.sh"], "n_channels": 6, "embedding_dim": 2}


class Screen:
    """A deployment with two stored experiments, in which Dagster materialises embeddings."""

    def __init__(self, home, instance):
        self.home, self.instance = home, instance
        self.deployment = Deployment.of({}, home=home, configs=home / "configs")

    @property
    def registry(self):
        return Registry(self.deployment.tracking_uri, self.deployment.model_root)

    def allow(self, where="local", **settings):
        """Writes the deployment's `containers.yaml`."""
        (self.home / "configs" / "containers.yaml").write_text(yaml.safe_dump({"where": where, **settings}))

    def program(self, text, name="mine", **changes):
        """Registers a shell program; returns the key of the model."""
        (self.home / "encode.sh").write_text(text)
        return self.register(name, {**DECLARED, **changes})

    def register(self, name, declared):
        """Registers a declaration; returns the key of the model."""
        file = self.home / f"{name}.yaml"
        file.write_text(yaml.safe_dump(declared))
        return register_container(self.registry, file).key

    def embed(self, model_key, *experiments):
        """Materialises in one run; several experiments as a range of partitions."""
        for axis, keys in {"experiment": EXPERIMENTS, "model": [model_key]}.items():
            self.instance.add_dynamic_partitions(axis, list(keys))
        keys = [str(dg.MultiPartitionKey({"experiment": name, "model": model_key})) for name in experiments]
        is_range = len(keys) > 1
        tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        return dg.materialize(
            [site_embeddings],
            instance=self.instance,
            resources={"deployment": DeploymentResource.of(self.deployment)},
            partition_key=None if is_range else keys[0],
            tags=tags if is_range else {},
            raise_on_error=False,
        )

    def published(self, model_key, experiment="HUVEC-1"):
        return self.deployment.lake.current("site_embeddings", experiment, model_key)

    def table(self, model_key, experiment="HUVEC-1"):
        published = self.published(model_key, experiment)
        return read_tables([published.path(name) for name in published.names], SITE_EMBEDDINGS)

    def store(self, experiment="HUVEC-1"):
        return open_store(self.deployment.lake, self.deployment.lake.records().need("plate_store", experiment))

    def log(self, result):
        """All messages of a run, also those of its failures."""
        entries = self.instance.all_logs(result.run_id)
        errors = [entry.dagster_event.event_specific_data for entry in entries if entry.dagster_event]
        return "\n".join([entry.user_message for entry in entries] + [str(getattr(e, "error", "")) for e in errors])


@pytest.fixture(scope="session")
def stored(tmp_path_factory, empty_home):
    home = tmp_path_factory.mktemp("containers") / "home"
    shutil.copytree(empty_home, home)
    (home / "configs").mkdir()
    (home / "configs" / "policy.yaml").write_text("{}")
    write_screen(tiny_design(image_size=48, n_sites_per_well=1), home / "landing", experiment_ids=list(EXPERIMENTS))
    deployment = Deployment.of({}, home=home, configs=home / "configs")
    for experiment in EXPERIMENTS:
        for name in ("raw_plates", "plate_store"):
            carry_out(stage_named(name), deployment, {"experiment": experiment})
    return home
