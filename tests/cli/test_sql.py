"""`cellassets sql`: answers that people can read, and forms for programs."""

import csv
import io
import json


def test_a_narrow_answer_is_a_table(settled, run):
    said = run("sql", "SELECT cell_type, count(*) AS n_wells FROM wells GROUP BY ALL ORDER BY ALL", "--home", settled)
    assert "┃ cell_type ┃ n_wells ┃" in said
    assert "│ U2OS      │      42 │" in said


def test_a_wide_answer_is_one_record_below_the_other_and_fits_the_terminal(settled, run):
    said = run("sql", "SELECT * FROM scores LIMIT 2", "--home", settled, COLUMNS="60")
    assert "row 1 of 2" in said
    assert "row 2 of 2" in said
    assert "  benchmark_name" in said
    assert max(map(len, said.splitlines())) <= 60


def test_a_vector_is_shortened_for_people_and_whole_for_programs(settled, run):
    query = ("sql", "SELECT well_id, embedding FROM aligned_wells LIMIT 1", "--home", settled)
    assert "… (8 values)" in run(*query)
    (row,) = json.loads(run(*query, "--json"))
    assert len(row["embedding"]) == 8
    (header, cells) = csv.reader(io.StringIO(run(*query, "--csv")))
    assert header == ["well_id", "embedding"]
    assert json.loads(cells[1]) == row["embedding"]


def test_no_rows_are_said_and_are_an_empty_list_or_a_header_for_programs(settled, run):
    query = ("sql", "SELECT well_id FROM wells WHERE false", "--home", settled)
    assert run(*query) == "no rows\n"
    assert json.loads(run(*query, "--json")) == []
    assert run(*query, "--csv") == "well_id\n"


def test_a_text_that_a_spreadsheet_would_execute_is_made_harmless_in_csv(settled, run):
    values = ["=HYPERLINK(1)", "+1+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "-1.5e-3", "+7", "TP53", ""]
    listed = ", ".join(f"('{value}')" for value in values)
    query = f"SELECT * FROM (VALUES {listed}) AS t(text)"  # noqa: S608
    said = run("sql", query, "--home", settled, "--csv")
    found = [row[0] if row else "" for row in csv.reader(io.StringIO(said))][1:]
    assert found == ["'=HYPERLINK(1)", "'+1+cmd|x", "'-2+3", "'@SUM(A1)", "'\t=1", "-1.5e-3", "+7", "TP53", ""]


def test_brackets_in_values_are_shown(settled, run):
    assert "[red]x[/red]" in run("sql", "SELECT '[red]x[/red]' AS text", "--home", settled)


def test_numbers_that_are_not_finite_are_null_in_json(settled, run):
    assert json.loads(run("sql", "SELECT 'nan'::DOUBLE AS x", "--home", settled, "--json")) == [{"x": None}]


def test_many_rows_are_cut_for_people_alone(settled, call):
    query = ("sql", "SELECT range AS number FROM range(1500)", "--home", settled)
    answer = call(*query)
    assert "999" in answer.stdout
    assert "1200" not in answer.stdout
    assert "first 1000 of 1500 rows" in answer.stderr
    assert len(json.loads(call(*query, "--json").stdout)) == 1500


def test_a_wrong_statement_is_refused_with_the_views(settled, refused):
    assert "'wells'" in refused("sql", "SELECT * FROM nothing", "--home", settled)
    assert "expected one SELECT" in refused("sql", "DROP VIEW wells", "--home", settled)


def test_the_help_names_the_views(run):
    assert "aligned_wells" in run("sql", "--help")
