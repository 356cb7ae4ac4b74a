"""The documents of the explorer: the answers of the map, by path."""

import base64
import json

import numpy as np
import pytest

from cellassets.access import OpenHome
from cellassets.errors import ArtifactMissing, DatasetError
from cellassets.explorer.documents import Documents, NoDocument
from cellassets.explorer.image_documents import n_levels
from cellassets.explorer.map_documents import BLOCK_ROWS, n_blocks


def decoded(part):
    return np.frombuffer(base64.b64decode(part["base64"]), part["dtype"]).reshape(part["shape"])


@pytest.fixture(scope="module")
def documents(scored):
    return Documents(OpenHome(scored.deployment))


@pytest.fixture(scope="module")
def model_key(scored):
    return min(scored.lake.records().keys("perturbation_map", "SIM"))


@pytest.fixture(scope="module")
def opened(documents, model_key):
    return documents.open_map("SIM", model_key)


def test_the_front_page_lists_the_maps(documents, scored):
    front = documents.get("home.json")
    assert {(line["dataset_id"], line["model_key"]) for line in front["maps"]} == {
        ("SIM", key) for key in scored.lake.records().keys("perturbation_map", "SIM")
    }
    assert not any(line["is_champion"] for line in front["maps"])


def test_every_document_is_strict_json(documents, model_key):
    for rest in ("index", "sets", "neighbours/0", "profiles/0", "vectors/0"):
        made = documents.get(f"maps/SIM/{model_key}/{rest}.json")
        assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_the_index_has_a_value_per_row(documents, model_key):
    index = documents.get(f"maps/SIM/{model_key}/index.json")
    columns = [value for value in index.values() if isinstance(value, list) and value and value != index["cell_types"]]
    assert {len(column) for column in columns if column is not index["annotation_sources"]} == {index["n_rows"]}
    x, y = decoded(index["x"]), decoded(index["y"])
    is_control = [kind is not None for kind in index["control_kind"]]
    assert np.array_equal(np.isnan(x), is_control)
    assert np.array_equal(np.isnan(y), is_control)


def test_blocks_hold_the_answers_of_the_map(documents, opened, model_key):
    block = documents.get(f"maps/SIM/{model_key}/neighbours/0.json")
    name = opened.perturbation_ids[2]
    expected = opened.neighbours(name, 50)
    found = block["rows"][2]["nearest"]
    assert [opened.perturbation_ids[one["row"]] for one in found] == expected["perturbation_id"].to_list()
    p_values = np.array([one["p_value"] for one in found], dtype=float)
    assert p_values == pytest.approx(expected["p_value"].to_numpy(), rel=1e-5, nan_ok=True)
    assert [one["relations"] for one in found] == expected["known"].to_list()
    vectors = decoded(documents.get(f"maps/SIM/{model_key}/vectors/0.json")["unit"])
    assert vectors == pytest.approx(opened.unit[: BLOCK_ROWS["vectors"]], abs=1e-3)
    profile = documents.get(f"maps/SIM/{model_key}/profiles/0.json")["rows"][2]
    assert [well["well_id"] for well in profile["wells"]] == opened.replicates(name)["well_id"].to_list()


def test_images_are_those_of_the_store(documents, scored):
    experiment = scored.lake.records().keys("plate_store")[0]
    images = documents.open_images(experiment)
    site = images.sites.row(0, named=True)
    place = f"images/{experiment}/{site['plate_id']}"
    plate = documents.get(f"{place}.json")
    assert plate["wells"][site["well_id"]]["sites"][0] == site["site_index"]
    assert len(plate["contrast"]) == len(plate["channel_names"]) == images.store.n_channels
    path = f"{place}/{site['well_id']}/{site['site_index']}/0.json"
    assert np.array_equal(decoded(documents.get(path)["planes"]), images.store.read([0])[0])
    with pytest.raises(DatasetError, match=r"levels 0 to 0; asked for 1"):
        documents.get(path.replace("/0.json", "/1.json"))


def test_levels_end_below_256_pixels():
    assert [n_levels(size, 5000) for size in (8, 255, 256, 511, 512, 1080, 2048)] == [1, 1, 2, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "path",
    [
        "", "x.json", "maps/SIM/{model}/neighbours/99.json", "maps/SIM/{model}/neighbours/-1.json",
        "maps/SIM/{model}/nothing.json", "images/a/b/c/one/0.json",
    ],
)  # fmt: skip
def test_a_path_of_no_document_is_refused(documents, model_key, path):
    with pytest.raises((NoDocument, ArtifactMissing)):
        documents.get(path.format(model=model_key))


def test_a_map_that_is_published_again_is_opened_again(scored, tmp_path, publish_newer, model_key):
    other = scored.copy(tmp_path / "home")
    documents = Documents(OpenHome(other.deployment))
    before = documents.get(f"maps/SIM/{model_key}/index.json")["n_rows"]
    change = {"map.parquet": lambda table: table.head(before - 1)}
    publish_newer(other.deployment, "perturbation_map", "SIM", model_key, change=change)
    assert documents.get(f"maps/SIM/{model_key}/index.json")["n_rows"] == before - 1


def test_the_last_block_may_be_short():
    assert n_blocks(4, "neighbours") == 1
    assert n_blocks(5, "neighbours") == 2
    assert n_blocks(0, "vectors") == 0
