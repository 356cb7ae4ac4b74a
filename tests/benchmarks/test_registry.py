"""Registering benchmarks: the example of the documentation runs, doubles are refused, configs fit."""

import importlib
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import get_type_hints

import pytest
from upath import UPath

from cellassets.benchmarks.definition import PermutationParameters, RankedBy, Score, benchmark
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.plugins import new_benchmarks
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.configuration import load_yaml
from cellassets.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
DECLARE = benchmark(title="t", description="d.", code_version="1", ranked_by=RankedBy("x", "x"))


@pytest.fixture
def documented():
    """The benchmark of docs/add-a-benchmark.md, registered for one test."""
    text = (REPOSITORY / "docs/add-a-benchmark.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    module = types.ModuleType("my_benchmarks.spread")
    exec(compile(code, "add-a-benchmark.md", "exec"), vars(module))  # noqa: S102
    return new_benchmarks(module, BENCHMARKS)["spread"]


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
        assert chosen.name == name
        assert chosen.title
        assert chosen.description.endswith(".")


def test_a_parameter_without_a_default_is_refused():
    class Bare(PermutationParameters):
        needed: int

    def bare(_judged: JudgedMap, _parameters: Bare) -> list[Score]:
        return []

    with pytest.raises(ConfigError, match="benchmark bare: every parameter of Bare needs a default"):
        DECLARE(bare)


def test_a_function_that_does_not_say_what_its_parameters_are_is_refused():
    def untyped(_judged, _parameters):
        return []

    def of_the_wrong_kind(_judged: JudgedMap, _parameters: int) -> list[Score]:
        return []

    def of_one_argument(_judged: JudgedMap) -> list[Score]:
        return []

    for function in (untyped, of_the_wrong_kind, of_one_argument):
        with pytest.raises(ConfigError, match="expected a function of a JudgedMap and of a subclass of Permutation"):
            DECLARE(function)


def test_two_benchmarks_of_one_name_are_refused():
    def perturbation_magnitude(_judged: JudgedMap, _parameters: PermutationParameters) -> list[Score]:
        return []

    double = DECLARE(perturbation_magnitude)
    with pytest.raises(ConfigError, match=r"already a benchmark perturbation_magnitude \(cellassets\.benchmarks\.rep"):
        new_benchmarks(double, BENCHMARKS)
    module = types.ModuleType("two")
    vars(module).update(first=double, second=DECLARE(perturbation_magnitude))
    with pytest.raises(ConfigError, match="already a benchmark perturbation_magnitude"):
        new_benchmarks(module, {})


def test_a_module_without_a_benchmark_is_refused():
    with pytest.raises(ConfigError, match="holds no benchmark; name the module, or the function, that @benchmark dec"):
        new_benchmarks(types.ModuleType("empty"), BENCHMARKS)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_named_function_is_typed_and_called_like_its_benchmark(name):
    """The names are strings, so neither the import system nor mypy reads them."""
    chosen = BENCHMARKS[name]
    assert chosen.function.partition(":")[2] == name
    for reference in (chosen.function, chosen.published):
        if reference is not None:
            module, _, function = reference.partition(":")
            types_of = list(get_type_hints(getattr(importlib.import_module(module), function)).values())
            assert types_of[0] is JudgedMap
            assert issubclass(chosen.parameters, types_of[1])


def test_the_registry_is_whole_and_light_wherever_it_is_imported_from():
    code = (
        "import sys; from cellassets.benchmarks.definition import Benchmark; "
        "from cellassets.benchmarks.retrieval.benchmarks import RETRIEVAL; "
        "from cellassets.benchmarks.registry import BENCHMARKS; "
        "print(len(BENCHMARKS), sorted({'numpy', 'polars', 'scipy', 'torch', 'mlflow'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert answer.stdout.strip() == f"{len(BENCHMARKS)} []"


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_the_configs_are_valid_and_say_what_the_defaults_are(name):
    model = BENCHMARKS[name].parameters
    assert load_yaml(UPath(REPOSITORY / "configs/benchmarks" / f"{name}.yaml"), model) == model()
