"""The reference page of all settings is made from the models."""

import runpy
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from cellassets.configuration import Parameters

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(REPOSITORY / "scripts/configuration_page.py"))


class Inner(Parameters):
    """An inner model."""

    kind: Literal["inner"] = "inner"
    n_things: int = Field(default=3, ge=1, description="how many things.")


class Outer(Parameters):
    """An outer model.

    Args:
        sizes: in pixels,
            each of them.
    """

    sizes: tuple[Annotated[float, Field(gt=0)], ...] = (1.0, 2.5)
    inner: Inner = Inner()
    name: str | None = Field(min_length=2)


class Narrower(Inner):
    """A model that overrides a default."""

    n_things: int = Field(default=5, ge=2)


def test_a_row_has_type_default_range_and_meaning(script):
    rows = [line for line in script["_sections"](Outer, set()) if line.startswith("| `")]
    assert rows == [
        "| `sizes` | list of numbers (> 0) | `[1.0, 2.5]` |  | In pixels, each of them |",
        "| `inner` | [kind: inner](#kind-inner) | its defaults |  |  |",
        "| `name` | text or null | required | at least 2 |  |",
        "| `n_things` | integer | `3` | ≥ 1 | How many things |",
    ]


def test_an_overridden_field_keeps_the_meaning_of_its_base(script):
    rows = [line for line in script["_table"](Narrower) if line.startswith("| `")]
    assert rows == ["| `n_things` | integer | `5` | ≥ 2 | How many things |"]


def test_links_within_the_page_lead_to_a_heading(script):
    text = script["page"]()
    headings = {script["_anchor"](line.lstrip("# ")) for line in text.splitlines() if line.startswith("#")}
    links = {part.split(")")[0] for part in text.split("](#")[1:]}
    assert links
    assert links <= headings


def test_every_benchmark_and_every_environment_variable_is_on_the_page(script):
    text = script["page"]()
    for name in script["BENCHMARKS"]:
        assert f"### {name}" in text
    assert "`CELLASSETS_CONFIGS`" in text
