"""Every problem of a landed folder becomes a finding with its place, and the policy decides what it costs."""

import os
import re
import shutil
from pathlib import Path

import imagecodecs
import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.errors import LayoutError, PlateRefused
from cellassets.screens.ingest import check_experiment, summarise
from cellassets.screens.landing import signature_of
from cellassets.screens.summary import RawPlatesSummary
from cellassets.tables.content import frame_fingerprint

IMAGE = "Plate1/B02_s1_w2.png"


@pytest.fixture
def check(zone, policy):
    """Returns the manifest of a landed experiment, under a changed policy if one is given."""

    def check(experiment_id="E-1", **changes):
        return check_experiment(UPath(zone.root), experiment_id, policy=policy.model_copy(update=changes))

    return check


def test_a_complete_folder_has_no_findings_and_its_numbers_are_right(zone, check):
    folder = zone.land()
    manifest = check()
    summary = summarise(manifest, landing_signature="s", landing="there")
    numbers = (summary.n_plates, summary.n_wells, summary.n_sites, summary.n_images, summary.n_findings)
    assert numbers == (2, 6, 12, 36, 0)
    assert summary.n_bytes == sum(path.stat().st_size for path in folder.rglob("*.png"))
    images, wells = manifest.images, manifest.wells
    assert images.filter(pl.col("path") == IMAGE).select("height", "width", "dtype", "channel_name").row(0) == (
        16,
        24,
        "uint8",
        "ConA",
    )
    control = wells.filter(pl.col("well_id") == "A01").row(0, named=True)
    assert (control["control_kind"], control["perturbation_kind"], control["guide_id"]) == ("negative", "control", None)
    treated = wells.filter(pl.col("well_id") == "B02").row(0, named=True)
    assert (treated["control_kind"], treated["perturbation_kind"], treated["guide_id"]) == (None, "gene", "sB02")


def test_checksums_are_those_of_an_independent_crc32c(zone, check):
    folder = zone.land()
    known = check().images.filter(pl.col("path") == IMAGE)["crc32c"][0]
    assert known == _crc32c((folder / IMAGE).read_bytes())


def _crc32c(content):
    """CRC32C bit by bit. Source: RFC 3720, Castagnoli polynomial."""
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def _truncate(_zone, folder):
    path = folder / IMAGE
    path.write_bytes(path.read_bytes()[:-40])


def _empty(_zone, folder):
    (folder / IMAGE).write_bytes(b"")


def _text(_zone, folder):
    (folder / IMAGE).write_text("<html>404</html>")


