"""Tables of every format and level become one row per well or site; broken ones are refused by name."""

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from cellassets.errors import ConfigError, ProfilesError
from cellassets.profiles import profile_rows

REAL = Path("/work/shared/data/cytomining+CytoDataFrame/tests/data/cytotable")
KEYS = ["Metadata_Plate", "Metadata_Well", "Image_Metadata_Site"]
SITES = {"site_index": "Image_Metadata_Site"}
IDS = ["plate_id", "well_id", "site_index"]
WELL_IDS = {"a1": "A01", "A2": "A02", "B01": "B01", "b012": "B12"}


def by_place(prepared):
    """Vectors by (plate, well, site)."""
    return dict(zip(prepared.labels.select(IDS).rows(), prepared.vectors, strict=True))


def write(frame, path):
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.to_pandas().to_csv(path, index=False)  # .csv.gz is compressed, as pycytominer writes it
    return path.name


@pytest.mark.parametrize("name", ["cells.parquet", "cells.csv", "cells.csv.gz"])
def test_cells_become_sites_by_their_median(declare, made, name):
    table = made.cells_table(plates=("BR1", "0012")).with_columns(
        pl.when(pl.col("Metadata_ObjectNumber") == 2).then(None).otherwise(pl.col(made.FEATURES[0])).name.keep()
    )
    found = declare(table=write(table, declare.folder / name), rows="cell", keys=SITES)
    expected = made.median_by_hand(table.filter(pl.col("Metadata_ObjectNumber") != 2), KEYS)
    full = made.median_by_hand(table, KEYS)
    assert found.features == made.FEATURES
    assert len(by_place(found)) == 2 * 4 * 2
    for (plate, well, site), vector in by_place(found).items():
        spelled = next(word for word, well_id in WELL_IDS.items() if well_id == well)
        np.testing.assert_allclose(vector[0], expected[plate, spelled, site][0], rtol=1e-6)
        np.testing.assert_allclose(vector[1:], full[plate, spelled, site][1:], rtol=1e-6)


def test_cells_without_a_site_column_become_wells_as_in_pycytominer(declare, made):
    pycytominer = pytest.importorskip("pycytominer", reason="pycytominer is in the extra dev")
    table = made.cells_table(plates=("BR1", "BR2"))
    found = declare(table=write(table, declare.folder / "cells.parquet"), rows="cell")
    expected = pycytominer.aggregate(table.to_pandas(), strata=KEYS[:2], features=list(made.FEATURES))
    assert by_place(found).keys() == {
        (row.Metadata_Plate, WELL_IDS[row.Metadata_Well], None) for row in expected.itertuples()
    }
    for row in expected.itertuples():
        vector = by_place(found)[row.Metadata_Plate, WELL_IDS[row.Metadata_Well], None]
        np.testing.assert_allclose(vector, [getattr(row, name) for name in made.FEATURES], rtol=1e-6)


@pytest.mark.parametrize("has_parents", [True, False])
def test_a_database_gives_the_same_sites_as_its_joined_table(declare, made, monkeypatch, has_parents):
    monkeypatch.setattr(profile_rows, "IMAGES_AT_ONCE", 3)
    table = made.cells_table(n_sites=3)
    made.write_database(declare.folder / "plate.sqlite", table, has_parents=has_parents)
    keys = {"plate_id": "Image_Metadata_Plate", "well_id": "Image_Metadata_Well", **SITES}
    found = declare(table="plate.sqlite", rows="cell", keys=keys)
    joined = declare(table=write(table, declare.folder / "cells.parquet"), rows="cell", keys=SITES)
    assert found.labels.equals(joined.labels)
    assert found.labels.height == 4 * 3
    order = [found.features.index(name) for name in joined.features]
    np.testing.assert_array_equal(found.vectors[:, order], joined.vectors)


