"""`cellassets screen`: what a screen holds before it is ingested, and a first description of one that nothing fits."""

import json
import re
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_a_landing_zone_is_described_experiment_by_experiment(trees, tmp_path, run):
    trees.rxrx1(tmp_path)
    said = run("screen", "check", tmp_path)
    for words in (
        "HUVEC-1: layout rxrx1",
        "1 plates, 2 wells, 4 sites, 24 images",
        "6 channels: Hoechst, ConA, Phalloidin, SYTO14, MitoTracker, WGA; DNA: Hoechst",
        "512 x 512 pixels, uint8",
        "Plate1: 2 wells, controls: 1 negative; perturbations: 1, wells of each: 1 (median)",
        "nothing is wrong with it",
        "less than a minute",
    ):
        assert words in said
    assert said == run("screen", "check", tmp_path / "HUVEC-1")


def test_what_is_wrong_is_counted_and_named_and_ends_with_1(zone, call):
    folder = zone.land()
    (folder / "Plate1/B02_s1_w2.png").write_bytes(b"")
    (folder / "Plate2/C03_s1_w1.png").unlink()
    (folder / "Plate1/notes.txt").touch()
    answer = call("screen", "check", zone.root)
    assert answer.status == 1
    assert "1 x truncated_image (site_dropped), such as" in answer.stdout
    assert "Plate2 C03 site 1: no image of channel 1 (Hoechst)" in answer.stdout
    assert "Plate1/notes.txt: expected {plate}/{well}_s{site}_w{channel}.png" in answer.stdout
    rows = json.loads(call("screen", "check", zone.root, "--json").stdout)
    assert rows[0]["findings"] == {"missing_image": 1, "truncated_image": 1, "unexpected_file": 1}


def test_a_part_of_the_images_is_read_and_all_on_request(zone, run):
    zone.land(wells=tuple(f"A{number:02d}" for number in range(1, 13)))
    first = json.loads(run("screen", "check", zone.root, "--json"))[0]
    assert (first["n_files"], first["n_files_read"]) == (144, 72)
    whole = json.loads(run("screen", "check", zone.root, "--all", "--json"))[0]
    assert (whole["n_files"], whole["n_files_read"]) == (144, 144)
    n_bytes = sum(path.stat().st_size for path in zone.root.rglob("*.png"))
    assert whole["source_bytes"] == pytest.approx(n_bytes, rel=1e-6)
    assert first["source_bytes"] == pytest.approx(n_bytes, rel=0.05)


def test_an_experiment_that_cannot_be_read_does_not_hide_the_others(zone, call):
    zone.land("E-1")
    folder = zone.land("E-2")
    (folder / "metadata.csv").write_text("a,b\n1,2\n")
    answer = call("screen", "check", zone.root)
    assert answer.status == 1
    assert "E-1: layout rxrx1" in answer.stdout
    assert re.search(r"E-2: cannot be read\n  LayoutError: .*metadata.csv: lacks the columns", answer.stdout)


def test_init_writes_nothing_for_a_known_layout_and_keeps_what_a_person_wrote(zone, run, tmp_path):
    folder = zone.land()
    before = sorted(folder.iterdir())
    assert "has the layout rxrx1 already" in run("screen", "init", folder)
    assert sorted(folder.iterdir()) == before
    own = tmp_path / "landing/own"
    (own / "plate1").mkdir(parents=True)
    (own / "plate1/A01_s1_w1.png").write_bytes(imagecodecs.png_encode(np.eye(8, dtype=np.uint8)))
    (own / "plate_map.csv").write_text("mine")
    said = run("screen", "init", own)
    assert "plate_map.csv exists and is kept" in said
    assert (own / "plate_map.csv").read_text() == "mine"
    assert "{plate}/{well}_s{site}_w{channel}.png" in (own / "experiment.yaml").read_text()


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_init_writes_and_ends_with_1_where_two_images_would_be_one(tmp_path, call):
    days = [f"own/plate1/day{day}/{well}_s1_{stain}.tif" for day in "12" for well in ("A01", "B02")
            for stain in ("DAPI", "Mito")]  # fmt: skip
    touch(tmp_path, *days)
    answer = call("screen", "init", tmp_path / "own")
    assert answer.status == 1
    assert "day1/A01_s1_DAPI.tif and plate1/day2/A01_s1_DAPI.tif would be one image" in answer.stderr
    assert (tmp_path / "own/experiment.yaml").exists()
    assert (tmp_path / "own/plate_map.csv").exists()


def test_init_ends_with_1_where_images_do_not_fit(tmp_path, call):
    touch(tmp_path, *(f"own/plate1/{well}_s1_DAPI.tif" for well in ("A01", "A02", "A03")), "own/plate1/overview.tif")
    answer = call("screen", "init", tmp_path / "own")
    assert answer.status == 1
    assert "1 of 4 images do not fit and would be ignored, such as plate1/overview.tif" in answer.stderr
    assert (tmp_path / "own/experiment.yaml").exists()


LANDINGS = {
    "a marker in a folder": ["E-1/plate1/A01_s1_w1.tif", "E-1/_COMPLETE"],
    "metadata in a folder": ["E-1/plate1/A01_s1_w1.tif", "E-1/metadata.csv"],
    "folders of plates": [f"E-{number}/plate{plate}/A01_s1_w1.tif" for number in (1, 2) for plate in (1, 2)],
    "other folders in each": ["E-1/P1/A01_w1.tif", "E-1/P2/A01_w1.tif", "E-2/P3/A01_w1.tif"],
}


