"""`cellassets artifact` and `lake`: damaged files are named, a catalogue that is wrong is corrected."""

import json
import shutil


def a_file_of(home, kind):
    return next(path for path in (home / "lake/data" / kind).rglob("*.parquet"))


def test_all_publications_are_verified(settled, run):
    n_found = json.loads(run("lake", "scan", "--home", settled, "--json"))["n_found"]
    assert (
        run("artifact", "verify", "--home", settled).strip()
        == f"{n_found} of {n_found} artefacts are as they were published"
    )


def test_every_damaged_publication_is_named_and_the_status_is_1(home, call):
    for kind in ("leaderboard", "plate_quality"):
        with a_file_of(home, kind).open("ab") as stream:
            stream.write(b"x")
    answer = call("artifact", "verify", "--home", home)
    assert answer.status == 1
    assert str(a_file_of(home, "leaderboard")) in answer.stderr
    assert str(a_file_of(home, "plate_quality")) in answer.stderr
    n_sound, n_all = (int(answer.stdout.split()[place]) for place in (0, 2))
    assert n_sound == n_all - 2


def test_a_scan_corrects_the_catalogue_and_counts_what_it_did(home, run):
    assert "; 0 noted, 0 forgotten" in run("lake", "scan", "--home", home)
    shutil.rmtree(home / "lake/records/model_report")
    assert "; 0 noted, 1 forgotten" in run("lake", "scan", "--home", home)
    (home / "lake/catalogue.db").unlink()
    found = json.loads(run("lake", "scan", "--home", home, "--json"))
    assert found["n_noted"] == found["n_found"] > 0


def test_an_unreadable_commit_record_is_named_and_the_status_is_1(home, call):
    record = home / "lake/records/leaderboard/000002.json"
    record.write_text("{")
    answer = call("lake", "scan", "--home", home)
    assert answer.status == 1
    assert str(record) in answer.stderr
    assert call("artifact", "verify", "--home", home).status == 1
