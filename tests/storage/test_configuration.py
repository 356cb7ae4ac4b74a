"""A wrong configuration file is refused with its path and key."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator
from upath import UPath

from cellassets.configuration import Parameters, load_yaml
from cellassets.errors import ConfigError


class Square(Parameters):
    form: Literal["square"]


class Circle(Parameters):
    form: Literal["circle"]


class Settings(Parameters):
    name: str
    n_neighbours: int = 3
    shape: Annotated[Square | Circle, Field(discriminator="form")] | None = None

    @model_validator(mode="after")
    def _many(self):
        if self.name == "many" and not self.n_neighbours:
            message = f"n_neighbours is {self.n_neighbours}, which is not many"
            raise ValueError(message)
        return self


def write(tmp_path, text):
    (tmp_path / "s.yaml").write_text(text)
    return UPath(tmp_path / "s.yaml")


def test_a_file_is_read_with_defaults(tmp_path):
    assert load_yaml(write(tmp_path, "n_neighbours: 5"), Settings, name="s") == Settings(name="s", n_neighbours=5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "name: s\nn_neigbours: 5",
            r"n_neigbours: unknown key \(did you mean n_neighbours\?\); the keys are name, .* \(line 2",
        ),
        ("n_neighbours: 2", "name: this key is missing"),
        ("name: s\nshape:\n  form: disc", r"shape: no form 'disc'; expected 'square', 'circle' \(line 2"),
        ("name: many\nn_neighbours: 0", r": not a valid Settings: n_neighbours is 0, which is not many \(line 2\)$"),
        ("n_neighbours: many\nname: s", "n_neighbours"),
        ("- 1", "expected a mapping"),
        ("a: [", "not valid YAML"),
        ("name: s\nn_neighbours: 4\n'name': t", "line 3: the key 'name' is in line 1 already"),
        ("name: {a: 1, b: 2,\n  a: 3}", "line 2: the key 'a' is in line 1 already"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, says):
    with pytest.raises(ConfigError, match=rf"s\.yaml.*{says}"):
        load_yaml(write(tmp_path, text), Settings)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_yaml(UPath(tmp_path / "none.yaml"), Settings)


def test_a_key_may_stand_again_in_another_mapping_and_beside_a_merged_one(tmp_path):
    class Wide(Parameters):
        values: dict[str, dict[str, dict[str, int]]]

    text = "values: {x: {p: &base {a: 1}, q: &more {<<: *base, a: 2}}, y: {r: {<<: *more, b: 3}}}"
    assert load_yaml(write(tmp_path, text), Wide).values == {
        "x": {"p": {"a": 1}, "q": {"a": 2}},
        "y": {"r": {"a": 2, "b": 3}},
    }
