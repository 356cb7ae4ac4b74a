import time

from cellassets.progress import TimeLeft, no_progress
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.reports import TrainingReports

RECIPE = NetworkRecipe(name="small", train_experiments=("E-1",), validation_experiments=("E-2",), n_epochs=4)


def reported(interval_s: float):
    found = []
    reports = TrainingReports(
        RECIPE,
        n_steps=40,
        progress=lambda *report, note="": found.append((*report, note)),
        interval_s=interval_s,
    )
    return reports, found


def test_every_batch_is_reported_under_one_label_if_no_time_has_to_pass():
    reports, found = reported(0.0)
    for n_done in (1, 10, 11):
        reports.step(n_done, 2.314)
    assert [report[:3] for report in found] == [(n, 40, "batches trained for small") for n in (1, 10, 11)]
    assert [report[3].split(", about")[0] for report in found] == [
        "epoch 1 of 4, loss 2.31",
        "epoch 1 of 4, loss 2.31",
        "epoch 2 of 4, loss 2.31",
    ]


def test_batches_within_the_interval_are_not_reported_but_the_first_batch_and_every_epoch_are():
    reports, found = reported(3600.0)
    for n_done in range(1, 11):
        reports.step(n_done, 2.0)
    reports.step(10, None)
    reports.epoch(0, {"train_loss": 1.5, "validation_accuracy": 0.25})
    reports.epoch(1, {"train_loss": 1.25})
    assert [report[0] for report in found] == [1, 10, 20]
    assert found[1][3].startswith("epoch 1 of 4, loss 1.50, held-out accuracy 0.250, about ")
    assert found[2][3].startswith("epoch 2 of 4, loss 1.25, held-out accuracy 0.250, about ")


def test_the_time_left_counts_only_what_was_done_since_the_start(monkeypatch):
    now = iter([100.0, 110.0, 160.0, 400.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    left = TimeLeft()
    assert left.text(500, 1000) == "", "500 units were done by an earlier process"
    assert left.text(510, 1000) == "about 8 min left", "1 s per unit"
    assert left.text(980, 1000) == "about 2 s left"
    assert left.text(1000, 1000) == ""
    no_progress(1, 2, "units", note="nothing happens")


def test_the_time_of_the_whole_training_is_announced_before_the_first_batch():
    reports, found = reported(0.0)
    reports.expect(3 * 3600.0)
    assert found == [
        (0, 40, "batches trained for small", "about 3.0 h for 4 epochs of 10 batches, from one timed batch")
    ]


def test_an_epoch_is_reported_with_its_speed():
    reports, found = reported(0.0)
    speed = {"sites_per_second": 123.4, "data_wait_frac": 0.034, "peak_memory_gib": 1.0}
    reports.epoch(0, {"train_loss": 1.5, **speed})
    assert found[0][3] == "epoch 1 of 4, loss 1.50, 123 sites/s, 3% of the time without data"