def test_cells_without_a_nucleus_are_left_out(declare, made):
    table = made.cells_table(n_sites=1)
    path = made.write_database(declare.folder / "plate.sqlite", table)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM Nuclei WHERE ObjectNumber = 22")
        connection.commit()
    keys = {"plate_id": "Image_Metadata_Plate", "well_id": "Image_Metadata_Well", **SITES}
    found = by_place(declare(table="plate.sqlite", rows="cell", keys=keys))
    expected = made.median_by_hand(table.filter(pl.col("Metadata_ObjectNumber") != 2), KEYS)
    np.testing.assert_allclose(sorted(found["BR1", "A01", 1]), sorted(expected["BR1", "a1", 1]), rtol=1e-6)


def test_profiles_of_wells_in_one_file_per_plate_keep_every_vector(declare, made):
    """As JUMP: one Parquet per plate, the names of experiments and plates differ from those here."""
    (declare.folder / "plates").mkdir()
    for plate in ("BR1", "BR2"):
        wells = made.cells_table(plates=(plate,), n_sites=1, n_cells=1).with_columns(
            pl.lit("2020_11_04").alias("Metadata_Batch")
        )
        write(wells, declare.folder / "plates" / f"{plate}.parquet")
    found = declare(
        table="plates/*.parquet",
        rows="well",
        experiment=None,
        keys={"experiment_id": "Metadata_Batch"},
        names={"experiment_id": {"2020_11_04": "HUVEC-1"}, "plate_id": {"BR1": "Plate1", "BR2": "Plate2"}},
    )
    assert found.labels.select("experiment_id", "plate_id").unique(maintain_order=True).rows() == [
        ("HUVEC-1", "Plate1"),
        ("HUVEC-1", "Plate2"),
    ]
    one = pl.read_parquet(declare.folder / "plates" / "BR2.parquet").filter(pl.col("Metadata_Well") == "A2")
    np.testing.assert_allclose(
        by_place(found)["Plate2", "A02", None], one.select(made.FEATURES).to_numpy()[0], rtol=1e-6
    )


def test_features_are_chosen_by_a_pattern_and_numbers_may_be_text(declare):
    frame = pl.DataFrame(
        {
            "experiment_id": ["E-1", "E-1"], "plate_id": [1, 1], "well_id": ["A1", "A2"], "site_index": [1.0, 1.0],
            "efficientnet_0": ["0.5", " 1.5 "], "efficientnet_1": [1, 2], "other": ["x", "y"],
        }
    )  # fmt: skip
    found = declare(
        table=write(frame, declare.folder / "deepprofiler.parquet"),
        rows="site",
        experiment=None,
        features=r"efficientnet_\d+",
        keys={name: name for name in ("experiment_id", "plate_id", "well_id", "site_index")},
    )
    assert found.features == ("efficientnet_0", "efficientnet_1")
    assert found.labels.rows() == [("E-1", "1", "A01", 1), ("E-1", "1", "A02", 1)]
    np.testing.assert_array_equal(found.vectors, [[0.5, 1.0], [1.5, 2.0]])


def test_control_rows_are_those_of_the_named_values(declare):
    frame = pl.DataFrame(
        {
            "Metadata_Plate": ["P"] * 5,
            "Metadata_Well": ["A1", "A2", "A3", "A4", "A5"],
            "Metadata_control_type": ["negcon", "negcon", "negcon", None, "poscon"],
            "Cells_X": [1.0, 2.0, 3.0, 7.0, 11.0],
        }
    )
    found = declare(
        table=write(frame, declare.folder / "wells.parquet"),
        rows="well",
        controls={"column": "Metadata_control_type", "values": ["negcon"]},
        steps=[{"kind": "mad_robustize", "fit_on": "controls", "epsilon": 0}],
    )
    np.testing.assert_allclose(found.vectors[:, 0] * 1.4826, [-1, 0, 1, 5, 9], rtol=1e-6)


