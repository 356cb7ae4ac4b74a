"""The explorer without a server: the same documents as scripts, all or nothing."""

import json

import pytest

from cellassets.access import OpenHome
from cellassets.errors import ArtifactMissing, ExportError
from cellassets.explorer import static_export
from cellassets.explorer.bundle_files import STATIC_SCRIPT
from cellassets.explorer.documents import Documents
from cellassets.explorer.static_export import export_explorer

START = "cellassetsDocument("


@pytest.fixture(scope="module")
def documents(scored):
    return Documents(OpenHome(scored.deployment))


@pytest.fixture(scope="module")
def keys(scored):
    return ("SIM", min(scored.lake.records().keys("perturbation_map", "SIM")))


def documents_in(folder):
    found = {}
    for path in (folder / "data").rglob("*.js"):
        text = path.read_text()
        assert text.startswith(START)
        name, document = json.loads(f"[{text[len(START) : text.rindex(')')]}]")
        assert path == folder / "data" / f"{name}.js"
        found[name] = document
    return found


def test_the_documents_are_those_of_the_server(documents, keys, tmp_path):
    made = export_explorer(documents, tmp_path / "map", [keys], n_image_wells=1)
    found = documents_in(tmp_path / "map")
    assert len(found) == made.n_documents
    assert [(line["dataset_id"], line["model_key"]) for line in found.pop("home.json")["maps"]] == [keys]
    for name, document in found.items():
        assert document == documents.get(name)
    assert STATIC_SCRIPT in (tmp_path / "map/index.html").read_text()
    n_bytes = sum(path.stat().st_size for path in (tmp_path / "map").rglob("*") if path.is_file())
    assert made.n_bytes == n_bytes


def test_images_are_of_treated_wells_and_of_controls_of_the_same_plates(documents, keys, tmp_path):
    export_explorer(documents, tmp_path / "map", [keys], n_image_wells=1)
    found = documents_in(tmp_path / "map")
    plates = {name: document for name, document in found.items() if name.count("/") == 2 and "images" in name}
    shown = [name.split("/") for name in found if name.startswith("images/") and name.count("/") == 5]
    treated = set()
    for name, plate in plates.items():
        wells = [well for _, *place, well, _, _ in shown if f"images/{'/'.join(place)}.json" == name]
        kinds = {plate["wells"][well]["control_kind"] for well in wells}
        assert "negative" in kinds
        treated |= {plate["wells"][w]["perturbation_id"] for w in wells if plate["wells"][w]["control_kind"] is None}
    opened = documents.open_map(*keys)
    genes = {name for name, control in zip(opened.perturbation_ids, opened.is_control, strict=True) if not control}
    assert genes <= treated | set(opened.names)
    assert len(treated) == len(genes)


def test_nothing_is_left_of_an_export_that_fails(documents, keys, tmp_path, monkeypatch):
    with pytest.raises(ArtifactMissing):
        export_explorer(documents, tmp_path / "map", [("NONE", "m.v1")])
    monkeypatch.setattr(static_export, "MAX_ROWS", 3)
    with pytest.raises(ExportError, match="holds 3 at most: use the server"):
        export_explorer(documents, tmp_path / "map", [keys])
    assert list(tmp_path.iterdir()) == []
