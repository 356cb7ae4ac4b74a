"""Fixtures for all tests: a landing zone of small random images, tiny models, and deployments of simulated wells."""

import csv
import fcntl
import gc
import importlib.util
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from zlib import crc32

import imagecodecs
import numpy as np
import pytest
import yaml
from upath import UPath

from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.registry import Registry
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.storage import objects
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen

os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"  # of instances whose dagster.yaml does not say so

SCRIPTS = Path(__file__).parents[1] / "scripts"
_spec = importlib.util.spec_from_file_location(
    "simulated_deployment", Path(__file__).with_name("simulated_deployment.py")
)
simulated_deployment = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(simulated_deployment)
SimulatedDeployment = simulated_deployment.SimulatedDeployment

_trees_spec = importlib.util.spec_from_file_location("landed_trees", Path(__file__).with_name("landed_trees.py"))
landed_trees = importlib.util.module_from_spec(_trees_spec)
_trees_spec.loader.exec_module(landed_trees)
_broken_spec = importlib.util.spec_from_file_location("broken_screens", Path(__file__).with_name("broken_screens.py"))
broken_screens = importlib.util.module_from_spec(_broken_spec)
sys.modules["broken_screens"] = broken_screens  # its dataclasses and its test's table look for it
_broken_spec.loader.exec_module(broken_screens)
_https_spec = importlib.util.spec_from_file_location("https_server", Path(__file__).with_name("https_server.py"))
https_server = importlib.util.module_from_spec(_https_spec)
_https_spec.loader.exec_module(https_server)

_mlflow_spec = importlib.util.spec_from_file_location("mlflow_server", Path(__file__).with_name("mlflow_server.py"))
mlflow_server_module = importlib.util.module_from_spec(_mlflow_spec)
_mlflow_spec.loader.exec_module(mlflow_server_module)

_postgres_spec = importlib.util.spec_from_file_location("postgres_server", SCRIPTS / "postgres_server.py")
postgres_server = importlib.util.module_from_spec(_postgres_spec)
sys.modules["postgres_server"] = postgres_server  # its dataclasses look for their module
_postgres_spec.loader.exec_module(postgres_server)

_browser_spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
browser_module = importlib.util.module_from_spec(_browser_spec)
_browser_spec.loader.exec_module(browser_module)

# make test-k8s runs these, against a cluster
collect_ignore = [] if "CELLASSETS_CLUSTER_TESTS" in os.environ else ["cluster"]

_store_spec = importlib.util.spec_from_file_location("object_store", SCRIPTS / "object_store.py")
object_store = importlib.util.module_from_spec(_store_spec)
sys.modules["object_store"] = object_store  # its dataclasses look for their module
_store_spec.loader.exec_module(object_store)

# `make test` runs a part of what is repeated on random data, `CELLASSETS_TRUTH=full` (`make test-long`) all of it
IS_FULL = os.environ.get("CELLASSETS_TRUTH") == "full"
FULL_TIMEOUT_S = 7200

LONGEST_FILES = ("test_daemon.py", "test_model_report.py", "test_checkpoint.py", "test_interruption.py")

SCORED_MODELS = {"good.v1": 4.0, "fair.v1": 1.6, "blind.v1": 0.0}  # effect of a gene, as each model sees it
SCORED_DESIGN = SimulatedWells(n_complexes=6, n_lone_genes=10)

CHANNELS = ("Hoechst", "ConA", "Phalloidin")
COLUMNS = ("site_id", "well_id", "cell_type", "dataset", "experiment", "plate", "well", "site", "well_type", "sirna")