def _flip_a_bit(_zone, folder):
    content = bytearray((folder / IMAGE).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (folder / IMAGE).write_bytes(content)


def _remove(_zone, folder):
    (folder / IMAGE).unlink()


def _shrink(_zone, folder):
    (folder / IMAGE).write_bytes(imagecodecs.png_encode(np.arange(64, dtype=np.uint8).reshape(8, 8)))


def _deepen(_zone, folder):
    (folder / IMAGE).write_bytes(imagecodecs.png_encode(np.arange(384, dtype=np.uint16).reshape(16, 24)))


def _spell_twice(_zone, folder):
    shutil.copy(folder / IMAGE, folder / "Plate1/b2_s1_w2.png")


def _copy_elsewhere(_zone, folder):
    shutil.copy(folder / IMAGE, folder / "Plate2/C03_s2_w2.png")


def _forget_a_site(_zone, folder):
    for channel in (1, 2, 3):
        (folder / f"Plate1/B02_s1_w{channel}.png").unlink()


def _forget_a_row(zone, folder):
    zone.write_metadata(folder, [row for row in zone.read_metadata(folder) if row["well"] != "B02"])


def _well_off_the_plate(zone, folder):
    rows = zone.read_metadata(folder)
    zone.write_metadata(folder, [{**row, "well": "ZZ99"} if row["well"] == "B02" else row for row in rows])


def _contradict(zone, folder):
    rows = zone.read_metadata(folder)
    rows[2] = {**rows[2], "sirna": "other"}
    zone.write_metadata(folder, rows)


def _repeat(zone, folder):
    rows = zone.read_metadata(folder)
    zone.write_metadata(folder, [*rows, rows[2]])


def _blacken(_zone, folder):
    for well in ("B02", "C03"):
        (folder / f"Plate1/{well}_s1_w3.png").write_bytes(imagecodecs.png_encode(np.zeros((16, 24), np.uint8)))


def _double_a_channel(_zone, folder):
    for site in (1, 2):
        shutil.copy(folder / f"Plate1/B02_s{site}_w2.png", folder / f"Plate1/B02_s{site}_w3.png")


def _stray(_zone, folder):
    (folder / "Plate1/notes.txt").write_bytes(b"x")


BROKEN = [
    # damage, kind of finding, consequence, number of dropped sites, words of the message
    (_truncate, "truncated_image", "site_dropped", 1, "truncated after"),
    (_empty, "truncated_image", "site_dropped", 1, "empty file"),
    (_text, "truncated_image", "site_dropped", 1, "not an image"),
    (_flip_a_bit, "truncated_image", "site_dropped", 1, "damaged"),
    (_remove, "missing_image", "site_dropped", 1, "channel 2 (ConA)"),
    (_shrink, "wrong_size", "site_dropped", 1, "8 x 8 pixels; expected 16 x 24"),
    (_deepen, "wrong_dtype", "site_dropped", 1, "uint16; expected uint8"),
    (_spell_twice, "duplicate_image", "site_dropped", 1, "2 files"),
    (_copy_elsewhere, "duplicate_image", "site_dropped", 2, "byte for byte"),
    (_blacken, "blank_image", "site_dropped", 2, "all pixels are equal, so channel 3 (Phalloidin) shows nothing"),
    (_double_a_channel, "duplicate_image", "site_dropped", 2, "as in another channel of the site"),
    (_forget_a_site, "row_without_images", "site_dropped", 1, "no images"),
    (_forget_a_row, "images_without_row", "file_ignored", 0, "no row in the metadata"),
    (_well_off_the_plate, "unknown_well", "well_dropped", 0, "'ZZ99'"),
    (_contradict, "contradicting_rows", "well_dropped", 0, "2 different ways"),
    (_repeat, "contradicting_rows", "none", 0, "counts once"),
    (_stray, "unexpected_file", "file_ignored", 0, "notes.txt"),
]


@pytest.mark.parametrize(
    ("harm", "kind", "consequence", "n_dropped", "words"), BROKEN, ids=[case[0].__name__.strip("_") for case in BROKEN]
)
def test_a_problem_is_found_with_its_place_and_its_consequence(zone, harm, kind, consequence, n_dropped, words, check):
    folder = zone.land()
    harm(zone, folder)
    manifest = check()
    findings = manifest.findings.filter(pl.col("finding_kind") == kind)
    assert set(findings["consequence"]) == {consequence}
    assert words in findings["message"][0]
    assert manifest.n_dropped == n_dropped
    images = manifest.images
    lost = images.filter(~pl.col("is_usable")).select("plate_id", "well_id", "site_index").unique()
    assert lost.height <= n_dropped
    assert images.filter("is_usable").height % 3 == 0


def test_an_unexpected_channel_drops_nothing_whatever_its_content(zone, check):
    folder = zone.land()
    for site in (1, 2):
        (folder / f"Plate1/B02_s{site}_w4.png").write_bytes(imagecodecs.png_encode(np.ones((8, 8), np.uint16)))
    (folder / "Plate1/B02_s1_w0.png").write_bytes(b"no image")
    manifest = check()
    assert manifest.n_dropped == 0
    findings = manifest.findings
    assert set(findings["consequence"]) == {"file_ignored"}
    assert [message.split(": ", 1)[1][:19] for message in findings["message"]] == [
        "channel 0; expected",
        "channel 4; expected",
        "channel 4; expected",
    ]


def test_dropped_wells_count_towards_the_fraction_that_policy_allows(zone, check):
    folder = zone.land()
    _contradict(zone, folder)  # one well of six
    with pytest.raises(PlateRefused, match=r"17% of its sites would be dropped, policy allows 10%"):
        check(max_dropped_frac=0.1)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("cell_type", "U-2 OS", "cell_type: it names a dataset"),
        ("cell_type", "a..b", "cell_type: it names a dataset"),
        ("sirna", "EGFR|KRAS", "sirna: '|' separates"),
        ("experiment", " ", "experiment: an empty cell"),
    ],
)
def test_names_that_would_break_later_are_refused_with_their_line(zone, check, column, value, words):
    folder = zone.land()
    rows = zone.read_metadata(folder)
    zone.write_metadata(folder, [*rows[:3], {**rows[3], column: value}, *rows[4:]])
    with pytest.raises(LayoutError, match=re.escape(words)) as caught:
        check()
    assert "metadata.csv, line 5" in str(caught.value)


def test_every_image_of_a_kind_is_named_not_only_the_first(zone, check):
    folder = zone.land()
    for well in ("B02", "C03"):
        (folder / f"Plate2/{well}_s2_w1.png").write_bytes(b"")
    assert check().findings.select("plate_id", "well_id", "site_index", "channel_index").rows() == [
        ("Plate2", "B02", 2, 1),
        ("Plate2", "C03", 2, 1),
    ]


