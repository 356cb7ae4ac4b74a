"""`cellassets screen illumination`: what it writes, what it says, and when it ends with status 1."""

import json

import imagecodecs
import numpy as np


def test_functions_are_written_listed_and_applied_after_the_line_that_is_named(zone, call, run):
    folder = zone.land(plates=(1,))
    answer = call("screen", "illumination", zone.root, COLUMNS=250)
    assert answer.status == 0
    assert "Plate1_3.npy" in answer.stdout
    assert "written" in answer.stdout
    assert f"add this line to {zone.root}/experiment.yaml, which holds for all experiments" in answer.stderr
    assert answer.stderr.strip().endswith("correct_illumination: true")
    assert "Poor: Plate1 Hoechst: 6 images give an uncertainty of" in answer.stderr
    assert "nothing is wrong with it" in run("screen", "check", zone.root)
    shared = json.loads((zone.root / "experiment.yaml").read_text())
    (folder / "experiment.yaml").write_text(json.dumps({**shared, "correct_illumination": True}))
    answer = call("screen", "illumination", folder, "--replace")
    assert "E-1: its images will be divided by these functions when it is checked next" in answer.stderr
    (row,) = json.loads(run("screen", "check", folder, "--json"))
    assert row["imaging"]["illumination"] == [f"illumination/{{plate}}_{channel}.npy" for channel in (1, 2, 3)]


def test_every_experiment_of_a_landing_zone_is_taken_and_rows_are_json(zone, run):
    zone.land("E-1", plates=(1,))
    zone.land("E-2", plates=(1,))
    rows = json.loads(run("screen", "illumination", zone.root, "--json", "--images", "4", "--smoothing", "0.5"))
    assert [(row["experiment_id"], row["n_images"]) for row in rows] == [("E-1", 4)] * 3 + [("E-2", 4)] * 3
    assert 0 < rows[0]["unevenness_frac"] < 1
    assert 0 < rows[0]["uncertainty_frac"] < 1


def test_functions_that_exist_are_kept_and_said_to_be(zone, call):
    folder = zone.land(plates=(1,))
    call("screen", "illumination", folder)
    before = (folder / "illumination/Plate1_1.npy").read_bytes()
    answer = call("screen", "illumination", folder, "--images", "1")
    assert answer.status == 0
    assert "3 functions exist and are kept" in answer.stderr
    assert (folder / "illumination/Plate1_1.npy").read_bytes() == before
    assert call("screen", "illumination", folder, "--images", "1", "--replace").status == 0
    assert (folder / "illumination/Plate1_1.npy").read_bytes() != before


def test_a_channel_without_light_and_an_experiment_that_cannot_be_read_end_with_1(zone, call):
    folder = zone.land("E-1", plates=(1,))
    for path in (folder / "Plate1").glob("*_w2.png"):
        path.write_bytes(imagecodecs.png_encode(np.zeros(zone.size, np.uint8)))
    (zone.land("E-2") / "metadata.csv").write_text("a,b\n1,2\n")
    answer = call("screen", "illumination", zone.root)
    assert answer.status == 1
    assert "Wrong: Plate1 ConA: no function: none of its images can be used" in answer.stderr
    assert "all its pixels are equal" in answer.stderr
    assert "E-2: not finished" in answer.stdout
    assert (folder / "illumination/Plate1_1.npy").exists()


def test_options_out_of_range_are_wrong_usage(zone, call):
    assert call("screen", "illumination", zone.land(), "--images", "0").status == 2
    assert call("screen", "illumination", zone.root, "--smoothing", "0").status == 2
