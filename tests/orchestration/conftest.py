"""A small deployment: a tiny screen, three cheap recipes, benchmarks with few permutations."""

from pathlib import Path

import pytest
import yaml

from cellassets.synthetic.presets import tiny_design

NETWORK = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
    "embedding_dim": 16,
    "uses_flagged_sites": True,  # there are only two wells per perturbation: none may be missing
    "augmentation": {"crop_px": 48},
    "n_epochs": 2,
    "batch_size": 16,
}
CLASSICAL = {"kind": "classical", "parameters": {"families": ["intensity", "sizeshape"]}}
POLICY = {"datasets": {"active": ["HUVEC"]}}
DESIGN = {
    "cell_types": [{"name": "HUVEC", "n_experiments": 2}, {"name": "U2OS", "n_experiments": 1}],
    "image_size": 80,
    "n_rows": 8,
    "n_columns": 10,
    "n_wells_per_perturbation": 2,
    "n_negative_controls": 16,
}


@pytest.fixture(scope="session")
def configs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    for path, values in {
        "recipes/tiny_network.yaml": NETWORK,
        "recipes/classical.yaml": CLASSICAL,
        "policy.yaml": POLICY,
        "mapping.yaml": {},
    }.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(yaml.safe_dump(values))
    for name in ("benchmarks", "datasets"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="session")
def design_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("design") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_design(**DESIGN).model_dump(mode="json")))
    return path