@pytest.mark.skipif(not REAL.is_dir(), reason="the tables of CytoDataFrame are not on this machine")
def test_real_tables_of_cells_are_read(declare):
    (jump,) = REAL.glob("JUMP*/*.parquet")
    steps = [{"kind": "drop_na_columns", "cutoff": 0}]
    found = declare(table=str(jump), rows="cell", keys=SITES, steps=steps)
    frame = pl.read_parquet(jump)
    assert found.labels.rows() == [("E-1", "BR00117006", "A01", 1)]
    assert len(found.features) > 3000
    assert not {"Cells_TableNumber", "Cytoplasm_TableNumber"} & set(found.features)
    np.testing.assert_allclose(found.vectors[0], frame.select(pl.col(found.features).median()).to_numpy()[0], rtol=1e-6)
    (nf1,) = REAL.glob("NF1*/*.parquet")
    keys = {
        "plate_id": "Image_Metadata_Plate_x",
        "well_id": "Image_Metadata_Well_x",
        "site_index": "Image_Metadata_Site_x",
    }
    found = declare(table=str(nf1), rows="cell", keys=keys, steps=steps)
    assert ("Plate_2", "B07", 3) in by_place(found)


WELLS = {"Metadata_Plate": ["P", "P"], "Metadata_Well": ["A1", "A2"], "Cells_X": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Metadata_Well": None}, r"t\.parquet: no column 'Metadata_Well', which the declaration names .* Metadata_Pl"),
        ({"Metadata_Well": ["A1", "a01"]}, r"t\.parquet: 2 rows for experiment E-1, plate P, well A01 \(1 such places"),
        ({"Metadata_Well": ["A1", "Z?"]}, r"Metadata_Well: well 'Z\?': expected row letters .*Metadata_Plate = P"),
        ({"Metadata_Well": ["A1", "BB9"]}, r"column Metadata_Well: well 'BB9' is on no plate: .* A01 to AF48"),
        ({"Metadata_Plate": ["P", None]}, r"column Metadata_Plate: a row without a value \(.*Metadata_Well = A2"),
        ({"Cells_X": None}, r"t\.parquet: no feature column: none of its 2 columns"),
        ({"Cells_X": ["1", "many"]}, r"column Cells_X: expected numbers, found 'many'"),
        ({"Cells_X": [[1.0], [2.0]]}, r"column Cells_X: expected numbers, found values of the type List"),
        ({"Cells_X": [None, None]}, r"first feature Cells_X of experiment E-1, plate P, well A01, which is nan"),
        ({"Cells_X": [3.0, 3.0]}, r"all 2 rows have the same vector of 1 features: nothing distinguishes"),
        ({"Cells_X": [1.0, float("inf")]}, r"first feature Cells_X of experiment E-1, plate P, well A02"),
    ],
    ids=[
        "missing key", "duplicate wells", "unknown well", "beyond plates", "no plate", "no features", "text", "lists",
        "all missing", "all the same", "infinite",
    ],
)  # fmt: skip
def test_a_broken_table_is_refused_by_name(declare, changes, message):
    columns = {name: values for name, values in {**WELLS, **changes}.items() if values is not None}
    pl.DataFrame(columns).write_parquet(declare.folder / "t.parquet")
    with pytest.raises(ProfilesError, match=message):
        declare(table="t.parquet", rows="well")


def test_a_site_that_is_not_a_number_is_refused(declare):
    pl.DataFrame({**WELLS, "Site": ["1", "f2"]}).write_parquet(declare.folder / "t.parquet")
    with pytest.raises(ProfilesError, match="column Site: site 'f2' is not a number"):
        declare(table="t.parquet", rows="site", keys={"site_index": "Site"})


def test_a_well_with_control_cells_and_others_is_refused(declare):
    frame = pl.DataFrame({**WELLS, "Metadata_Well": ["A1", "A1"], "kind": ["negcon", "other"]})
    frame.write_parquet(declare.folder / "t.parquet")
    with pytest.raises(ProfilesError, match="plate P, well A01 has control cells and other cells"):
        declare(table="t.parquet", rows="cell", controls={"column": "kind", "values": ["negcon"]})


