"""Registering benchmarks: the example of the documentation runs, doubles are refused, configs fit."""

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from upath import UPath

from cellassets.benchmarks.definition import PermutationParameters, RankedBy, benchmark
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.configuration import load_yaml
from cellassets.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def documented():
    """The benchmark of docs/add-a-benchmark.md, registered for one test."""
    text = (REPOSITORY / "docs/add-a-benchmark.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    known = dict(BENCHMARKS)
    module = types.ModuleType("my_benchmarks.spread")
    exec(compile(code, "add-a-benchmark.md", "exec"), vars(module))  # noqa: S102
    yield BENCHMARKS["spread"]
    BENCHMARKS.clear()
    BENCHMARKS.update(known)


def headline(chosen, judged):
    rows = chosen.score(judged, chosen.parameters(n_permutations=99))
    return next(row for row in rows if row.level == "summary" and row.metric == chosen.headline_metric)


def test_the_documented_benchmark_finds_what_is_planted_and_nothing_else(documented, judge):
    assert headline(documented, judge(seed=1)).p_value == 0.01
    assert headline(documented, judge(seed=2, is_shuffled=True)).p_value > 0.05


def test_the_documented_benchmark_is_short():
    code = re.search(r"```python\n(.*?)```", (REPOSITORY / "docs/add-a-benchmark.md").read_text(), re.DOTALL)[1]
    assert len(code.splitlines()) < 40


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two installed packages with an entry point each: one with the documented benchmark, one that cannot be loaded."""
    code = re.search(r"```python\n(.*?)```", (REPOSITORY / "docs/add-a-benchmark.md").read_text(), re.DOTALL)[1]
    for name, text in (
        ("my_benchmarks", code),
        ("broken_benchmarks", code.replace("def spread", "def other") + "1 / 0"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "spread.py").write_text(text)
        metadata = tmp_path / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[cellassets.benchmarks]\n{name} = {name}.spread\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("packages")
def test_another_package_adds_a_benchmark_and_a_broken_one_holds_up_nothing():
    code = (
        "from cellassets.definitions import definitions; from cellassets.benchmarks.registry import FAILED_PLUGINS; "
        "keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}; "
        "print(sorted(k for k in keys if 'spread' in k or 'other' in k), 'raw_plates' in keys, FAILED_PLUGINS)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert answer.stdout.strip() == (
        "['benchmark/spread'] True {'broken_benchmarks': 'ZeroDivisionError: division by zero'}"
    )
    assert "benchmarks of broken_benchmarks" in answer.stderr


def test_every_benchmark_says_what_it_is():
    for name, chosen in BENCHMARKS.items():
        assert chosen.name == name == chosen.score.__name__
        assert chosen.title
        assert chosen.description.endswith(".")


def test_a_parameter_without_a_default_is_refused():
    class Bare(PermutationParameters):
        needed: int

    with pytest.raises(ConfigError, match="benchmark bare: every parameter of Bare needs a default"):

        @benchmark(title="t", description="d.", code_version="1", parameters=Bare, ranked_by=RankedBy("x", "x"))
        def bare(_judged, _parameters):
            return []

    assert "bare" not in BENCHMARKS


def test_two_benchmarks_of_one_name_are_refused():
    def perturbation_magnitude(_judged, _parameters):
        return []

    described = BENCHMARKS["perturbation_magnitude"]
    register = benchmark(
        title="t", description="d", code_version="1", parameters=described.parameters, ranked_by=RankedBy("a", "b")
    )
    with pytest.raises(ConfigError, match=r"is there already, in cellassets\.scoring\.catalogue"):
        register(perturbation_magnitude)
    assert BENCHMARKS["perturbation_magnitude"] is described


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_the_configs_are_valid_and_say_what_the_defaults_are(name):
    model = BENCHMARKS[name].parameters
    assert load_yaml(UPath(REPOSITORY / "configs/benchmarks" / f"{name}.yaml"), model) == model()
