"""Datasets as people write them; which wells they hold is tested in tests/stages/test_datasets.py."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from upath import UPath

from cellassets.errors import ConfigError
from cellassets.mapping.dataset import Dataset, load_dataset


def test_curated_datasets_are_named_by_their_file(tmp_path):
    folder = UPath(tmp_path)
    (folder / "b.yaml").write_text("cell_types: [HUVEC]\nbatch_by: plate\n")
    dataset = load_dataset(folder / "b.yaml")
    assert (dataset.dataset_id, dataset.batch_by) == ("b", "plate")
    (folder / "c.yaml").write_text("cell_type: HUVEC\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: .*cell_type: unknown key"):
        load_dataset(folder / "c.yaml")
    (folder / "d.yaml").write_text("dataset_id: b\n")
    with pytest.raises(ConfigError, match=r"d\.yaml: dataset_id: found 'b'"):
        load_dataset(folder / "d.yaml")


@pytest.mark.parametrize(
    "values",
    [
        {"frozen_fingerprint": "x"},
        {"quality": {"min_sites_per_well": 0}},
        {"dataset_id": "a,b"},
        {"dataset_id": "../x"},
    ],
)
def test_datasets_that_contradict_themselves_are_refused(values):
    with pytest.raises((ValidationError, ValueError)):
        Dataset(**{"dataset_id": "d", **values})


def test_the_documented_dataset_is_valid():
    page = (Path(__file__).parents[2] / "docs/add-a-dataset.md").read_text()
    (documented,) = re.findall(r"```yaml\n# configs/datasets/huvec_genes.yaml.*?\n(.*?)```", page, re.DOTALL)
    values = yaml.safe_load(documented)
    dataset = Dataset.model_validate({"dataset_id": "huvec_genes", **values})
    assert dataset.quality.min_nuclei == 5
    assert set(values) == set(Dataset.model_fields) - {"dataset_id", "frozen_fingerprint"}, "every key is shown"