def test_files_that_cannot_be_a_table_are_refused(declare, made):
    folder = declare.folder
    (folder / "t.parquet").write_text("no Parquet")
    (folder / "t.csv").write_text("Metadata_Plate,Metadata_Well,Cells_X,Cells_X\nP,A1,1,2\n")
    (folder / "t.npz").write_bytes(b"PK")
    (folder / "t.sqlite").write_text("no database, but long enough to be looked at as one")
    for name, message in {
        "missing.csv": "missing.csv: no such file",
        "none/*.csv": r"none/\*.csv: no such file",
        "t.parquet": "t.parquet: cannot be read as a table",
        "t.csv": "t.csv: two columns are called 'Cells_X'",
        "t.npz": r"t.npz: not a known kind of table; expected .parquet",
        "t.sqlite": "t.sqlite: cannot be read as SQLite",
    }.items():
        with pytest.raises(ProfilesError, match=message):
            declare(table=name, rows="cell")
    made.write_database(folder / "cells.sqlite", made.cells_table())
    with pytest.raises(ProfilesError, match="one row per cell; declare rows: cell, not rows: well"):
        declare(table="cells.sqlite", rows="well")
    with pytest.raises(ProfilesError, match=r"no column 'Metadata_Plate'.* it has Image_Metadata_Plate"):
        declare(table="cells.sqlite", rows="cell")


SEPARATED = {
    "german": "Metadata_Plate;Metadata_Well;note;Cells_X;Cells_Y\n0012;A1;a, b;1,5;-2\n0012;A2;;2,25e1;3\n",
    "excel": "sep=;\nMetadata_Plate;Metadata_Well;Cells_X;Cells_Y\r\n0012;A1;1,5;-2,0\r\n0012;A2;22,5;3,0\r\n",
    "quoted": '\ufeff"Metadata_Plate";"Metadata_Well";"Cells_X";"Cells_Y"\n'
    '"0012";"A1";"1,5";-2\n"0012";"A2";"22,5";3\n',
    "points": "Metadata_Plate;Metadata_Well;kind, type;Cells_X;Cells_Y\n0012;A1;1,1;1.5;-2\n0012;A2;1,2;22.5;3\n",
    "tabs": "Metadata_Plate\tMetadata_Well\tCells_X\tCells_Y\n0012\tA1\t1,5\t-2\n0012\tA2\t22,5\t3\n",
    "commas": "Metadata_Plate,Metadata_Well,note,Cells_X,Cells_Y\n0012,A1,a;b,1.5,-2\n0012,A2,;,22.5,3\n",
}


@pytest.mark.parametrize("written", SEPARATED)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_csv_is_read_whatever_separates_its_cells_and_marks_its_decimals(declare, written, name):
    content = SEPARATED[written].encode()
    (declare.folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found = by_place(declare(table=name, rows="well"))
    assert {place: list(vector) for place, vector in found.items()} == {
        ("0012", "A01", None): [1.5, -2.0],
        ("0012", "A02", None): [22.5, 3.0],
    }


@pytest.mark.parametrize("number", ["1.234", "1.234,5", "-0.5"])
def test_two_decimal_marks_in_one_file_are_refused(declare, number):
    text = f"Metadata_Plate;Metadata_Well;Cells_X;Cells_Y\nP;A1;1,5;{number}\nP;A2;2,5;3\n"
    (declare.folder / "t.csv").write_text(text)
    with pytest.raises(ProfilesError, match=rf"t\.csv, column Cells_Y: found '{number}', .* have a decimal comma"):
        declare(table="t.csv", rows="well")


def test_a_damaged_gzip_file_is_refused(declare):
    (declare.folder / "t.csv.gz").write_bytes(gzip.compress(SEPARATED["german"].encode())[:-12])
    with pytest.raises(ProfilesError, match=r"t\.csv\.gz: cannot be read as a table"):
        declare(table="t.csv.gz", rows="well")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"plate_id": {"BR9": "PlateX"}},
            r"names: plate_id: no row of the table has 'BR9'; the table has 'BR1', 'BR2'",
        ),
        ({"plate_id": {"BR1": "P1", "P2": "BR2"}}, r"names: plate_id: no row of the table has 'P2'; .* on the left"),
        ({"experiment_id": {"E-2": "E-1"}}, r"names: experiment_id: no row of the table has 'E-2'; .* has 'E-1'\."),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "sqlite"])
