"""What tests of searches share."""

import shutil
from pathlib import Path

import pytest

from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen

EXPERIMENTS = ("HUVEC-1", "HUVEC-2")


@pytest.fixture(scope="module")
def stored(tmp_path_factory, empty_home) -> Path:
    """A home with two stored experiments of a tiny screen."""
    home = tmp_path_factory.mktemp("searches") / "home"
    shutil.copytree(empty_home, home)
    (home / "configs").mkdir()
    (home / "configs/policy.yaml").write_text("{}")
    write_screen(tiny_design(image_size=48, n_sites_per_well=1), home / "landing", experiment_ids=list(EXPERIMENTS))
    deployment = Deployment.of({}, home=home, configs=home / "configs")
    for experiment_id in EXPERIMENTS:
        for name in ("raw_plates", "plate_store"):
            carry_out(stage_named(name), deployment, {"experiment": experiment_id})
    return home
