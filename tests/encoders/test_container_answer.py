"""What a container encoder may answer, and what the message says where it answers something else."""

import os
import re

import numpy as np
import pytest

from cellassets.encoders.container.answer import Expected, read_answer
from cellassets.encoders.container.outcome import outcome_of
from cellassets.errors import EncoderError

EXPECTED = Expected(["P1 B02 site 1", "P1 B02 site 2", "P1 B03 site 1"], 2, is_uniform=False)
VECTORS = np.array([[1, 2], [3, 4.5], [5, -6]], dtype=np.float32)
CSV = "0,1,2\n1,3,4.5\n2,5,-6\n"


def test_an_array_and_a_text_file_give_the_same_vectors(tmp_path):
    for name in ("npy", "csv"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "npy" / "embeddings.npy", VECTORS)
    (tmp_path / "csv" / "embeddings.csv").write_text(
        "2,5,-6\r\n0,1.0,2e0\r\n1, 3 ,+4.5\r\n"
    )  # any order, Windows' ends
    for name in ("npy", "csv"):
        found = read_answer(tmp_path / name, EXPECTED)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, VECTORS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1,2\n2,5,-6\n", r"found 2 of 3 sites; row 1 \(P1 B02 site 2\) is the first that is missing"),
        (CSV + "1,3,4\n", r"line 4: row 1 \(P1 B02 site 2\) is there twice; expected it once"),
        (CSV + "3,3,4\n", r"line 4: starts with '3'; expected a row number from 0 to 2"),
        ("row,f0,f1\n" + CSV, r"line 1: starts with 'row'; expected a row number from 0 to 2"),
        ("0,1\n", r"line 1: row 0 \(P1 B02 site 1\) has 1 values; expected 2"),
        ("0,1,a\n", r"line 1: row 0 \(P1 B02 site 1\): could not convert string to float: 'a'; expected numbers"),
        ("0,1,2\n1,nan,4\n2,5,6\n", r"value 0 of row 1 \(P1 B02 site 2\) is nan; expected a finite number"),
        ("0,1,1e39\n1,3,4\n2,5,6\n", r"value 1 of row 0 \(P1 B02 site 1\) is inf; expected a finite number"),
        ("0,7,7\n1,7,7\n2,7,7\n", r"all 3 sites have the same vector; expected different vectors"),
        ("", r"found 0 of 3 sites; row 0 \(P1 B02 site 1\) is the first that is missing"),
    ],
)
def test_a_wrong_text_file_is_refused_by_line_and_site(tmp_path, text, message):
    path = tmp_path / "embeddings.csv"
    path.write_text(text)
    with pytest.raises(EncoderError, match=re.escape(str(path)) + ".*" + message):
        read_answer(tmp_path, EXPECTED)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (VECTORS.astype(np.float64), r"float64 of shape \(3, 2\)"),
        (VECTORS[:2], r"float32 of shape \(2, 2\)"),
        (np.asfortranarray(VECTORS), r"float32 of shape \(3, 2\) in Fortran order"),
        (VECTORS.ravel(), r"float32 of shape \(6,\)"),
    ],
)
def test_an_array_of_another_form_is_refused_with_what_was_expected(tmp_path, array, found):
    np.save(tmp_path / "embeddings.npy", array)
    with pytest.raises(EncoderError, match=rf"found {found}.*expected a float32 array of shape \(3, 2\) in C order"):
        read_answer(tmp_path, EXPECTED)


def test_an_array_that_was_cut_off_is_refused(tmp_path):
    path = tmp_path / "embeddings.npy"
    np.save(path, VECTORS)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EncoderError, match="and 23 bytes of data"):
        read_answer(tmp_path, EXPECTED)


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was_run"),)

    np.save(tmp_path / "embeddings.npy", np.array([[Bomb()] * 2] * 3), allow_pickle=True)
    with pytest.raises(EncoderError, match="found object of shape"):
        read_answer(tmp_path, EXPECTED)
    assert not (tmp_path / "was_run").exists()


def test_a_header_that_claims_a_huge_array_allocates_nothing(tmp_path):
    with (tmp_path / "embeddings.npy").open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1 << 10)}
        np.lib.format.write_array_header_1_0(stream, header)
    with pytest.raises(EncoderError, match=r"float32 of shape \(1099511627776, 1024\)"):
        read_answer(tmp_path, EXPECTED)


def test_a_file_that_is_too_large_a_link_and_a_pipe_are_not_read(tmp_path):
    path = tmp_path / "embeddings.csv"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)  # takes no space on disk
    with pytest.raises(EncoderError, match=r"found 1,099,511,627,776 bytes; expected a regular file of at most 65,896"):
        read_answer(tmp_path, EXPECTED)
    path.unlink()
    (tmp_path / "secret").write_text(CSV)
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(EncoderError, match="expected a regular file, not a link"):
        read_answer(tmp_path, EXPECTED)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(EncoderError, match="found not a regular file"):
        read_answer(tmp_path, EXPECTED)


def test_no_answer_and_two_answers_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(EncoderError, match=r"expected one of embeddings.npy and .*found neither \(notes.txt\)"):
        read_answer(tmp_path, EXPECTED)
    (tmp_path / "embeddings.csv").write_text(CSV)
    np.save(tmp_path / "embeddings.npy", VECTORS)
    with pytest.raises(EncoderError, match=r"found embeddings.npy and embeddings.csv"):
        read_answer(tmp_path, EXPECTED)


def test_sites_that_look_alike_may_have_equal_vectors(tmp_path):
    (tmp_path / "embeddings.csv").write_text("0,7,7\n1,7,7\n2,7,7\n")
    alike = Expected(EXPECTED.sites, 2, is_uniform=True)
    assert (read_answer(tmp_path, alike) == 7).all()


@pytest.mark.parametrize(
    ("exit_status", "outcome"),
    [(0, "done"), (1, "failed"), (75, "interrupted"), (-9, "interrupted"), (137, "interrupted"), (143, "interrupted"),
     (-11, "failed"), (139, "failed"), (127, "failed")],
)  # fmt: skip
def test_an_exit_status_says_whether_to_try_again(exit_status, outcome):
    assert outcome_of(exit_status) == outcome
