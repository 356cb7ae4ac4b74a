"""A real small deployment for the command line: a simulated screen, one recipe, and what the daemon would make of it.

`HUVEC` is active. `U2OS` landed and is stored, and waits for a backfill.
"""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from cellassets import cli
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.reconcile.live import LiveSnapshot
from cellassets.reconcile.standing import leaderboard_agenda, plate_agenda, recipe_agenda, report_agenda
from cellassets.reconcile.work import embedding_agenda, map_agenda
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named, stages
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.synthetic.truth import write_truth

REPOSITORY = Path(__file__).parents[2]
DESIGN = tiny_design(
    image_size=64,
    cell_types=[{"name": "HUVEC", "n_experiments": 1}, {"name": "U2OS", "n_experiments": 1}],
)
SETTINGS = {
    "policy.yaml": {"datasets": {"active": ["HUVEC"]}},
    "mapping.yaml": {"steps": [{"kind": "pca", "n_components": 8}, {"kind": "centre_scale"}], "n_judged_wells": 30},
    "gate.yaml": {"deciding_datasets": ["HUVEC"], "guarded": [{"benchmark_name": "perturbation_magnitude"}]},
    "recipes/plain.yaml": {"kind": "classical", "parameters": {"families": ["intensity"]}},
    "hits.yaml": {"n_permutations": 199, "n_dose_permutations": 99},
    **{f"benchmarks/{name}.yaml": {"n_permutations": 99} for name in BENCHMARKS},
}
AGENDAS = (plate_agenda, recipe_agenda, embedding_agenda, map_agenda, leaderboard_agenda, report_agenda)


@dataclass(frozen=True)
class Answer:
    """What one call of the command line gave."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def call(capsys, monkeypatch):
    """Calls the program with an environment of its own: `call("model", "list", CELLASSETS_HOME=...)`."""

    def call(*arguments, **environment) -> Answer:
        with monkeypatch.context() as patch:
            for name in [*Deployment.of({}).environment(), "CELLASSETS_HOME"]:
                patch.delenv(name, raising=False)
            for name, value in {"COLUMNS": "100", **environment}.items():
                patch.setenv(name, str(value))
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Answer(int(ended.value.code or 0), out, err)

    return call


@pytest.fixture
def run(call):
    """Stdout of a call that ends with status 0."""

    def run(*arguments, **environment) -> str:
        answer = call(*arguments, **environment)
        assert answer.status == 0, answer.stdout + answer.stderr
        return answer.stdout

    return run


@pytest.fixture
def refused(call):
    """Stderr of a call that ends with status 1, on one line."""

    def refused(*arguments, **environment) -> str:
        answer = call(*arguments, **environment)
        assert answer.status == 1, answer.stdout + answer.stderr
        return " ".join(answer.stderr.split())

    return refused


def write_settings(folder: Path) -> Path:
    """Writes the settings of the small deployment."""
    for name, values in SETTINGS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    return folder


def settle(deployment: Deployment) -> None:
    """Makes everything that is due, as sensors and daemon would."""
    snapshot = LiveSnapshot(deployment, stages())
    while True:
        snapshot.refresh()
        snapshot.refresh_landing({}, datetime.now(UTC), timedelta(minutes=10))
        work = next((found for agenda in AGENDAS if (found := agenda(snapshot).work)), [])
        if not work:
            return
        for piece in work:
            for name in piece.assets:
                carry_out(stage_named(name), deployment, piece.keys)


@pytest.fixture(scope="session")
def screen(tmp_path_factory) -> Path:
    """A folder with the landing zone and the truth of the simulated screen. Nobody changes it."""
    folder = tmp_path_factory.mktemp("screen")
    write_screen(DESIGN, folder / "landing")
    write_truth(DESIGN, folder / "truth")
    return folder


@pytest.fixture(scope="session")
def settled(screen, tmp_path_factory) -> Path:
    """A home in which everything is made. Nobody changes it."""
    home = tmp_path_factory.mktemp("settled") / "home"
    shutil.copytree(screen / "landing", home / "landing")
    (home / "lake/annotations").mkdir(parents=True)
    shutil.copy(screen / "truth/gene_pairs.csv", home / "lake/annotations/planted.csv")
    write_settings(home / "configs")
    (home / "deployment.yaml").write_text("configs: configs\n")
    settle(Deployment.of({}, home=home))
    return home


@pytest.fixture
def home(settled, tmp_path) -> Path:
    """A copy of the home in which everything is made: a test may change it, and it was moved."""
    shutil.copytree(settled, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def settle_home():
    """Makes everything that is due in a home: `settle_home(home)`."""
    return lambda home: settle(Deployment.of({}, home=home))
