import subprocess
import sys

import pytest
import torch

from cellassets.errors import OutOfMemory, TrainingError
from cellassets.training.memory import keep_freed_memory, memory_errors_named

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


LIMITED = """
import resource, sys
import numpy as np
import torch
from cellassets.errors import OutOfMemory
from cellassets.training.memory import memory_errors_named
n_bytes = 16 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))
try:
    with memory_errors_named("training of big", stage="checkpoint", smaller="lower batch_size"):
        torch.empty(n_bytes, dtype=torch.uint8) if sys.argv[1] == "torch" else np.empty(n_bytes, dtype=np.uint8)
except OutOfMemory as error:
    print(error)
"""


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_a_process_that_runs_out_of_memory_says_which_limit_to_raise(library):
    answer = subprocess.run([sys.executable, "-c", LIMITED, library], capture_output=True, text=True, check=True)
    expected = (
        "training of big: out of memory: raise `memory_gib` of the stage `checkpoint` in pods.yaml, or lower batch"
    )
    assert answer.stdout.startswith(expected), answer.stdout


def test_a_gpu_without_memory_is_named_as_such():
    with (
        pytest.raises(OutOfMemory, match="out of GPU memory: give the stage `site_embeddings` a GPU with more memory"),
        memory_errors_named("it", stage="site_embeddings", smaller="use a smaller model"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("error", [TrainingError("loss is nan"), RuntimeError("shapes differ"), OSError(28, "full")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as raised, memory_errors_named("it", stage="checkpoint", smaller="lower it"):
        raise error
    assert raised.value is error
