"""The cores that a process may use, from the files of control groups in both versions."""

import os

import pytest

from cellassets.machine import n_cores

BOUND = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": f"{BOUND * 400000} 100000\n"}, BOUND),
        ({"cpu.max": "max 100000\n"}, BOUND),
        ({"cpu/cpu.cfs_quota_us": "30000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, BOUND),
        ({}, BOUND),
    ],
)
def test_the_limit_of_the_container_counts_and_not_the_node(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert n_cores(tmp_path) == expected


@pytest.mark.skipif(BOUND < 2, reason="one core cannot be less than itself")
def test_a_limit_between_two_cores_rounds_up(tmp_path):
    (tmp_path / "cpu.max").write_text("110000 100000\n")
    assert n_cores(tmp_path) == 2
