"""Two processes that share every batch train what one process trains on the whole batches."""

import copy
import importlib.util
import json
import multiprocessing
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from upath import UPath

from cellassets.training.attempts import Attempt
from cellassets.training.batch_norm import share_statistics
from cellassets.training.fit import fit
from cellassets.training.packing import unpack
from cellassets.training.sharing import Share

_spec = importlib.util.spec_from_file_location("striped_screen", Path(__file__).with_name("striped_screen.py"))
screen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(screen)


def in_processes(folder: Path, changes: dict, n: int = 2, after_epoch: int | None = None) -> list[list[dict]]:
    """The curves that each of several processes knows; they leave their states in the folder.

    `after_epoch` ends all of them after an epoch, counted from 0.
    """
    folder.mkdir(exist_ok=True)
    port = free_port()
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_process, args=((rank, n), port, folder, changes, after_epoch)) for rank in range(n)
    ]
    if not (folder / "attempts").exists():
        Attempt.begin(UPath(folder))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * n
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(n)]


def _process(place: tuple[int, int], port: int, folder: Path, changes: dict, after_epoch: int | None) -> None:
    rank, n = place
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "GROUP_RANK": 0}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}

    def stop(epoch, metrics):  # noqa: ARG001
        if epoch == after_epoch:
            module.trainer.should_stop = True

    module, batches = screen.prepared(screen.recipe(**changes), stop, share=Share(rank, n))
    fit(module, batches, recipe=module.recipe, attempt=Attempt(UPath(folder), 1))
    (folder / f"{rank}.json").write_text(json.dumps(module.history))


def ignore(epoch, metrics):
    pass


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return unpack(Attempt(UPath(folder), 1).last_state())["state_dict"]


CONVNEXT = {"family": "convnext", "widths": [8, 16], "depths": [1, 1]}
SGD = {"name": "sgd", "learning_rate": 0.05}
PAIRS = {"cross_entropy_weight": 0.5, "arcface_weight": 0.2, "metric_losses": [{"name": "supcon"}]}
STRIPES = {"crop_px": 24, "has_flips": False, "has_turns": False}  # turned stripes are another class
SHARED = {"n_per_node": 2, "accelerator": "cpu"}
VARIANTS = {
    "convnext": {"backbone": CONVNEXT},
    "pairs": {"loss": PAIRS, "n_sites_per_class": 4, "optimiser": {"name": "sgd", "learning_rate": 0.002}},
    "mixed, averaged, two batches per step": {
        "augmentation": {**STRIPES, "mix": {"kind": "cutmix"}},
        "optimiser": {**SGD, "ema_decay": 0.9, "n_batches_per_step": 2},
        "batch_size": 24,
    },
    "fsdp": {"strategy": "fsdp", "optimiser": {**SGD, "ema_decay": 0.9, "max_gradient_norm": 1.0}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_train_what_one_does_on_the_whole_batch(tmp_path, name):
    changes = {"n_epochs": 2, "optimiser": SGD, **VARIANTS[name]}
    strategy = changes.pop("strategy", "ddp")
    curves = in_processes(tmp_path / "two", {**changes, "devices": {**SHARED, "strategy": strategy}})
    alone = screen.train(screen.recipe(**changes), tmp_path / "one", ignore)
    for one, first, second in zip(alone.history, *curves, strict=True):
        assert first == second, "all processes know the same"
        assert first["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
        assert first["validation_accuracy"] == one["validation_accuracy"]
    found, expected = weights(tmp_path / "two"), weights(tmp_path / "one")
    assert list(found) == list(expected)
    for weight in expected:
        torch.testing.assert_close(found[weight], expected[weight], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_processes_go_on_to_the_very_same_weights(tmp_path, strategy):
    changes = {"devices": {**SHARED, "strategy": strategy}, "optimiser": {"ema_decay": 0.9}, "n_epochs": 4}
    in_processes(tmp_path / "straight", changes)
    in_processes(tmp_path / "stopped", changes, after_epoch=1)
    (epoch, *_), *_ = in_processes(tmp_path / "stopped", changes)
    assert epoch["epoch"] == 1, "the curve of the first two epochs is kept"
    for weight, straight in weights(tmp_path / "straight").items():
        assert torch.equal(weights(tmp_path / "stopped")[weight], straight), weight


@pytest.mark.parametrize(("n_sites", "n"), [(64, 2), (37, 4), (5, 5), (9, 4)])
def test_held_out_sites_are_judged_once_by_one_process(n_sites, n):
    blocks = [Share(rank, n).blocks(n_sites, batch_size=8) for rank in range(n)]
    assert len({len(of_one) for of_one in blocks}) == 1, "all processes have equally many batches"
    assert min(len(block) for of_one in blocks for block in of_one) >= 1
    seen = np.concatenate([block for of_one in blocks for block in of_one])
    assert sorted(seen) == list(range(n_sites))


def test_the_shares_of_a_batch_are_the_batch():
    module, batches = screen.prepared(screen.recipe(), ignore)
    whole = list(batches.train_dataloader())
    for share_of in zip(whole, *(list(shared_batches(rank)) for rank in range(4)), strict=True):
        one, *parts = share_of
        for name in ("images", "scale", "shift", "labels", "store_index"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(one, name)), name
    assert module.pace.measured()["sites_per_second"] == 0


def shared_batches(rank: int):
    return screen.prepared(screen.recipe(), ignore, share=Share(rank, 4))[1].train_dataloader()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": {"n_per_node": 3}}, "batch_size 16 is not a multiple of the 3 processes of devices"),
        ({"devices": {"strategy": "fsdp"}}, "devices.strategy fsdp with one process"),
        ({"devices": {"n_per_node": 0}}, "greater than or equal to 1"),
    ],
)
def test_devices_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        screen.recipe(**changes)


def test_the_statistics_of_a_batch_are_those_of_torch():
    torch.manual_seed(0)
    images = torch.randn(6, 4, 5, 5)
    plain = nn.Sequential(nn.BatchNorm2d(4, momentum=0.3))
    shared = copy.deepcopy(plain)
    share_statistics(shared, "cpu")
    assert not isinstance(shared[0], nn.BatchNorm2d)
    for _ in range(2):
        torch.testing.assert_close(shared(images), plain(images))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value)
    torch.testing.assert_close(shared.eval()(images), plain.eval()(images))
