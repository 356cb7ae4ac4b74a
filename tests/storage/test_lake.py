"""Places in the lake."""

import pytest
from upath import UPath

from cellassets.errors import PartitionKeyError
from cellassets.storage.lake import Lake, resolve_below


def test_no_key_leaves_the_lake(tmp_path):
    with pytest.raises(PartitionKeyError):
        Lake(UPath(tmp_path)).raw_plates("../../etc")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "Plate1/../../x.png", "..\\x", "file:///etc", "a\x00b"])
def test_no_path_from_a_table_leaves_its_root(tmp_path, path):
    with pytest.raises(PartitionKeyError, match="leaves"):
        resolve_below(UPath(tmp_path), path)


def test_a_path_below_is_resolved(tmp_path):
    assert resolve_below(UPath(tmp_path), "Plate1/B02_s1_w1.png") == UPath(tmp_path) / "Plate1" / "B02_s1_w1.png"


def test_keys_are_the_folders_of_a_kind(tmp_path):
    lake = Lake(UPath(tmp_path))
    assert lake.keys("raw_plates") == []
    for name in ("B", "A"):
        (tmp_path / "raw_plates" / name).mkdir(parents=True)
    assert lake.keys("raw_plates") == ["A", "B"]