def test_policy_refuse_hands_over_the_findings(zone, check):
    folder = zone.land()
    _truncate(zone, folder)
    with pytest.raises(PlateRefused, match=r"E-1 refused: policy on_bad_site is refuse.*B02_s1_w2") as caught:
        check(on_bad_site="refuse")
    assert caught.value.findings["path"].to_list() == [IMAGE]


def test_too_many_dropped_sites_refuse_the_experiment(zone, check):
    folder = zone.land()
    _truncate(zone, folder)
    with pytest.raises(PlateRefused, match=r"8% of its sites would be dropped, policy allows 5%"):
        check(max_dropped_frac=0.05)


def test_a_folder_without_a_usable_site_is_refused(zone, check):
    folder = zone.land()
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(PlateRefused, match="no site is left"):
        check(max_dropped_frac=1.0)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("plate", "a/b", "plate: it names a file"),
        ("site", "0", "site: expected a number from 1"),
        ("site", "99999999999", "site: expected a number from 1"),
        ("well_type", "blank", "well_type: expected"),
        ("sirna", "", "sirna: an empty cell"),
        ("sirna", "NA", "sirna: an empty cell"),
    ],
)
def test_a_wrong_cell_is_refused_with_its_line(zone, column, value, words, check):
    folder = zone.land()
    rows = zone.read_metadata(folder)
    rows[3][column] = value
    zone.write_metadata(folder, rows)
    with pytest.raises(LayoutError, match=rf"metadata.csv, line 5: {words}"):
        check()


def test_metadata_with_a_missing_column_is_refused_by_its_name(zone, check):
    folder = zone.land()
    rows = zone.read_metadata(folder)
    zone.write_metadata(folder, [{key: value for key, value in row.items() if key != "sirna"} for row in rows])
    with pytest.raises(LayoutError, match=r"lacks the columns \['sirna'\]"):
        check()


def test_one_metadata_file_may_serve_the_whole_landing_zone(zone, check):
    rows = []
    for experiment_id in ("E-1", "E-2"):
        folder = zone.land(experiment_id)
        rows += zone.read_metadata(folder)
        (folder / "metadata.csv").unlink()
    zone.write_metadata(zone.root, rows)
    assert check().n_sites == 12
    assert check("E-2").n_sites == 12


def test_a_row_without_an_experiment_in_the_table_of_all_is_named_and_stops_none(zone, check):
    folder = zone.land()
    rows = zone.read_metadata(folder)
    (folder / "metadata.csv").unlink()
    zone.write_metadata(zone.root, [*rows, {**rows[0], "experiment": ""}])
    manifest = check()
    assert manifest.n_sites == 12
    assert manifest.findings["message"].to_list() == ["metadata.csv, line 14: no experiment (1 such lines)"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace(",", ";").replace("\n", "\r\n").encode("utf-16"),
        lambda text: text.replace(",sB02", ", sB02 ").encode(),
        lambda text: "".join(f"{line},\n" for line in text.splitlines()).encode(),
    ],
)
def test_what_a_spreadsheet_makes_of_the_metadata_reads_alike(zone, check, change):
    folder = zone.land()
    expected = check().wells
    path = folder / "metadata.csv"
    path.write_bytes(change(path.read_text()))
    manifest = check()
    assert manifest.wells.equals(expected)
    assert manifest.findings.is_empty()


def test_untreated_wells_without_an_id_are_empty_wells(zone, check):
    folder = zone.land()
    rows = zone.read_metadata(folder)
    for row in rows:
        if row["well"] == "C03":
            row |= {"well_type": "untreated", "sirna": ""}
    zone.write_metadata(folder, rows)
    wells = check().wells.filter(pl.col("well_id") == "C03")
    assert wells.select("perturbation_id", "control_kind").unique().rows() == [("EMPTY", "untreated")]


@pytest.mark.parametrize("word", ["NA", "nan", " "])
def test_a_word_for_a_missing_value_is_no_gene(zone, check, word):
    folder = zone.land()
    rows = [{**row, "gene_symbol": word, "guide_id": word, "compound_id": word} for row in zone.read_metadata(folder)]
    zone.write_metadata(folder, rows)
    wells = check().wells
    assert wells["gene_symbol"].null_count() == wells["compound_id"].null_count() == wells.height


def test_one_name_at_several_doses_is_refused(zone, check):
    folder = zone.land()
    rows = [{**row, "concentration_um": "0.1"} for row in zone.read_metadata(folder)]
    rows[4]["concentration_um"] = "1"
    zone.write_metadata(folder, rows)
    with pytest.raises(
        LayoutError, match=r"line 6: concentration_um: one perturbation at several concentrations.*4 such lines"
    ):
        check()


