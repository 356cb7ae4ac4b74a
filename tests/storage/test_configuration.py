"""A wrong configuration file is refused with its path and key."""

import pytest
from upath import UPath

from cellassets.configuration import Parameters, load_yaml
from cellassets.errors import ConfigError


class Settings(Parameters):
    name: str
    n_neighbours: int = 3


def write(tmp_path, text):
    (tmp_path / "s.yaml").write_text(text)
    return UPath(tmp_path / "s.yaml")


def test_a_file_is_read_with_defaults(tmp_path):
    assert load_yaml(write(tmp_path, "n_neighbours: 5"), Settings, name="s") == Settings(name="s", n_neighbours=5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("n_neigbours: 5\nname: s", "n_neigbours"),
        ("n_neighbours: many\nname: s", "n_neighbours"),
        ("- 1", "expected a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, says):
    with pytest.raises(ConfigError, match=rf"s\.yaml.*{says}"):
        load_yaml(write(tmp_path, text), Settings)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_yaml(UPath(tmp_path / "none.yaml"), Settings)
