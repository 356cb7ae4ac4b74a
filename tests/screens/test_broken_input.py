"""Every way in which a screen can arrive broken ends in an error or a finding that says where, what and what to do."""

import json
import sys
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.errors import CellAssetsError, ConfigError, LayoutError
from cellassets.screens.ingest import check_experiment
from cellassets.screens.manifest import build_manifest
from cellassets.screens.policy import IngestPolicy

b = sys.modules["broken_screens"]  # tests/broken_screens.py, which conftest.py loads
LENIENT = IngestPolicy(max_dropped_frac=1.0, max_dropped_frac_of_plate=None)
IGNORED = ("unexpected_file", "file_ignored")
DAMAGED = ("truncated_image", "site_dropped")
WHERE = ("P1 B02 site 1", "P1/B02_s1_w2")
COPY = "copy the file again"


@dataclass(frozen=True)
class Case:
    """A screen, how it is broken, and what must be said: an error, or a finding with its consequence."""

    name: str
    base: str
    harm: object
    outcome: type[CellAssetsError] | tuple[str, str]
    words: tuple[str, ...]


IMAGES = [
    *(
        Case(f"{ending} cut: {end}", ending, b.cut(end), DAMAGED, (*WHERE, "bytes", COPY))
        for ending in ("png", "tif", "jp2")
        for end in ("head", "middle", "last")
    ),
    Case("empty file", "png", b.content(lambda _: b""), DAMAGED, (*WHERE, "empty file; expected", COPY)),
    Case("HTML instead of an image", "png", b.content(lambda _: b"<html>404</html>"), DAMAGED,
         (*WHERE, "not an image", "<html>", "expected a greyscale PNG", COPY)),
    Case("wrong size", "png", b.content(lambda _: b.encode(b.noise("x", size=(8, 8)), "png")),
         ("wrong_size", "site_dropped"), (*WHERE, "8 x 8 pixels; expected 16 x 24", "export it again")),
    Case("wrong type", "tif", b.content(lambda _: b.tiff(b.noise("x", "uint8"))), ("wrong_dtype", "site_dropped"),
         (*WHERE, "uint8; expected uint16", "export it again")),
    Case("12 bit in 16 among 8 bit", "png", b.content(lambda _: b.encode(b.noise("x", "uint16") >> 4, "png")),
         ("wrong_dtype", "site_dropped"), (*WHERE, "uint16; expected uint8", "export it again")),
    Case("float TIFF", "tif", b.content(lambda _: b.tiff(b.noise("x").astype("float32"))), DAMAGED,
         (*WHERE, "float32; expected 8 or 16 bit", "save one greyscale image")),
    Case("signed TIFF", "tif", b.content(lambda _: b.tiff(b.noise("x").astype("int16"))), DAMAGED,
         (*WHERE, "int16; expected 8 or 16 bit", "save one greyscale image")),
    Case("RGB PNG", "png", b.content(lambda _: b.encode(b.noise("x", size=(16, 24, 3)), "png")), DAMAGED,
         (*WHERE, "in colour", "expected greyscale", "save one greyscale image")),
    Case("1 bit PNG", "png", b.content(lambda found: found[:24] + b"\x01" + found[25:]), DAMAGED,
         (*WHERE, "1 bit", "expected greyscale, 8 or 16 bit", "save one")),
    Case("RGB TIFF", "tif", b.content(lambda _: b.tiff(b.noise("x", size=(16, 24, 3)), photometric="rgb")), DAMAGED,
         (*WHERE, "shape (16, 24, 3); expected greyscale", "save one greyscale image")),
    Case("RGB JPEG 2000", "jp2", b.content(lambda _: b.encode(b.noise("x", size=(16, 24, 3)), "jp2")), DAMAGED,
         (*WHERE, "3 components; expected greyscale", "save one greyscale image")),
    Case("inverted TIFF", "tif", b.content(lambda _: b.tiff(b.noise("x", "uint16"), photometric="miniswhite")),
         DAMAGED, (*WHERE, "MINISWHITE; expected MINISBLACK", "save one greyscale image")),
    Case("several pages without a rule", "tif", b.content(lambda _: b.tiff(np.stack([b.noise("x", "uint16")] * 3),
         photometric="minisblack")),
         DAMAGED, (*WHERE, "3 pages; expected one image per file", "`pages: channel`")),
    Case("too few pages", "pages", lambda s: (s.folder / "P1/B02_s1.tif").write_bytes(
        b.tiff(np.stack([b.noise("x"), b.noise("y")]), photometric="minisblack")), DAMAGED,
         ("P1 B02 site 1", "P1/B02_s1.tif (page 3 of 3)", "2 pages; expected 3", COPY)),
    Case("too many pages", "pages", lambda s: (s.folder / "P1/B02_s1.tif").write_bytes(
        b.tiff(np.stack([b.noise(n) for n in "wxyz"]), photometric="minisblack")), DAMAGED,
         ("P1 B02 site 1", "P1/B02_s1.tif (page 1 of 3)", "4 pages; expected 3", COPY)),
    Case("bomb: PNG", "png", b.content(b.png_bomb), DAMAGED,
         (*WHERE, "900000 x 900000 pixels", "expected at most", COPY)),
    Case("bomb: TIFF", "tif", b.content(b.tiff_bomb), DAMAGED,
         (*WHERE, "900000 x 900000 pixels", "expected at most", COPY)),
    Case("bomb: tiles of a TIFF", "tif", b.content(b.tile_bomb), DAMAGED,
         (*WHERE, "900000 x 900000 pixels", "expected at most", COPY)),
    Case("bomb: JPEG 2000", "jp2", b.content(b.jp2_bomb), DAMAGED,
         (*WHERE, "900000 x 900000 pixels", "expected at most", COPY)),
    Case("bomb: JPEG 2000 behind a small one", "jp2", b.content(b.jp2_of_two_faces), DAMAGED,
         (*WHERE, "900000 x 900000 pixels", "expected at most", COPY)),
    Case("blank channel", "png", b.blank, ("blank_image", "site_dropped"),
         (*WHERE, "all pixels are equal, so channel 2 (ER) shows nothing", COPY)),
    Case("TIFF with black pixels only", "tif", b.blank, ("blank_image", "site_dropped"), (*WHERE, "ER", COPY)),
    Case("TIFF filled with zero bytes", "tif", b.content(lambda found: bytes(len(found))), DAMAGED,
         (*WHERE, "not an image", "expected a greyscale", COPY)),
    Case("TIFF whose second half was never written", "tif",
         b.content(lambda found: found[: len(found) // 4]), DAMAGED, (*WHERE, "damaged", COPY)),
    Case("doubled channel", "png", b.copy("P1/B02_s1_w2.png", "P1/B02_s1_w3.png"),
         ("duplicate_image", "site_dropped"), ("P1/B02_s1_w2", "in another channel of the site", "keep the right")),
    Case("copied site", "png", b.copy("P1/B02_s1_w2.png", "P2/C03_s2_w2.png"), ("duplicate_image", "site_dropped"),
         ("P1/B02_s1_w2.png", "as in other sites", "P2/C03_s2_w2.png", "keep the right one")),
    Case("one image under two names", "png", b.copy("P1/B02_s1_w2.png", "P1/B2_s1_w2.png"),
         ("duplicate_image", "site_dropped"),
         ("P1 B02 site 1 channel 2", "if the names mean different channels or planes", "else keep one of them")),
    Case("missing image", "png", b.remove("P1/B02_s1_w2.png"), ("missing_image", "site_dropped"),
         ("P1 B02 site 1", "no image of channel 2 (ER)", "copy it")),
    Case("missing channel", "png", b.remove("*/*_w2.png"), ("missing_image", "site_dropped"),
         ("P1 A01 site 1", "no image of channel 2 (ER)", "copy it")),
    Case("missing plane", "planes", b.remove("P1/B02_s1_w2_z2.tif"), ("missing_image", "site_dropped"),
         ("P1 B02 site 1 channel 2", "planes [1]; expected [1, 2]", "copy")),
    Case("missing site", "png", b.remove("P1/B02_s1_*"), ("row_without_images", "site_dropped"),
         ("P1 B02 site 1", "a row in the metadata but no images", "copy them")),
    Case("missing well", "png", b.remove("P1/B02_*"), ("row_without_images", "site_dropped"),
         ("P1 B02 site 1", "no images", "copy them")),
    Case("plate without images", "png", b.remove("P1"), ("row_without_images", "site_dropped"),
         ("P1: 6 sites in the metadata and no image of this plate", "copy its images", "exclude the plate")),
    Case("plate without metadata", "png", lambda s: s.write_table([r for r in s.table() if r["plate"] == "P2"]),
         ("images_without_row", "plate_dropped"), ("P1: 18 images of this plate", "P1/A01_s1_w1.png", "add its rows")),
    Case("well without metadata", "png", lambda s: s.write_table([r for r in s.table() if r["well"] != "B02"]),
         ("images_without_row", "file_ignored"), ("P1 B02 site 1", "3 images but no row", "add the row")),
    Case("site number 0", "png", b.copy("P1/B02_s1_w2.png", "P1/B02_s0_w2.png"), IGNORED,
         ("P1/B02_s0_w2.png", "site '0': expected a number from 1 to 99999")),
    Case("site number of 11 digits", "png", b.copy("P1/B02_s1_w2.png", "P1/B02_s99999999999_w2.png"),
         IGNORED, ("P1/B02_s99999999999_w2.png", "expected", "numbers up to 99999")),
    Case("image of a well that is none", "png", b.copy("P1/B02_s1_w2.png", "P1/blank_s1_w2.png"),
         IGNORED, ("P1/blank_s1_w2.png", "well 'blank': expected row letters")),
    Case("a channel that nobody declared", "png", b.copy("P1/B02_s1_w2.png", "P1/B02_s1_w4.png"),
         IGNORED, ("P1/B02_s1_w4.png", "channel 4; expected 3", "add it to `channels`")),
    Case("pipe", "png", b.links_and_pipes, IGNORED, ("B02_s3_w1.png", "pipe", "remove")),
    Case("link out of the folder", "png", b.links_and_pipes, IGNORED,
         ("B02_s4_w1.png", "leaves the experiment's folder", "copy what it leads to")),
    Case("name that is not UTF-8", "png", b.links_and_pipes, IGNORED,
         ("caf", "not UTF-8", "rename it")),
]  # fmt: skip

LINE = "plate_map.csv, line 4"
TABLES = [
    Case("well off the plate", "png", lambda s: s.set_cells(lambda r: r["well"] == "B02", well="ZZ99"),
         ("unknown_well", "well_dropped"),
         (LINE, "P1", "'ZZ99'", "8 x 12", "correct its name")),
    Case("well name that is none", "png", lambda s: s.set_cells(lambda r: r["well"] == "B02", well="blank"),
         ("unknown_well", "well_dropped"),
         (LINE, "P1", "'blank'", "correct its name")),
    Case("two rows that contradict each other", "png",
         lambda s: s.set_cells(lambda r: r["well"] == "B02" and r["site"] == "1", perturbation_id="other"),
         ("contradicting_rows", "well_dropped"), ("P1 B02", "2 different ways", LINE, "line 5", "correct its rows")),
    Case("a row twice", "png", lambda s: s.write_table([*s.table(), s.table()[2]]), ("contradicting_rows", "none"),
         ("P1 B02 site 1", "2 rows", LINE, "line 14", "remove the others")),
    Case("unknown kind of control", "png", b.cells(control_kind="blank"), LayoutError,
         (LINE, "control_kind", "expected ['treatment', 'negative']", "'blank'", "correct it")),
    Case("empty cell type", "png", b.cells(cell_type=""), LayoutError, (LINE, "cell_type: an empty cell", "'B02'",
         "fill it")),
    Case("cell type that cannot be a name", "png", b.cells(cell_type="U 2/OS"), LayoutError,
         (LINE, "cell_type", "use letters, digits", "'U 2/OS'")),
    Case("infinite concentration", "png", b.cells(concentration_um="inf"), LayoutError,
         (LINE, "concentration_um: expected a number", "'inf'", "correct it")),
    Case("concentration NaN beside a number", "png", b.doses(P1="NaN", P2="3"), LayoutError,
         (LINE, "concentration_um: empty, and other lines of this perturbation have one", "'B02'", "fill it")),
    Case("negative concentration", "png", b.cells(concentration_um="-1"), LayoutError,
         (LINE, "at least 0", "'-1'", "correct it")),
    Case("one name at several doses", "png", b.doses(P1="1", P2="3"), LayoutError,
         (LINE, "several concentrations", "give each its own name")),
    Case("perturbation with |", "png", b.cells(perturbation_id="A|B"), LayoutError,
         (LINE, "'|' separates", "'A|B'", "use another character")),
    Case("site number 0 in a table", "png", b.cells(site="0"), LayoutError, (LINE, "1 to 99999", "'0'", "correct it")),
    Case("plate that is a path", "png", b.cells(plate="../P1"), LayoutError, (LINE, "names a file", "'../P1'",
         "use letters")),
    Case("missing column", "png", b.text("plate_map.csv", lambda t: t.replace(b"cell_type", b"kind")), LayoutError,
         ("plate_map.csv", "lacks the columns ['cell_type']", "it has", "add or rename the column")),
    Case("two columns of one name", "png", b.text("plate_map.csv", lambda t: t.replace(b"gene_symbol", b"well")),
         LayoutError, ("plate_map.csv", "two columns are called 'well'", "rename or remove one")),
    Case("table without a row", "png", b.text("plate_map.csv", lambda t: t.splitlines(keepends=True)[0]), LayoutError,
         ("plate_map.csv", "a header and no row", "copy the table again")),
    Case("no table", "png", b.remove("plate_map.csv"), LayoutError, ("plate_map.csv: missing", "add the table")),
    Case("table that is a folder", "png",
         lambda s: ((s.folder / "plate_map.csv").unlink(), (s.folder / "plate_map.csv").mkdir()), LayoutError,
         ("plate_map.csv: not a file", "put the table in its place")),
    Case("Latin-1 table", "png", b.text("plate_map.csv", lambda t: t.replace(b"cB02", b"c\xb5")), LayoutError,
         (LINE, "not UTF-8 text", "save the table as CSV (UTF-8)")),
    Case("Excel workbook", "png", b.text("plate_map.csv", lambda t: b"PK\x03\x04" + t), LayoutError,
         ("plate_map.csv", "expected text, found an Excel workbook", "save the sheet as CSV")),
    Case("uneven rows", "png", b.text("plate_map.csv", lambda t: t.replace(b",cB02,", b",c,B02,")), LayoutError,
         (LINE, "11 cells, the header has 10", "double quotes")),
    Case("unknown key", "png", lambda s: s.declare(chanels=[]), ConfigError, ("experiment.yaml", "chanels")),
    Case("YAML error", "png", b.text("experiment.yaml", lambda _: b"layout: [rxrx1"), ConfigError, ("experiment.yaml",
         "line 1")),
    Case("unknown layout", "png", b.text("experiment.yaml", lambda _: b"layout: rxrx9"), ConfigError,
         ("experiment.yaml", "'rxrx9'", "there are", "rxrx1")),
    Case("experiment.yaml is a list", "png", b.text("experiment.yaml", lambda _: b"- rxrx1"), ConfigError,
         ("experiment.yaml",)),
    Case("experiment.yaml is not UTF-8", "png", b.text("experiment.yaml", lambda _: b"layout: \xe9"), ConfigError,
         ("experiment.yaml",)),
    Case("experiment.yaml is a folder", "png",
         lambda s: ((s.folder / "experiment.yaml").unlink(), (s.folder / "experiment.yaml").mkdir()), ConfigError,
         ("experiment.yaml",)),
    Case("pages without channels", "pages", lambda s: s.declare(channels=None), ConfigError,
         ("experiment.yaml", "pages: needs `channels`")),
    Case("two planes without a rule", "planes", lambda s: s.declare(z_projection=None), LayoutError,
         ("P1 A01 site 1 channel 1", "planes 1, 2", "set z_projection")),
]  # fmt: skip


FIRST = "load_data.csv, line 2"
LISTED = [
    Case("LoadData lists a file that is not there", "jump", b.remove(f"images/**/{b.FIRST_FILE}"),
         IGNORED, (b.FIRST_FILE, FIRST, "no such file", "copy it")),
    Case("LoadData: the site of that file", "jump", b.remove(f"images/**/{b.FIRST_FILE}"),
         ("missing_image", "site_dropped"), ("BR00116991 A01 site 1", "channel 1 (DNA)", "copy it")),
    Case("LoadData of another machine, two files of one name", "jump", b.ambiguous, IGNORED,
         (b.FIRST_FILE, FIRST, "2 files of this name fit equally well", "name folders")),
    Case("LoadData does not list a file that is there", "jump", b.in_two_folders, IGNORED,
         ("of-a-copy/other", "1 files in this folder that no line of", "load_data.csv", "add their lines")),
    Case("LoadData gives one file to two plates", "jump", lambda s: (b.load_data(b.of_other_plate)(s), b.text(
        f"{b.PLATE_MAPS}/barcode_platemap.csv", lambda t: t + b"BR9,JUMP-Target-1_compound_platemap\r\n")(s)),
         IGNORED, (b.FIRST_FILE, "line 8", "is that of another line", "copy the file")),
    Case("LoadData without a row", "jump", b.load_data(lambda lines: lines[:1]), LayoutError,
         ("load_data.csv", "a header and no row", "copy the table again")),
    Case("LoadData of no bytes", "jump", b.text("workspace/load_data_csv/*/*/load_data.csv", lambda _: b""),
         LayoutError, ("load_data.csv", "empty table; expected a header")),
    Case("LoadData without wells", "jump",
         b.load_data(lambda lines: [lines[0].replace(b"Metadata_Well", b"Well"), *lines[1:]]), LayoutError,
         ("load_data.csv", "Metadata_Well", "it has", "rename the column")),
    Case("LoadData with an empty well", "jump",
         b.load_data(lambda lines: [lines[0], lines[1].replace(b",A01,", b",,"), *lines[2:]]), LayoutError,
         (FIRST, "'Metadata_Well': None", "add it, or remove the rows")),
    Case("LoadData without images", "jump", b.load_data(lambda lines: [lines[0].replace(b"FileName", b"Name"),
         *lines[1:]]),
         LayoutError, ("load_data.csv", "lacks the column FileName_Orig", "correct `images`")),
    Case("barcode without a plate map", "jump", b.text(f"{b.PLATE_MAPS}/barcode_platemap.csv",
         lambda t: t.replace(b"BR0", b"BR1")),
         LayoutError, ("barcode_platemap.csv", "no line for {'Metadata_Plate': 'BR00116991'}", FIRST, "add it")),
    Case("barcode with an empty plate map", "jump", b.without_plate_map, LayoutError,
         ("platemap.txt", "'Plate_Map_Name': None", FIRST, "add it")),
    Case("plate map that is not there", "jump", b.text(
        f"{b.PLATE_MAPS}/barcode_platemap.csv", lambda t: t.replace(b"JUMP-Target-1", b"JUMP-Target-9")), LayoutError,
         ("platemap.txt", "JUMP-Target-9", "'A01'", FIRST, "add it")),
    Case("plate map without the well", "jump", b.text(f"{b.PLATE_MAPS}/platemap/*.txt", lambda t: t.replace(b"A02",
         b"A03")),
         LayoutError, ("platemap.txt", "'A02'", "load_data.csv, line 4", "add it")),
    Case("no plate map at all", "jump", b.remove(f"{b.PLATE_MAPS}/platemap/*.txt"), LayoutError, (".txt: missing",
         "add the table")),
    Case("doubled barcode", "jump", b.text(f"{b.PLATE_MAPS}/barcode_platemap.csv",
         lambda t: t + t.splitlines()[1] + b"\n"),
         LayoutError, ("barcode_platemap.csv", "BR00116991", "lines 2, 3", "remove the others")),
    Case("doubled compound", "jump", b.text("workspace/metadata/*.tsv", lambda t: t + t.splitlines()[1] + b"\n"),
         LayoutError, ("_metadata.tsv", "BRD-A86665761-001-01-1", "lines 2, 4", "remove the others")),
]  # fmt: skip


WELL = "P001.ome.zarr/A/1"
LOST = ("P001 A01 site 1", f"{WELL}/0/0 (array c 0 z 0", "no chunk has rows 0 to 7", "copy the plate again")
CONTAINERS = [
    Case("Parquet: damaged row group", "parquet", b.row_group, DAMAGED, ("D20 site 1", "row 1", "copy the file again")),
    Case("Parquet: null image", "parquet", b.parquet(b.null_image), DAMAGED, ("D20 site 1", "row 1", "no image in it",
         "copy")),
    Case("Parquet: other columns", "parquet", b.parquet(lambda t: t.rename_columns(["name", "jp2"])), LayoutError,
         ("train-00000", "lacks the column __key__", "['name', 'jp2']", "correct `images`")),
    Case("Parquet: no bytes", "parquet", b.parquet(lambda t: t.set_column(1, "jp2", t["__key__"])), LayoutError,
         ("train-00000", "jp2: string; expected bytes", "correct `images`")),
    Case("Parquet: cut", "parquet", lambda s: (p := s.landing / "train-00000-of-00002.parquet").write_bytes(
        p.read_bytes()[:-9]), LayoutError, ("train-00000", "damaged Parquet file", "copy the file again")),
    Case("Parquet: a file is missing", "parquet", lambda s: (s.landing / "train-00000-of-00002.parquet").unlink(),
         ("row_without_images", "site_dropped"), ("Plate1 D20 site 1", "no images", "copy them")),
    Case("OME-Zarr: no plate metadata", "zarr", b.attributes("P001.ome.zarr", lambda ome: ome.pop("plate")),
         LayoutError,
         ("P001.ome.zarr", "no plate metadata", "expected an OME-Zarr plate", "copy the plate again")),
    Case("OME-Zarr: plate without wells", "zarr", b.attributes("P001.ome.zarr", lambda ome: ome["plate"].pop("wells")),
         LayoutError, ("P001.ome.zarr", "without the paths of its wells", "copy the plate again")),
    Case("OME-Zarr: no JSON", "zarr", b.text("P001.ome.zarr/zarr.json", lambda t: t[:40]), LayoutError,
         ("P001.ome.zarr/zarr.json", "not valid JSON", "copy the plate again")),
    Case("OME-Zarr: well without metadata", "zarr", b.attributes(WELL, lambda ome: ome.pop("well")),
         IGNORED, (WELL, "a well of the plate without metadata", "copy the plate again")),
    Case("OME-Zarr: that well's sites", "zarr", b.attributes(WELL, lambda ome: ome.pop("well")),
         ("row_without_images", "site_dropped"), ("P001 A01 site 1", "no images", "copy them")),
    Case("OME-Zarr: well that is a path", "zarr", b.attributes(
        "P001.ome.zarr", lambda ome: ome["plate"]["wells"][0].update(path="../../..")), IGNORED,
         ("../../..", "leaves", "copy the plate again")),
    Case("OME-Zarr: one image's labels double", "zarr", b.attributes(
        f"{WELL}/0", lambda ome: ome["omero"]["channels"][1].update(label="DAPI")), IGNORED,
         (f"{WELL}/0", "channel labels ['DAPI', 'DAPI']; expected 2 that differ", "correct `omero`")),
    Case("OME-Zarr: image without an array", "zarr", b.remove(f"{WELL}/0/0"), IGNORED,
         (f"{WELL}/0", "no array there", "copy the plate again")),
    Case("OME-Zarr: missing chunk", "zarr", b.remove(f"{WELL}/0/0/c/0/0/0/0/1"), DAMAGED, (*LOST, "columns 8 to 15")),
    Case("OME-Zarr: no chunk at all", "zarr", b.remove(f"{WELL}/0/0/c"), DAMAGED,
         (*LOST[:2], "no chunk has rows 0 to 15, columns 0 to 15", LOST[3])),
    Case("OME-Zarr 0.4: missing chunk", "zarr2", b.remove(f"{WELL}/0/0/0.0.0.0.1"), DAMAGED, (*LOST,
         "columns 8 to 15")),
    Case("OME-Zarr: missing shard", "sharded", b.remove(f"{WELL}/0/0/c/0/0/0/0/0"), DAMAGED,
         (*LOST[:2], "no chunk has rows 0 to 15", LOST[3])),
    Case("OME-Zarr: missing chunk of a shard", "sharded", b.inner_chunk, DAMAGED, (*LOST, "columns 8 to 15")),
    Case("OME-Zarr: cut chunk", "zarr", b.text(f"{WELL}/0/0/c/0/0/0/0/1", lambda t: t[: len(t) // 2]), DAMAGED,
         ("P001 A01 site 1", "damaged chunk", "copy the plate again")),
    Case("OME-Zarr: chunk of HTML", "zarr2", b.text(f"{WELL}/0/0/0.0.0.0.1", lambda _: b"<html>404</html>"), DAMAGED,
         ("P001 A01 site 1", "damaged chunk", "copy the plate again")),
    Case("OME-Zarr: bomb", "zarr", b.json_file(
        f"{WELL}/0/0/zarr.json", lambda a: a.update(shape=[1, 2, 1, 900_000, 900_000])), DAMAGED,
         ("P001 A01 site 1", "900000 x 900000 pixels", "expected 1 to", "copy the plate again")),
]  # fmt: skip


CASES = [*IMAGES, *TABLES, *LISTED, *CONTAINERS]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
@pytest.mark.timeout(60)
def test_what_is_broken_is_said_with_its_place_and_the_way_out(case, trees, tmp_path):
    screen = b.land(case.base, tmp_path, trees)
    case.harm(screen)
    landing = UPath(tmp_path)
    if isinstance(case.outcome, type):
        with pytest.raises(case.outcome) as caught:
            check_experiment(landing, screen.name, policy=LENIENT)
        assert_said([str(caught.value)], case)
        return
    manifest = build_manifest(landing, screen.name, policy=LENIENT)
    kind, consequence = case.outcome
    found = manifest.findings.filter(finding_kind=kind, consequence=consequence)
    said = [f"{path or ''}: {message}" for path, message in found.select("path", "message").rows()]
    assert_said(said, case)
    if consequence == "site_dropped":
        sites = found.select("plate_id", "well_id", "site_index")
        usable = manifest.images.filter("is_usable").join(sites, on=sites.columns, how="semi")
        assert usable.is_empty(), "an image of a dropped site is used"


def assert_said(messages, case):
    assert any(all(word in message for word in case.words) for message in messages), json.dumps(messages, indent=1)


def test_the_table_has_at_least_forty_kinds_and_every_format():
    assert len({case.name for case in CASES}) == len(CASES) >= 40
    assert {case.base for case in CASES} == {
        "png", "tif", "jp2", "pages", "planes", "jump", "parquet", "zarr", "zarr2", "sharded"
    }  # fmt: skip


@pytest.mark.parametrize(
    "base", ["png", "tif", "jp2", "pages", "planes", "jump", "parquet", "zarr", "zarr2", "sharded"]
)
def test_the_same_screens_whole_have_no_findings(trees, tmp_path, base):
    screen = b.land(base, tmp_path, trees)
    manifest = check_experiment(UPath(tmp_path), screen.name, policy=IngestPolicy(on_bad_site="refuse"))
    assert manifest.findings.filter(pl.col("consequence") != "file_ignored").is_empty()
    assert manifest.n_dropped == 0


@pytest.mark.parametrize("base", ["zarr", "zarr2", "sharded"])
def test_a_missing_chunk_is_found_on_an_object_store_too(trees, tmp_path, base):
    screen = b.land(base, tmp_path, trees)
    bucket = UPath(f"memory://chunks-of-{base}")
    chunks = {"zarr": "/c/0/0/0/0/1", "zarr2": "/0.0.0.0.1", "sharded": "/c/0/0/0/0/0"}
    for path in screen.folder.rglob("*"):
        if path.is_file() and not path.as_posix().endswith(f"A/1/0/0{chunks[base]}"):
            (bucket / screen.name / path.relative_to(screen.folder).as_posix()).write_bytes(path.read_bytes())
    findings = build_manifest(bucket, screen.name, policy=LENIENT).findings
    assert findings.select("finding_kind", "well_id", "site_index", "channel_index").rows() == [
        ("truncated_image", "A01", 1, 1)
    ]
    assert "no chunk has rows 0" in findings["message"][0]


def test_a_black_chunk_that_is_written_is_no_missing_chunk(trees, tmp_path):
    import zarr

    screen = b.land("zarr", tmp_path, trees)
    with zarr.config.set({"array.write_empty_chunks": True}):
        zarr.open_array(str(screen.folder / "P001.ome.zarr/A/1/0/0"), mode="r+")[0, 0, 0, :8, :8] = 0
    manifest = build_manifest(UPath(tmp_path), screen.name, policy=LENIENT)
    assert manifest.n_dropped == 0
