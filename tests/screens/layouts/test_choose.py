"""Which layout an experiment has: recognised, named, changed, declared whole, or from an installed package."""

import importlib.metadata

import polars as pl
import pytest
import yaml
from upath import UPath

from cellassets.errors import ConfigError, LayoutError
from cellassets.screens.ingest import check_experiment
from cellassets.screens.layouts import choose
from cellassets.screens.layouts.choose import all_layouts, choose_layout
from cellassets.screens.layouts.template import compile_template
from cellassets.screens.policy import IngestPolicy


def declare(zone, **content):
    folder = zone.root / "E-1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.yaml").write_text(yaml.safe_dump(content))


def read(zone):
    return choose_layout(UPath(zone.root), "E-1").read(UPath(zone.root), "E-1")


@pytest.fixture
def landed(zone):
    zone.land(wells=("A01", "B02"))
    return zone


def test_a_folder_that_nothing_fits_names_the_layouts_and_the_way_out(zone):
    (zone.root / "E-1").mkdir(parents=True)
    with pytest.raises(
        LayoutError, match=r"none of the layouts .*rxrx1.* fits this folder, which holds nothing; .*screen init"
    ):
        choose_layout(UPath(zone.root), "E-1")


def test_an_unknown_layout_is_refused_with_the_known_ones(landed):
    declare(landed, layout="rxrx9")
    with pytest.raises(ConfigError, match=r"experiment.yaml: layout: no layout is called 'rxrx9'; there are .*rxrx1"):
        read(landed)


def test_an_unknown_key_is_refused_by_name(landed):
    declare(landed, chanels=[])
    with pytest.raises(ConfigError, match="chanels"):
        read(landed)


def test_keys_of_the_file_change_the_recognised_layout(landed):
    channels = [{"key": "1", "name": "A"}, {"key": "3", "name": "B", "is_dna": True}]
    declare(landed, channels=channels, ignored_channels=["2"], pixel_size_um=0.65, constants={"cell_type": "U2OS"})
    screen = read(landed)
    assert (screen.layout_name, screen.imaging.channel_names, screen.imaging.dna_index) == ("rxrx1", ("A", "B"), 1)
    assert screen.imaging.pixel_size_um == 0.65
    assert set(screen.sites["cell_type"]) == {"U2OS"}
    assert {image.channel_index for image in screen.listing.images} == {1, 2}


def test_the_file_beside_the_experiments_holds_for_those_without_one(landed):
    assert read(landed).imaging.channel_names == ("Hoechst", "ConA", "Phalloidin")
    declare(landed, layout="rxrx1", channels=[{"key": "1", "name": "only"}])
    assert read(landed).imaging.channel_names == ("only",)


def test_excluded_wells_and_plates_are_left_out_and_named(landed):
    shared = yaml.safe_load((landed.root / "experiment.yaml").read_text())
    declare(landed, **shared, exclude={"plates": ["Plate2"], "wells": {"*": ["B02"]}})
    manifest = check_experiment(UPath(landed.root), "E-1", policy=IngestPolicy(on_bad_site="refuse"))
    assert manifest.wells.select("plate_id", "well_id").rows() == [("Plate1", "A01")]
    said = manifest.findings.filter(pl.col("finding_kind") == "excluded")["message"].to_list()
    assert said == ["plate Plate2: excluded in experiment.yaml", "Plate1 B02: excluded in experiment.yaml"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"channels": [{"key": "1", "name": "A"}, {"key": "1", "name": "B"}]}, "two have the key '1'"),
        ({"channels": [{"key": "1", "name": "A"}, {"key": "2", "name": "A"}]}, "two have the name 'A'"),
        ({"channels": [{"key": k, "name": k, "is_dna": True} for k in "12"]}, "is_dna is set for 1, 2"),
        ({"images": {"path": "{plate}/{site}_{channel}.png"}}, "lacks the field well"),
        ({"images": {"path": "{plate}/{wel}_{channel}.png"}}, "unknown field 'wel'"),
        ({"images": {"path": "{plate/{well}_{channel}.png"}}, "is not closed"),
        ({"images": {"path": "{plate:[}/{well}_{channel}.png"}}, "no valid regular expression"),
        ({"metadata": {"terms": {"cell_type": {"column": "a", "value": "b"}}}}, "expected one of column, format"),
        ({"metadata": {"tables": [{"path": "a.csv"}, {"path": "b.csv"}]}}, "needs join_on"),
        ({"z_projection": "median"}, "z_projection"),
        ({"pixel_size_um": -1}, "pixel_size_um"),
    ],
)
def test_a_wrong_layout_is_refused_by_its_key(landed, content, words):
    declare(landed, **content)
    with pytest.raises(ConfigError) as caught:
        read(landed)
    assert words in str(caught.value)
    assert "experiment.yaml" in str(caught.value)


class Striped:
    """A layout as another package offers it: the folder `striped` is one plate of made-up images."""

    name = "striped"

    def recognises(self, landing, experiment_id):
        return (landing / experiment_id / "striped").is_dir()

    def read(self, landing, experiment_id):
        declared = all_layouts()["rxrx1"].read(landing, experiment_id)
        return declared.__class__(**{**declared.__dict__, "layout_name": "striped"})


def offer(monkeypatch, layouts):
    entries = [importlib.metadata.EntryPoint(name, f"a.b:{name}", choose.ENTRY_POINTS) for name in layouts]
    monkeypatch.setattr(choose, "entry_points", lambda group: [entry for entry in entries if entry.group == group])
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda self: layouts[self.name])


def test_an_installed_layout_is_chosen_and_read_like_the_others(landed, monkeypatch):
    offer(monkeypatch, {"striped": Striped})
    declare(landed, layout="striped")
    assert read(landed).layout_name == "striped"
    declare(landed, layout="striped", pixel_size_um=1)
    with pytest.raises(ConfigError, match="in Python and cannot be changed here"):
        read(landed)


def test_an_installed_layout_that_fails_or_takes_a_name_is_refused(monkeypatch):
    def broken():
        raise RuntimeError("half installed")

    offer(monkeypatch, {"broken": broken})
    with pytest.raises(ConfigError, match=r"layout broken .* cannot be loaded.*half installed"):
        all_layouts()
    offer(monkeypatch, {"rxrx1": type("Other", (), {"name": "rxrx1"})})
    with pytest.raises(ConfigError, match="two layouts are called rxrx1"):
        all_layouts()


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("{plate}/{well}_s{site}.png", "P/B07_s2.png", {"plate": "P", "well": "B07", "site": "2"}),
        ("{plate}/{well}_s{site}.png", "P/x/B07_s2.png", None),
        ("{plate:P[0-9]{1,2}}/{well}.png", "P12/B07.png", {"plate": "P12", "well": "B07"}),
        ("{plate:P[0-9]{1,2}}/{well}.png", "P123/B07.png", None),
        ("{plate}/{plate}_{well}.png", "P/P_B07.png", {"plate": "P", "well": "B07"}),
        ("{plate}/{plate}_{well}.png", "P/Q_B07.png", None),
        ("{plate}/{_}_{well}*.png", "P/any_B07_x.png", {"plate": "P", "well": "B07"}),
        ("{plate}/{well}.png", "P/B07xpng", None),
        ("{plate}/r{row}c{column}.png", "P/r02c07.png", {"plate": "P", "row": "02", "column": "07"}),
        ("{plate}/{well}_s{site}.png", "P/B07_s123456.png", None),
    ],
)
def test_templates_match_whole_paths(template, path, expected):
    assert compile_template(template).match(path) == expected