@pytest.mark.parametrize("names", LANDINGS.values(), ids=LANDINGS)
def test_init_refuses_a_landing_zone_and_names_an_experiment(tmp_path, call, names):
    touch(tmp_path / "landing", *names)
    answer = call("screen", "init", tmp_path / "landing")
    assert answer.status == 1
    assert re.search(r"a landing zone, not an experiment.*such as \S*landing/E-1", answer.stderr, re.DOTALL)
    assert not (tmp_path / "landing/experiment.yaml").exists()


EXPERIMENTS = {
    "wells": [f"P{plate}/{well}/s1_w1.tif" for plate in (1, 2) for well in ("A01", f"B0{plate}")],
    "planes": [f"P{plate}/TimePoint_1/ZStep_{z}/x_A01_w1.tif" for plate in (1, 2) for z in (1, 2)],
    "channels": [f"P{plate}/{stain}/A01_1.tif" for plate in (1, 2) for stain in ("abc", "def")],
    "measurements": [f"P{plate}/run {plate}/A01_1_DAPI.tif" for plate in (1, 2)],
}


@pytest.mark.parametrize("names", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_init_takes_plates_with_folders_in_them_for_one_experiment(tmp_path, call, names):
    touch(tmp_path / "own", *names)
    assert "landing zone" not in call("screen", "init", tmp_path / "own").stderr
    assert (tmp_path / "own/experiment.yaml").exists()


def test_init_refuses_a_folder_whose_name_cannot_be_a_partition_key(tmp_path, call):
    touch(tmp_path / "my screen", "plate1/A01_s1_w1.tif")
    answer = call("screen", "init", tmp_path / "my screen")
    assert answer.status == 1
    assert "cannot be a partition key: rename the folder" in " ".join(answer.stderr.split())
    assert not (tmp_path / "my screen/experiment.yaml").exists()


def test_layouts_are_listed(run):
    names = {row["layout"] for row in json.loads(run("screen", "layouts", "--json"))}
    assert {"rxrx1", "jump", "ome-zarr", "imagexpress"} <= names


def test_your_own_screen_in_ten_minutes_is_true_word_for_word(tmp_path, run, monkeypatch):
    """Follows docs/your-own-screen.md: its folder, its commands in their order, and its table of what to fill in."""
    page = (DOCS / "your-own-screen.md").read_text()
    names = [name for name in re.findall(r"demo/landing/my-screen/(\S+\.png)", page) if "..." not in name]
    assert names == ["plate1/A01_s1_DAPI.png", "plate1/A01_s1_Mito.png", "plate1/A02_s1_DAPI.png"]
    monkeypatch.chdir(tmp_path)
    folder = Path("demo/landing/my-screen")
    rng = np.random.default_rng(0)
    for name in [*names, "plate1/A02_s1_Mito.png"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(imagecodecs.png_encode(rng.integers(0, 200, (32, 33), np.uint8)))
    commands = re.findall(r"```console\n\$ (.+)\n```", page)
    assert [command.split()[:3] for command in commands] == [
        [".venv/bin/cellassets", "screen", "init"],
        [".venv/bin/cellassets", "screen", "check"],
        ["touch", "demo/landing/my-screen/_COMPLETE"],
        [".venv/bin/cellassets", "screen", "illumination"],
    ]
    run(*commands[0].split()[1:])
    table = page.split("## 3.")[1].split("## 4.")[0]
    columns = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)))
    header, *lines = (folder / "plate_map.csv").read_text().splitlines()
    assert set(columns) == set(header.split(",")) - {"plate", "well"}
    values = {"cell_type": "U2OS", "perturbation_id": "aspirin 10 uM", "perturbation_kind": "compound",
              "compound_id": "aspirin", "concentration_um": "10", "control_kind": "treatment"}  # fmt: skip
    filled = [
        ",".join(values.get(name, cell) for name, cell in zip(header.split(","), line.split(","), strict=True))
        for line in lines
    ]
    filled[0] = filled[0].replace("aspirin 10 uM,compound,,aspirin,10,treatment", "DMSO,compound,,,,negative")
    (folder / "plate_map.csv").write_text("\n".join([header, *filled]) + "\n")
    said = run(*commands[1].split()[1:])
    assert "1 plates, 2 wells, 2 sites, 4 images" in said
    assert "controls: 1 negative; perturbations: 1" in said
    assert "DNA: DAPI" in said
    assert "nothing is wrong with it" in said
    (folder / "_COMPLETE").touch()
    assert "nothing is wrong with it" in run(*commands[1].split()[1:])
    run(*commands[3].split()[1:])
    assert {path.name for path in (folder / "illumination").iterdir()} == {"plate1_DAPI.npy", "plate1_Mito.npy"}
    (line,) = re.findall(r"```yaml\n(.+)\n```", page.split("## Uneven illumination")[1])
    with (folder / "experiment.yaml").open("a") as stream:
        stream.write(f"{line}\n")
    (row,) = json.loads(run(*commands[1].split()[1:], "--json"))
    assert list(row["imaging"]["illumination_crc32c"]) == ["plate1"]
    assert not row["findings"]


def test_folders_that_would_be_ignored_are_named(zone, call):
    zone.land("E-1")
    zone.land("e-1")
    (zone.root / "my screen").mkdir()
    answer = call("screen", "check", zone.root)
    assert answer.status == 1
    assert "E-1: layout rxrx1" in answer.stdout
    assert "e-1: cannot be read\n  its name and that of E-1 differ in letter case alone" in answer.stdout
    assert re.search(r"my screen: cannot be read\n  the name cannot be a partition key", answer.stdout)
    assert "the name cannot be a partition key" in call("screen", "check", zone.root / "my screen").stdout
