"""A small deployment whose artefacts are published without being computed, by the stages' own plans."""

import importlib.util
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from upath import UPath

from cellassets.reconcile.live import LiveSnapshot
from cellassets.reconcile.work import PLATES, map_chain
from cellassets.registry import Registry
from cellassets.stages.catalogue import open_snapshot, stage_named, stages
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.state import state_of
from cellassets.storage.artifact import write_bytes
from cellassets.storage.deployment import Deployment
from cellassets.storage.lake import Lake
from cellassets.storage.plan import Plan

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUIET = timedelta(minutes=10)
BENCH = Path(__file__).parents[2] / "bench" / "lakes" / "current.py"


def _load_bench():
    spec = importlib.util.spec_from_file_location("current_lake", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


current = _load_bench()


class World:
    """A deployment that tests change: what lands, settings, models, annotations and publications."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.configs = root / "configs"
        self.deployment = Deployment.of({}, home=root, configs=self.configs)
        for folder in ("datasets", "recipes", "benchmarks"):
            (self.configs / folder).mkdir(parents=True)
        self.write("policy.yaml", {})
        self.write("mapping.yaml", {})
        shutil.copy(BENCH.parents[2] / "configs" / "gate.yaml", self.configs)
        Path(self.lake.annotations.path).mkdir(parents=True)
        Path(self.deployment.landing_root).mkdir()

    @property
    def lake(self) -> Lake:
        return self.deployment.lake

    def fresh(self) -> Snapshot:
        return open_snapshot(self.deployment)

    def live(self) -> LiveSnapshot:
        snapshot = LiveSnapshot(self.deployment, stages())
        self.refresh(snapshot)
        return snapshot

    def refresh(self, snapshot: LiveSnapshot) -> None:
        snapshot.refresh()
        snapshot.refresh_landing(snapshot.landing.first_seen, NOON, QUIET)

    def write(self, name: str, content) -> Path:
        path = self.configs / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    def land(self, experiment_id: str, content: str = "") -> Path:
        folder = Path(self.deployment.landing_root) / experiment_id
        folder.mkdir(exist_ok=True)
        for name in ("metadata.csv", "_COMPLETE"):
            (folder / name).write_text(content or experiment_id)
        return folder

    def annotate(self, name: str, *pairs: str) -> Path:
        path = Path(self.lake.annotations.path) / f"{name}.csv"
        path.write_text("\n".join(["entity1,entity2", *pairs]))
        return path

    def register(self, name: str) -> str:
        return current.register(self.deployment, name)

    @property
    def client(self):
        return Registry(self.deployment.tracking_uri, self.deployment.model_root).client()

    def plan(self, kind: str, *keys: str) -> Plan:
        stage = stage_named(kind)
        return stage.plan(self.fresh(), stage.by_axis(keys))

    def make(self, kind: str, *keys: str) -> None:
        self.publish(self.plan(kind, *keys))

    def publish(self, plan: Plan) -> None:
        with self.lake.draft(plan) as draft:
            write_bytes(draft.folder / "table.parquet", json.dumps(plan.fingerprint).encode())
            draft.publish(["table.parquet"], current.summary_of(plan))

    def publish_many(self, kind: str, addresses: list[tuple[str, ...]]) -> None:
        """Publishes records without files, by the plans of now."""
        current.publish(self.deployment, kind, addresses)

    def store(self, *experiments: str) -> None:
        for experiment_id in experiments:
            self.land(experiment_id)
            for kind in PLATES:
                self.make(kind, experiment_id)

    def embed(self, model_key: str, *experiments: str) -> None:
        for experiment_id in experiments:
            self.make("site_embeddings", experiment_id, model_key)

    def score(self, dataset_id: str, model_key: str) -> None:
        for kind in map_chain():
            self.make(kind, dataset_id, model_key)

    def statuses(self, snapshot: Snapshot, kind: str, *keys: str) -> str:
        return state_of(snapshot, kind, *keys).status


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory) -> Path:
    """An MLflow database without models: creating its tables takes seconds, copying it does not."""
    place = tmp_path_factory.mktemp("registry") / "mlflow.db"
    Registry(f"sqlite:///{place}", "").client()
    return place


@pytest.fixture
def world(tmp_path, empty_registry) -> World:
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    return World(tmp_path)


@pytest.fixture
def landing(world) -> UPath:
    return world.deployment.landing
