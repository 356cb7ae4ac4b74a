import subprocess
import sys

import pytest

from cellassets.training.memory import keep_freed_memory

CODE = """
import resource, sys
import torch
from cellassets.training.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(10):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def n_page_faults(how: str) -> int:
    answer = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(answer.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_freed_memory_is_used_again_without_new_pages():
    assert n_page_faults("kept") < 100 < n_page_faults("as it was")


def test_a_library_without_the_setting_is_left_alone(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    assert keep_freed_memory() is False