@dataclass(frozen=True)
class LandingZone:
    """Writes experiments in RxRx1's layout: by default two sites per well, three channels, 16 x 24 pixels of 8 bits."""

    root: Path
    n_sites: int = 2
    size: tuple[int, int] = (16, 24)
    n_channels: int = len(CHANNELS)
    dtype: str = "uint8"

    def land(self, experiment_id="E-1", *, plates=(1, 2), wells=("A01", "B02", "C03"), is_complete=True) -> Path:
        folder = self.root / experiment_id
        self.declare_channels((*CHANNELS, *(f"stain {n}" for n in range(4, self.n_channels + 1)))[: self.n_channels])
        rows = [
            self._row(experiment_id, plate, well, site)
            for plate in plates
            for well in wells
            for site in range(1, self.n_sites + 1)
        ]
        for row in rows:
            for channel in range(1, self.n_channels + 1):
                self.write_image(folder, f"Plate{row['plate']}/{row['well']}_s{row['site']}_w{channel}.png")
        self.write_metadata(folder, rows)
        if is_complete:
            (folder / "_COMPLETE").touch()
        return folder

    def declare_channels(self, names=CHANNELS) -> None:
        """Writes the experiment.yaml of all experiments, unless it is there: writing it again changes them all."""
        self.root.mkdir(parents=True, exist_ok=True)
        channels = [{"key": str(number), "name": name} for number, name in enumerate(names, start=1)]
        path, content = self.root / "experiment.yaml", json.dumps({"channels": channels})
        if not path.exists() or path.read_text() != content:
            path.write_text(content)

    def pixels(self, folder: Path, name: str) -> np.ndarray:
        rng = np.random.default_rng(crc32(f"{folder.name}/{name}".encode()))
        return rng.integers(0, np.iinfo(self.dtype).max, self.size, dtype=self.dtype, endpoint=True)

    def write_image(self, folder: Path, name: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(imagecodecs.png_encode(self.pixels(folder, name)))

    def read_metadata(self, folder: Path) -> list[dict[str, str]]:
        with (folder / "metadata.csv").open() as stream:
            return list(csv.DictReader(stream))

    def write_metadata(self, folder: Path, rows: list[dict[str, str]]) -> None:
        with (folder / "metadata.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def _row(self, experiment_id, plate, well, site):
        is_control = well == "A01"
        well_id = f"{experiment_id}_{plate}_{well}"
        values = (
            f"{well_id}_{site}", well_id, "HUVEC", "train", experiment_id, str(plate), well, str(site),
            "negative_control" if is_control else "treatment", "EMPTY" if is_control else f"s{well}",
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))


def pytest_addoption(parser):
    parser.addoption(
        "--write-golden", action="store_true", help="Write golden values again where a code version was raised."
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the tests that draw fewer random data in `make test`: `make test-long` runs them too, on all.

    The files that take longest come first, so that no core is left with one of them at the end.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST_FILES)
    for item in items:
        if "n_of" in item.fixturenames:
            item.add_marker("sampled")
            if IS_FULL:
                item.add_marker(pytest.mark.timeout(FULL_TIMEOUT_S))


def pytest_collection_finish():
    """What was imported stays until the end, so the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def n_of():
    """Returns the function that gives how many random sets a test draws: all, or a part of them."""

    def n_of(n_full, part=0.15):
        return n_full if IS_FULL else round(n_full * part)

    return n_of


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Returns the function that makes a folder once for all processes of a test run: `made_once(name, make)`.

    Each process gets a copy; tests that write take a copy of that.
    """
    own = tmp_path_factory.getbasetemp()

    def made_once(name, make):
        is_alone = "PYTEST_XDIST_WORKER" not in os.environ
        shared = (own if is_alone else own.parent) / "made-once"
        shared.mkdir(exist_ok=True)
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder if is_alone else Path(shutil.copytree(folder, own / name, symlinks=True))

    return made_once


@pytest.fixture(scope="session")
def trees():
    """Functions that write landing folders of public datasets and of microscopes."""
    return landed_trees


@pytest.fixture
def zone(tmp_path) -> LandingZone:
    return LandingZone(tmp_path / "landing")


@pytest.fixture
def policy() -> IngestPolicy:
    """The policy that the folders of `zone` meet."""
    return IngestPolicy(max_dropped_frac=0.5)


SCALES = {
    "8 bit": lambda image: image,
    "16 bit": lambda image: image.astype(np.uint16) * 257,
    "12 bit": lambda image: image.astype(np.uint16) << 4,
}


@pytest.fixture(scope="session")
def scaled_store(tmp_path_factory):
    """The store of a simulated experiment on another scale of grey levels: `scaled_store("HUVEC-1", "12 bit")`."""
    root = tmp_path_factory.mktemp("scaled")
    write_screen(tiny_design(image_size=48, n_sites_per_well=1), root / "8 bit")

    @cache
    def scaled_store(experiment_id, scale):
        landing, packed = root / scale / experiment_id, UPath(root / "packed" / scale / experiment_id)
        if not landing.exists():
            shutil.copytree(root / "8 bit" / experiment_id, landing)
            for path in landing.rglob("*.png"):
                path.write_bytes(imagecodecs.png_encode(SCALES[scale](imagecodecs.png_decode(path.read_bytes()))))
        manifest = check_experiment(UPath(root / scale), experiment_id, policy=IngestPolicy())
        files = pack_plates(manifest.images, manifest.wells, Packing(UPath(landing), packed, manifest.imaging)).files
        return ExperimentStore.open(packed, files, experiment_id)

    return scaled_store


@pytest.fixture(scope="session")
def _certificate(tmp_path_factory):
    return https_server.write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def web(_certificate, monkeypatch):
    """Starts web servers on loopback that this process trusts: `web(pages)`; `web.server` is the module of pages."""
    monkeypatch.setenv("SSL_CERT_FILE", str(_certificate))
    with ExitStack() as stack:

        def web(pages, *, is_secure=True):
            certificate = _certificate if is_secure else None
            return stack.enter_context(https_server.web_server(pages, certificate=certificate))

        web.server = https_server
        yield web


@pytest.fixture
def mlflow_server(tmp_path):
    """An MLflow server on loopback, which a test may `stop` and `start` again."""
    server = mlflow_server_module.Server(tmp_path, mlflow_server_module.free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gcs():
    """A server of the Google Cloud Storage protocol on loopback, to which this process's clients talk.

    `gcs.requests` lists what it was asked; `gcs.fault` makes it fail (see scripts/object_store.py).
    """
    with object_store.object_server() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", server.url)
        environment.setenv("NO_GCE_CHECK", "true")  # never look for a metadata server
        objects._client.cache_clear()
        server.names = (f"bucket-{number}" for number in count(1))
        server.CUT, server.LOST = object_store.CUT, object_store.LOST
        yield server
        with warnings.catch_warnings(action="ignore"):  # connections whose answers were not used are still open
            objects.client().close()
            objects._client.cache_clear()
            gc.collect()


@pytest.fixture
def bucket(gcs):
    """An empty bucket of its own."""
    yield UPath(gcs.make_bucket(next(gcs.names)))
    gcs.fault = lambda _operation, _name: None


@pytest.fixture(scope="session")
def save_network():
    """Saves a tiny network of random weights as a model folder: `save_network(folder, n_channels=6)`."""
    from cellassets.training.backbone import build_network
    from cellassets.training.checkpoint import save_model_folder
    from cellassets.training.recipe import ResNetBackbone
    from cellassets.training.spec import NetworkSpec, Preprocessing

    def save(folder, *, n_channels=6, normalisation="plate", seed=3, **preprocessing):
        backbone = ResNetBackbone(stem_width=8, widths=(8, 16), depths=(1, 1))
        network = build_network(backbone, n_channels=n_channels, embedding_dim=12, trained_px=48, seed=seed)
        spec = NetworkSpec(
            n_channels=n_channels,
            channel_names=tuple(f"C{number}" for number in range(n_channels)),
            embedding_dim=12,
            backbone=backbone,
            trained_px=48,
            preprocessing=Preprocessing(normalisation=normalisation, **preprocessing),
            recipe_name="random",
            recipe_fingerprint="none",
        )
        return save_model_folder(folder, network, spec)

    return save


@pytest.fixture(scope="session")
def empty_home(made_once):
    """The home of a deployment in which MLflow's database has its tables; a copy of it costs no migration."""

    def make(home):
        Registry(f"sqlite:///{home / 'mlflow.db'}", (home / "models").as_uri()).client().search_registered_models()

    return made_once("empty-home", make)


@pytest.fixture
def simulate(tmp_path, empty_home):
    """Returns a deployment of simulated wells, embedded by `m.v1`: `simulate(seed=1)`."""

    def simulate(*, models=None, name="home", **design):
        return SimulatedDeployment(tmp_path / name, SimulatedWells(**design), models=models, registry=empty_home)

    return simulate


@pytest.fixture(scope="session")
def simulated_deployment_at():
    """Returns the class of deployments of simulated wells: `simulated_deployment_at(home, design, models=...)`."""
    return SimulatedDeployment


@pytest.fixture(scope="session")
def publish_newer():
    """Publishes the files of an artefact again by another plan, some of them changed."""
    return simulated_deployment.publish_newer


@pytest.fixture(scope="session")
def scored(made_once, empty_home):
    """Maps, scores, clusters and leaderboard of three models: one sees the biology well, one worse, one not at all.

    Tests that change something take a copy: `scored.copy(tmp_path / "home")`.
    """

    def make(folder):
        home = folder / "home"
        made = SimulatedDeployment(home, SCORED_DESIGN, models=SCORED_MODELS, registry=empty_home, n_permutations=199)
        made.annotate("planted", made.known.pairs)
        for model_key in SCORED_MODELS:
            made.make_all("SIM", model_key)
            made.make("map_clusters", "SIM", model_key)
        made.make("leaderboard")

    return SimulatedDeployment(made_once("scored", make) / "home", SCORED_DESIGN)


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """Folder of the programs of a Postgres server."""
    programs = postgres_server.binaries()
    if programs is None:
        reason = "no Postgres here: install it (Debian: apt-get install postgresql) to test what needs it"
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    return programs


@pytest.fixture(scope="session")
def postgres_url(postgres_programs) -> Iterator[str]:
    """URL of a Postgres server of this test session's own."""
    with postgres_server.private_postgres(postgres_programs) as server:
        yield server.url


@pytest.fixture(scope="session", name="postgres_server")
def postgres_server_module():
    """How to start servers of Postgres."""
    return postgres_server


@pytest.fixture(scope="session", name="browser")
def browser_module_fixture():
    """How to drive a real browser."""
    return browser_module


@pytest.fixture(scope="module")
def one_thread():
    """Torch computes by one thread, as in the processes that tests kill: sums over other parts have other last digits.

    The networks here are tiny: threads cost more than they give, above all beside other work.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# A small deployment for whole lines: a tiny screen, two cheap recipes.
NETWORK = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
    "embedding_dim": 16,
    "uses_flagged_sites": True,  # there are only two wells per perturbation: none may be missing
    "augmentation": {"crop_px": 48},
    "n_epochs": 2,
    "batch_size": 16,
}
CLASSICAL = {"kind": "classical", "parameters": {"families": ["intensity", "sizeshape"]}}
POLICY = {"datasets": {"active": ["HUVEC"]}}
DESIGN = {
    "cell_types": [{"name": "HUVEC", "n_experiments": 2}, {"name": "U2OS", "n_experiments": 1}],
    "image_size": 80,
    "n_rows": 8,
    "n_columns": 10,
    "n_wells_per_perturbation": 2,
    "n_negative_controls": 16,
}


@pytest.fixture(scope="session")
def configs(tmp_path_factory) -> Path:
    """Settings of a small deployment."""
    folder = tmp_path_factory.mktemp("configs")
    for path, values in {
        "recipes/tiny_network.yaml": NETWORK,
        "recipes/classical.yaml": CLASSICAL,
        "policy.yaml": POLICY,
        "mapping.yaml": {},
    }.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(yaml.safe_dump(values))
    for name in ("benchmarks", "datasets"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="session")
def design_file(tmp_path_factory) -> Path:
    """The design of its screen."""
    path = tmp_path_factory.mktemp("design") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_design(**DESIGN).model_dump(mode="json")))
    return path


@pytest.fixture(scope="session")
def object_server():
    """How to start servers of the Google Cloud Storage protocol."""
    return object_store.object_server
