"""Every chart is a described picture that shows its numbers, keeps hostile names as text, and needs no network."""

import base64
import json
import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.parts import Part
from cellassets.errors import BenchmarkError
from cellassets.reporting.chart import Chart
from cellassets.reporting.clustered_map import ClusteredMap
from cellassets.reporting.heat_map import MAX_INTERACTIVE_GENES, heat_map
from cellassets.reporting.interval_chart import Estimate, NullBand, interval_chart
from cellassets.reporting.steps_chart import steps_chart
from cellassets.reporting.training_chart import training_chart
from cellassets.reporting.unit_picture import MAX_POINTS, data_uri, unit_chart
from cellassets.tables.schemas import SCORES

PART = Part("all", "unseen_experiments", ("E1",))
HOSTILE = '</script><script>alert("1")</script>'
BAND = NullBand(0.0, 0.1, 0.2)


def estimate(name, value=0.5, **changes):
    return Estimate(name, value, value - 0.1, value + 0.1, **{"p_value": 0.01, "rank": 1, **changes})


def genes(n, *, names=None):
    groups = [place // 2 if place < 4 else None for place in range(n)]
    return ClusteredMap(names or [f"G{place}" for place in range(n)], np.eye(n), groups, 0)


def unit_scores(values, *, q_values=None):
    """SCORES rows of one benchmark's units."""
    names = dict.fromkeys(("dataset_id", "dataset_fingerprint", "protocol_fingerprint", "model_key"), "x")
    metric = "consistency_percentile"
    rows = [
        {
            **names, **PART.columns(), "benchmark_name": "perturbation_consistency", "metric": metric,
            "level": "perturbation",
            "perturbation_id": f"GENE{place}", "value": value, "null_mean": 0.5, "null_low": 0.3, "null_high": 0.7,
            "p_value": 0.01, "q_value": q_values[place] if q_values else 0.02, "correction": "bh", "n_units": 4,
            "unit": "well", "is_higher_better": True,
        }
        for place, value in enumerate(values)
    ]  # fmt: skip
    return SCORES.conform(pl.DataFrame(rows, schema=SCORES.empty().schema), source="test")


def all_charts(name):
    names = [name, *(f"G{place}" for place in range(5))]
    scores = unit_scores([0.1, 0.2]).with_columns(pl.lit(name).alias("perturbation_id"))
    return [
        interval_chart(name, [estimate(name, is_highlighted=True, compared=name)], BAND, axis=name),
        steps_chart(name, [name], [0.5], 0.1),
        heat_map(name, genes(6, names=names)),
        unit_chart(scores),
    ]


def data_of(chart):
    """All rows that a chart holds."""
    return [row for rows in json.loads(chart.embedded())["datasets"].values() for row in rows]


def texts_of(chart):
    return [element.text for element in ET.fromstring(chart.svg()).findall(".//{*}text")]  # noqa: S314


@pytest.mark.parametrize("chart", all_charts("A name"), ids=["interval", "steps", "heat map", "unit"])
def test_the_picture_has_a_title_a_description_and_marks(chart):
    root = ET.fromstring(chart.svg())  # noqa: S314  made by this test's own code
    assert root.get("role") == "img"
    assert root.find("{*}title").text == chart.title
    assert root.find("{*}desc").text == chart.description
    assert len(list(root.findall(".//{*}path"))) > 3
    assert json.loads(chart.embedded())["description"] == f"{chart.title}: {chart.description}"


@pytest.mark.parametrize("chart", all_charts(HOSTILE), ids=["interval", "steps", "heat map", "unit"])
def test_hostile_names_stay_text(chart):
    svg = chart.svg()
    ET.fromstring(svg)  # noqa: S314
    assert "<script" not in svg
    assert "<" not in chart.embedded()
    assert HOSTILE.replace('"', '\\"') in json.dumps(json.loads(chart.embedded()))


def test_the_interval_chart_names_and_values_every_model_in_order():
    chart = interval_chart(
        "Recall", [estimate("z.v1", 0.8, is_highlighted=True), estimate("a.v1", 0.4)], BAND, axis="recall"
    )
    texts = texts_of(chart)
    assert texts.index("z.v1") < texts.index("a.v1")
    assert {"0.800", "0.400"} <= set(texts)
    assert chart.description == "z.v1 0.800; a.v1 0.400; mean of the null distribution 0.100"
    tooltips = json.dumps(chart.spec)
    for part in ("95% interval", "null mean (95%)", '"p"'):
        assert part in tooltips


def test_the_axis_covers_0_to_1_and_what_lies_outside():
    chart = interval_chart("Effect", [Estimate("a.v1", 3.0, -1.0, 7.0, p_value=0.1, rank=1)], BAND, axis="effect")
    assert '"domain": [-1.0, 7.0]' in json.dumps(chart.spec)


def test_an_estimate_without_an_interval_has_none():
    chart = interval_chart("t", [Estimate("a.v1", 0.5, None, None, p_value=0.1, rank=1)], BAND, axis="t")
    row = next(row for row in data_of(chart) if "name" in row)
    assert row["low"] is None
    assert row["interval"] == "not given"
    ET.fromstring(chart.svg())  # noqa: S314


def test_units_are_marked_by_the_level_that_the_caller_gives():
    scores = unit_scores([0.2, 0.4, 0.9], q_values=[0.5, 0.08, 0.001])
    assert unit_chart(scores).description.startswith("1 of 3 units")
    assert unit_chart(scores, alpha=0.1).description.startswith("2 of 3 units")
    outcomes = {row["name"]: row["outcome"] for row in data_of(unit_chart(scores)) if "name" in row}
    assert outcomes == {
        "GENE0": "does not (q > 0.05)",
        "GENE1": "does not (q > 0.05)",
        "GENE2": "differs from its null (q ≤ 0.05)",
    }


def test_of_many_units_an_even_selection_with_both_ends_is_shown():
    chart = unit_chart(unit_scores(np.linspace(0, 0.9, 1000).tolist()))
    ranks = [row["rank"] for row in data_of(chart) if "rank" in row]
    assert len(ranks) == MAX_POINTS
    assert (min(ranks), max(ranks)) == (1, 1000)
    assert f"units, sorted by value ({MAX_POINTS} of 1000 shown)" in texts_of(chart)


@pytest.mark.parametrize("values", [[], [0.5], [0.0, 1.0, 1.0]])
def test_units_that_a_chart_cannot_show_have_none(values):
    assert unit_chart(unit_scores(values)) is None


def test_the_data_url_is_the_static_picture():
    chart = unit_chart(unit_scores([0.2, 0.4]))
    head, data = data_uri(chart).split(",")
    assert head == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == chart.svg()


def test_steps_of_one_name_stay_two_steps():
    texts = texts_of(steps_chart("t", ["raw", "centre_scale", "centre_scale"], [0.9, 0.5, 0.25], 0.3))
    assert texts.count("centre scale") == 2
    assert {"0.90", "0.50", "0.25"} <= set(texts)


@pytest.mark.parametrize("n_epochs", [1, 40, 1000])
def test_training_curves_end_with_the_last_epoch(n_epochs):
    history = [{"epoch": float(number), "train_loss": 1 / number} for number in range(1, n_epochs + 1)]
    history[-1] |= {"validation_accuracy": 0.4, "chance_accuracy": 0.1}
    drawn = training_chart(history)
    losses, accuracies = (drawn.spec["datasets"][name] for name in ("losses", "accuracies"))
    assert len(losses) == min(n_epochs, 100)
    assert losses[0]["epoch"] == accuracies[0]["epoch"] == n_epochs
    assert drawn.description.endswith(f"in {n_epochs} epochs; held-out accuracy 0.400, by chance 0.100")
    assert drawn.svg().count("<path") > 2


def test_the_heat_map_answers_to_the_mouse_up_to_a_size():
    small, large = (heat_map("t", genes(n)) for n in (MAX_INTERACTIVE_GENES, MAX_INTERACTIVE_GENES + 1))
    assert small.renderer == "canvas"
    assert small.static_spec is not None
    assert "cosines" in json.dumps(small.spec)
    assert "cosines" not in json.dumps(small.static_spec)
    assert large.renderer == "svg"
    assert "cosines" not in json.dumps(large.spec)


def test_the_heat_map_keeps_the_cosines_to_three_digits_and_lists_the_groups():
    cosines = np.array([[1.0, -0.25], [-0.25, 1.0]])
    chart = heat_map("t", ClusteredMap(["A", "B"], cosines, [0, 0], 0))
    rows = chart.spec["datasets"]["genes"]
    assert [row["cosines"] for row in rows] == [[1000, -250], [-250, 1000]]
    assert [row["group"] for row in rows] == ["A, B", "A, B"]


def test_a_heat_map_without_finite_cosines_is_refused():
    with pytest.raises(BenchmarkError, match="expected finite cosines"):
        heat_map("t", ClusteredMap(["A"], np.array([[np.nan]]), [None], 0))


def test_a_chart_that_names_an_address_is_refused():
    spec = {"data": {"url": "https://example.org/a.csv"}, "mark": "point", "encoding": {}}
    with pytest.raises(ValueError, match="External data url not allowed"):
        Chart("t", "d", spec).svg()


def test_importing_the_report_and_the_definitions_imports_no_chart_library():
    code = (
        "import sys, cellassets.definitions, cellassets.reporting.page, "
        "cellassets.reporting.unit_picture, cellassets.studies.calibration_page; "
        "print(sorted({'altair', 'vl_convert', 'jsonschema', 'PIL'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "altair" not in answer.stdout
    assert "vl_convert" not in answer.stdout


def test_drawing_a_chart_again_gives_the_same_picture():
    """A page is compared by its checksum: an id that counts the drawings of the process would change it."""
    for first, again in zip(all_charts("a"), all_charts("a"), strict=True):
        assert first.svg() == again.svg()
        named = set(re.findall(r'id="([^"]+)"', first.svg()))
        assert set(re.findall(r"url\(#([^)]+)\)", first.svg())) <= named
