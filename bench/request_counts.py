"""Requests of every stage to an object store: a bill is made of requests as much as of bytes.

A simulated screen (two experiments of one plate, 48 wells, 2 sites per well, 6 channels) goes through the line of
stages, with landing zone and lake in a bucket of a server on loopback that counts. Two more lines say what one tick of
the sensors asks for, and what reading one site costs. Class A operations write or list, class B operations read; a
class A operation costs about twelve times as much. Prints a table and writes bench/results/request_counts.json.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from cellassets.reconcile.live import LiveSnapshot
from cellassets.registry import Registry
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named, stages
from cellassets.stages.stores import open_store
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.training.classical import set_up_classical
from cellassets.training.recipe import ClassicalRecipe

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from object_store import ObjectServer, object_server

RESULT = Path(__file__).parent / "results" / "request_counts.json"
EXPERIMENTS = ("HUVEC-1", "HUVEC-2")
MODEL, BENCHMARK = "classical.v1", "perturbation_consistency"
LINE = (
    ("raw_plates", "HUVEC-1"),
    ("plate_store", "HUVEC-1"),
    ("plate_quality", "HUVEC-1"),
    ("site_embeddings", "HUVEC-1", MODEL),
    ("perturbation_map", "HUVEC", MODEL),
    (f"benchmark/{BENCHMARK}", "HUVEC", MODEL),
    ("leaderboard",),
    ("model_report", MODEL),
)
SETTINGS = {
    "policy.yaml": {},
    "mapping.yaml": {"steps": [{"kind": "pca", "n_components": 6}, {"kind": "centre_scale"}], "n_judged_wells": 20},
    f"benchmarks/{BENCHMARK}.yaml": {"n_permutations": 99},
}


def set_up(home: Path) -> Deployment:
    """Returns a deployment whose landing zone and lake are in the bucket `line`, with two landed experiments."""
    for name, values in SETTINGS.items():
        path = home / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    places = {
        "CELLASSETS_HOME": str(home),
        "CELLASSETS_LAKE": "gs://line/lake",
        "CELLASSETS_LANDING": "gs://line/landing",
        "CELLASSETS_CATALOGUE": f"sqlite:///{home}/catalogue.db",
    }
    deployment = Deployment.of(places, configs=home / "configs")
    write_screen(tiny_design(image_size=64, n_sites_per_well=2), home / "screen", experiment_ids=list(EXPERIMENTS))
    for path in sorted(path for path in (home / "screen").rglob("*") if path.is_file()):
        (deployment.landing / str(path.relative_to(home / "screen"))).write_bytes(path.read_bytes())
    recipe = ClassicalRecipe.model_validate({"name": "classical", "parameters": {"families": ["intensity"]}})
    folder = set_up_classical(recipe, home / "model").folder
    registry = Registry(deployment.tracking_uri, deployment.model_root)
    registry.register(folder, name="classical", run_id=None, tags={"kind": "classical", "recipe_name": "classical"})
    return deployment


def count(server: ObjectServer, work: Callable[[], Any]) -> dict[str, int]:
    """Returns the requests of some work: class A, class B and free ones, and each operation."""
    before = len(server.requests)
    work()
    asked = server.requests[before:]
    classes = {name: sum(request.price_class == name for request in asked) for name in ("A", "B", "free")}
    return {**classes, **dict(sorted(server.counts(before).items()))}


def tick(snapshot: LiveSnapshot) -> None:
    """Reads everything that the sensors read in one tick, with the intervals of policy.yaml."""
    snapshot.refresh()
    snapshot.refresh_landing({}, datetime.now(UTC), timedelta(minutes=10), timedelta(minutes=60))


def measure(server: ObjectServer, deployment: Deployment) -> dict[str, dict[str, int]]:
    """Returns the requests of every stage, of a stage that is done, of a tick and of reading a site."""
    for name in ("raw_plates", "plate_store", "plate_quality", "site_embeddings"):
        stage = stage_named(name)  # those of the second experiment are not counted: they are the same
        carry_out(stage, deployment, stage.by_axis(("HUVEC-2", MODEL)[: len(stage.axes)]))
    found = {}
    for name, *keys in LINE:
        stage = stage_named(name)
        found[name] = count(server, lambda: carry_out(stage, deployment, stage.by_axis(tuple(keys))))  # noqa: B023
    store = stage_named("plate_store")
    found["plate_store, done"] = count(server, lambda: carry_out(store, deployment, {"experiment": "HUVEC-1"}))
    snapshot = LiveSnapshot(deployment, stages())
    tick(snapshot)
    found["one tick"] = count(server, lambda: tick(snapshot))
    images = open_store(deployment.lake, deployment.lake.records().need("plate_store", "HUVEC-1"))
    images.read([0])
    found["one site"] = count(server, lambda: images.read([1]))
    return found


def main() -> None:
    """Counts, prints and keeps the requests."""
    os.environ["NO_GCE_CHECK"] = "true"  # nothing looks for a metadata server
    with tempfile.TemporaryDirectory() as folder, object_server() as server:
        os.environ["STORAGE_EMULATOR_HOST"] = server.url
        server.make_bucket("line")
        deployment = set_up(Path(folder))
        n_images = len([name for name in deployment.landing.fs.find("line/landing/HUVEC-1") if name.endswith(".png")])
        found = measure(server, deployment)
    for name, counts in found.items():
        details = ", ".join(
            f"{operation} {n}" for operation, n in counts.items() if operation not in ("A", "B", "free")
        )
        print(f"{name:<36} class A {counts['A']:>4}   class B {counts['B']:>5}   ({details})")
    result = {"n_experiments": len(EXPERIMENTS), "n_images_per_experiment": n_images, "requests": found}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