@pytest.mark.parametrize("value", ["inf", "NaN?", "-1", "0,1x"])
def test_a_concentration_is_a_finite_number(zone, check, value):
    folder = zone.land()
    rows = [{**row, "concentration_um": value} for row in zone.read_metadata(folder)]
    zone.write_metadata(folder, rows)
    with pytest.raises(LayoutError, match="line 2: concentration_um: expected a number"):
        check()


def test_metadata_that_are_a_folder_are_refused_by_name(zone, check):
    folder = zone.land()
    (folder / "metadata.csv").unlink()
    (folder / "metadata.csv").mkdir()
    with pytest.raises(LayoutError, match=r"metadata.csv: not a file"):
        check()


@pytest.mark.timeout(60)
def test_what_is_no_file_of_the_experiment_is_named_and_not_opened(zone, check, tmp_path):
    folder = zone.land()
    plate = folder / "Plate1"
    os.mkfifo(plate / "B02_s3_w1.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/B02_s4_w1.png").write_text("of another user")
    (plate / "B02_s4_w1.png").symlink_to(tmp_path / "elsewhere/B02_s4_w1.png")
    (folder / "Plate3").symlink_to(tmp_path / "elsewhere")
    (plate / "B02_s5_w1.png").mkdir()
    Path(os.fsdecode(os.fsencode(plate) + b"/caf\xe9_s1_w1.png")).touch()
    (plate / f"B02_s1_w{'9' * 100}.png").touch()
    manifest = check()
    assert manifest.n_dropped == 0
    said = dict(manifest.findings.select("path", "message").rows())
    expected = {
        "Plate1/B02_s3_w1.png": "a pipe, a socket or a device",
        "Plate1/B02_s4_w1.png": "a symbolic link that leaves the experiment's folder",
        "Plate3": "a symbolic link that leaves the experiment's folder",
        "Plate1/B02_s5_w1.png": "expected {plate}/{well}_s{site}_w{channel}.png",
        "Plate1/caf\\udce9_s1_w1.png": "its name is not UTF-8; rename it",
        f"Plate1/B02_s1_w{'9' * 100}.png": "with numbers up to 99999",
    }
    assert said.keys() == expected.keys()
    assert all(words in said[path] for path, words in expected.items())


def test_an_image_with_bytes_behind_its_end_is_whole(zone, check):
    folder = zone.land()
    path = folder / "Plate1/B02_s1_w1.png"
    path.write_bytes(path.read_bytes() + b"\0" * 5000)
    assert check().findings.is_empty()


def test_the_same_content_copied_again_gives_equal_tables_and_another_signature(zone, check):
    folder = zone.land()
    first, before = check(), signature_of(UPath(zone.root), "E-1")
    shutil.copytree(folder, zone.root / "copy")
    shutil.rmtree(folder)
    (zone.root / "copy").rename(folder)
    (folder / "_COMPLETE").write_text("again")
    again = check()
    assert frame_fingerprint(again.images) == frame_fingerprint(first.images)
    assert frame_fingerprint(again.wells) == frame_fingerprint(first.wells)
    assert signature_of(UPath(zone.root), "E-1") != before


def test_an_experiment_is_read_from_any_fsspec_url(zone, policy, check):
    folder = zone.land()
    bucket = UPath("memory://landing-of-test")
    for path in folder.rglob("*"):
        if path.is_file():
            target = bucket / "E-1" / path.relative_to(folder).as_posix()
            target.write_bytes(path.read_bytes())
    (bucket / "experiment.yaml").write_bytes((zone.root / "experiment.yaml").read_bytes())
    there, here = check_experiment(bucket, "E-1", policy=policy), check()
    assert there.images.equals(here.images)
    assert there.wells.equals(here.wells)


def test_a_summary_counts_the_fingerprints_of_selections(zone, check):
    zone.land()
    manifest = check()
    summary = summarise(manifest, landing_signature="s", landing="there")
    assert (summary.n_sites, summary.n_dropped, summary.cell_types) == (12, 0, ("HUVEC",))
    assert summary.wells_fingerprints["*|*"] == frame_fingerprint(manifest.wells)


def test_a_summary_of_an_older_record_has_no_fingerprints_of_selections(zone, check):
    zone.land()
    summary = summarise(check(), landing_signature="s", landing="there").model_dump(mode="json")
    older = {name: value for name, value in summary.items() if name != "wells_fingerprints"}
    assert RawPlatesSummary.model_validate(older).wells_fingerprints == {}
