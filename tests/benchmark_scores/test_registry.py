"""Registering benchmarks: the example of the documentation runs, doubles are refused, configs fit."""

import re
import types
from pathlib import Path

import pytest
from upath import UPath

from cellassets.configuration import load_yaml
from cellassets.errors import ConfigError
from cellassets.scoring.benchmark import BENCHMARKS
from cellassets.scoring.definition import RankedBy, benchmark

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def documented():
    """The benchmark of docs/add-a-benchmark.md, registered for one test."""
    text = (REPOSITORY / "docs/add-a-benchmark.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    known = dict(BENCHMARKS)
    module = types.ModuleType("cellassets.scoring.spread")
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


def test_the_catalogue_has_the_three_of_the_issue():
    assert sorted(BENCHMARKS) == ["known_relationships", "perturbation_consistency", "perturbation_magnitude"]
    for name, chosen in BENCHMARKS.items():
        assert chosen.name == name == chosen.score.__name__
        assert chosen.title
        assert chosen.description.endswith(".")


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
