"""Tables that people wrote read alike, whatever their program saved them as, or are refused with file and line."""

import os

import polars as pl
import pytest
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.tables.written import LINE, parse_written, read_written, written_header, written_lines

PLAIN = "gene,dose\nTP53,0.1\nATM,\n"
ROWS = [("TP53", "0.1"), ("ATM", None)]


def parsed(content: bytes | str) -> pl.DataFrame:
    content = content if isinstance(content, bytes) else content.encode()
    return parse_written(content, "table.csv", LayoutError)


def refusal(content: bytes | str) -> str:
    with pytest.raises(LayoutError) as caught:
        parsed(content)
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.removesuffix("\n"),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
        ' gene , dose\n\tTP53 , 0.1\n"ATM",""\n',
        '"gene","dose"\n"TP53","0.1"\n"ATM",\n',
        "gene,dose\n\nTP53,0.1\n , \nATM,\n,\n\n",
        "gene,dose,\nTP53,0.1,\nATM,,\n",
        ",gene,dose\n0,TP53,0.1\n1,ATM,\n",
        "gene,dose\nTP53,0.1,\nATM,,,\n",
        "gene,dose\nTP53\u00a0,0.1\u200b\nATM,NA\n",
    ],
)
def test_one_table_in_many_forms_reads_alike(content):
    table = parsed(content)
    assert table.columns == [LINE, "gene", "dose"]
    assert table.drop(LINE).rows() == ROWS


@pytest.mark.parametrize("word", ["NA", "nan", "NaN", "N/A", "#N/A", "null", "None", "<NA>", "  ", "na "])
def test_words_for_a_missing_value_are_null(word):
    assert parsed(f"gene,dose\n{word},1\n")["gene"].to_list() == [None]


def test_lines_are_those_of_the_file():
    assert parsed("\na,b\n1,2\n\n3,4\n")[LINE].to_list() == [3, 5]
    assert parsed('sep=,\na,b\n"1\n1",2\n\n3,4\n')[LINE].to_list() == [3, 6]


def test_cells_keep_what_is_in_them():
    table = parsed('a,b\n"x, ""y""","two\nlines"\nTP53 (human),µM\n')
    assert table.drop(LINE).rows() == [('x, "y"', "two\nlines"), ("TP53 (human)", "µM")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n3\n", "table.csv, line 3: 1 cells, the header has 2 (1 such lines); found '3'"),
        ("a,b\n1,2,3\n4,5,6\n", "table.csv, line 2: 3 cells, the header has 2 (2 such lines)"),
        ('a,b\n1,"2\n3,4\n', "table.csv, line 2: unexpected end of data; check the double quotes"),
        ('a,b\n1,2\n"3"x,4\n', "table.csv, line 3: "),
        ("a,b, a\n1,2,3\n", "table.csv: two columns are called 'a'"),
        ("", "table.csv: an empty table"),
        ("\n \n,,\n", "table.csv: an empty table"),
        ("gene\nna\xefve\n".encode("latin-1"), r"table.csv, line 2: not UTF-8 text (b'\xef'); save"),
        ("a,b\n1,2\n".encode("utf-16-le"), "table.csv, line 1: a zero byte"),
        (b"PK\x03\x04rest", "found an Excel workbook or a ZIP file; save the sheet as CSV"),
        (b"\x1f\x8b\x08rest", "compressed; unpack it"),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused_with_its_line(content, words):
    assert words in refusal(content)


def test_a_header_alone_has_no_rows():
    table = parsed("a,b\n")
    assert (table.columns, table.height) == ([LINE, "a", "b"], 0)


@pytest.mark.parametrize("content", [PLAIN.encode(), PLAIN.encode("utf-16"), b'\xef\xbb\xbf\n"gene"; "dose"\r\n1;2'])
def test_the_header_alone(tmp_path, content):
    path = UPath(tmp_path / "table.csv")
    path.write_bytes(content)
    assert written_header(path, LayoutError) == ["gene", "dose"]


def test_lines_between_tabs(tmp_path):
    path = UPath(tmp_path / "sets.gmt")
    path.write_bytes("\ufeffset 1\tabout\tA \tB\r\n\r\nset 2\t\tC\r\n".encode())
    assert written_lines(path, LayoutError) == [(1, ["set 1", "about", "A", "B"]), (3, ["set 2", "", "C"])]


@pytest.mark.timeout(20)
def test_only_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "folder.csv"):
        with pytest.raises(LayoutError, match=f"{name}: not a file"):
            read_written(UPath(tmp_path / name), LayoutError)
        with pytest.raises(LayoutError, match=f"{name}: not a file"):
            written_header(UPath(tmp_path / name), LayoutError)
    for read in (read_written, written_header):
        with pytest.raises(FileNotFoundError):
            read(UPath(tmp_path / "absent.csv"), LayoutError)