def test_a_name_that_no_row_has_is_refused(declare, made, names, message, kind):
    table, keys = made.cells_table(plates=("BR1", "BR2")), {}
    if kind == "parquet":
        table.write_parquet(declare.folder / "t.parquet")
    else:
        made.write_database(declare.folder / "t.sqlite", table)
        keys = {"plate_id": "Image_Metadata_Plate", "well_id": "Image_Metadata_Well"}
    with pytest.raises(ProfilesError, match=message):
        declare(table=f"t.{kind}", rows="cell", keys=keys, names=names)


def test_names_may_be_in_different_files_of_a_table(declare):
    for plate in ("BR1", "BR2"):
        pl.DataFrame({**WELLS, "Metadata_Plate": [plate] * 2}).write_parquet(declare.folder / f"{plate}.parquet")
    names = {"plate_id": {"BR1": "Plate1", "BR2": "Plate2"}, "experiment_id": {"E-1": "HUVEC-1"}}
    found = declare(table="*.parquet", rows="well", names=names)
    assert found.labels["plate_id"].unique().sort().to_list() == ["Plate1", "Plate2"]
    assert set(found.labels["experiment_id"]) == {"HUVEC-1"}


def test_files_with_different_features_are_refused(declare):
    pl.DataFrame(WELLS).write_parquet(declare.folder / "a.parquet")
    pl.DataFrame({**WELLS, "Cells_Y": [1.0, 2.0]}).write_parquet(declare.folder / "b.parquet")
    with pytest.raises(ProfilesError, match=r"a\.parquet: no feature 'Cells_Y', which other files of the table have"):
        declare(table="*.parquet", rows="well")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment": None}, "expected either experiment, or the column keys.experiment_id"),
        ({"rows": "site"}, "rows: site needs the column keys.site_index"),
        ({"keys": {"site_index": "Site"}}, "rows: well and keys.site_index exclude each other"),
        ({"features": "("}, r"'\(' is not a regular expression"),
        ({"steps": [{"kind": "standardize", "fit_on": "controls"}]}, "say which rows they are, in `controls`"),
        ({"steps": [{"kind": "blocklist", "file": "none.txt"}]}, "none.txt: cannot be read"),
        ({"name": "a|b"}, "cannot be part of a model key"),
        ({"colour": "red"}, "colour: unknown key"),
    ],
)
def test_a_wrong_declaration_is_refused(declare, changes, message):
    pl.DataFrame(WELLS).write_parquet(declare.folder / "t.parquet")
    with pytest.raises(ConfigError, match=message):
        declare(**{"table": "t.parquet", "rows": "well", **changes})


def test_a_blocklist_is_read_from_its_file(declare):
    pl.DataFrame({**WELLS, "Nuclei_Y": [1.0, 2.0]}).write_parquet(declare.folder / "t.parquet")
    (declare.folder / "list.txt").write_text("blocklist\nNuclei_Y\n")
    found = declare(table="t.parquet", rows="well", steps=[{"kind": "blocklist", "file": "list.txt"}])
    assert found.features == ("Cells_X",)


def test_pandas_writes_what_is_read(declare):
    """An index column without a name, NaN as text, a plate with leading zeros."""
    frame = pd.DataFrame({**WELLS, "Metadata_Plate": ["007", "007"], "Cells_Y": ["NaN", 3.5]})
    frame.to_csv(declare.folder / "t.csv")
    steps = [{"kind": "drop_na_columns", "cutoff": 0}]
    found = declare(table="t.csv", rows="well", steps=steps)
    assert found.labels["plate_id"].to_list() == ["007", "007"]
    assert found.dropped[0].features == ("Cells_Y",)
