"""`cellassets recipe`: a recipe with its defaults, or what is wrong with it."""

import json
import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]


def documented_recipes() -> dict[str, str]:
    text = (REPOSITORY / "docs/add-a-recipe.md").read_text()
    return dict(re.findall(r"```yaml\n# configs/recipes/(\w+)\.yaml\n(.*?)```", text, re.DOTALL))


def is_search(name: str) -> bool:
    return "search" in yaml.safe_load(documented_recipes()[name])


@pytest.mark.parametrize("name", [name for name in sorted(documented_recipes()) if is_search(name)])
def test_the_documented_searches_are_valid_and_show_their_variants(name, run, tmp_path):
    path = tmp_path / f"{name}.yaml"
    path.write_text(documented_recipes()[name])
    shown, listed = run("recipe", "check", path), json.loads(run("recipe", "check", path, "--json"))
    search = yaml.safe_load(path.read_text())["search"]
    if search["method"] == "bayesian":
        assert f"{name}: bayesian, 24 variants, 4 at once; poor ones are stopped by successive_halving" in shown
        assert all(key in shown for key in search["parameters"])
    else:
        assert len(listed) == {"resnet_search": 8, "resnet_losses": 3}[name]
        assert all(variant["name"] in shown for variant in listed)
        assert {variant["recipe"]["name"] for variant in listed} == {variant["name"] for variant in listed}


@pytest.mark.parametrize("name", [name for name in sorted(documented_recipes()) if not is_search(name)])
def test_the_documented_recipes_are_valid(name, run, tmp_path):
    path = tmp_path / f"{name}.yaml"
    path.write_text(documented_recipes()[name])
    shown, written = yaml.safe_load(run("recipe", "check", path)), yaml.safe_load(path.read_text())
    assert shown["name"] == name
    plain = {key: value for key, value in written.items() if not isinstance(value, dict)}
    assert {key: shown[key] for key in plain} == plain
    assert json.loads(run("recipe", "check", path, "--json")) == [shown]


def test_a_wrong_recipe_is_refused_with_the_file_and_the_key(refused, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("kind: network\ntrain_experiments: [A]\nvalidation_experiments: [B]\nepochs: 3\n")
    told = refused("recipe", "check", path)
    assert str(path) in told
    assert "epochs" in told


def test_a_configuration_of_transformers_is_checked_too(refused, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "kind: network\ntrain_experiments: [A]\nvalidation_experiments: [B]\n"
        "backbone: {family: zoo, model_type: regnet, config: {group_width: 16}}\n"
    )
    told = refused("recipe", "check", path)
    assert str(path) in told
    assert "backbone.config.group_width: unknown key of regnet" in told


def write_network(path, trained, validated, crop_px):
    recipe = {"kind": "network", "train_experiments": trained, "validation_experiments": validated}
    path.write_text(yaml.safe_dump({**recipe, "augmentation": {"crop_px": crop_px}, "uses_flagged_sites": True}))


@pytest.mark.slow
def test_a_recipe_is_compared_with_what_landed_and_is_stored(call, refused, settled, home, tmp_path):
    path = tmp_path / "mine.yaml"
    write_network(path, ["HUVEC-1"], ["HUVEC-99"], crop_px=96)
    assert call("recipe", "check", path).status == 0, "without --home only the file is read"
    told = refused("recipe", "check", path, "--home", settled)
    assert f"{path}: HUVEC-99 did not land here; similar: HUVEC-1" in told
    assert f"{path}: augmentation.crop_px is 96, the sites are 64 x 64 pixels" in told

    write_network(path, ["HUVEC-1"], ["U2OS-1"], crop_px=48)
    answer = call("recipe", "check", path, "--home", settled)
    assert answer.status == 0
    assert "everything that it is trained on is stored" in answer.stderr
    assert yaml.safe_load(answer.stdout)["augmentation"]["crop_px"] == 48

    path.write_text(path.read_text() + "start_from: nothing.v1\n")
    assert "start_from: model nothing.v1 is not in the registry" in refused("recipe", "check", path, "--home", settled)

    write_network(path, ["HUVEC-1"], ["HUVEC-2"], crop_px=48)
    (home / "landing/HUVEC-1").rename(home / "landing/HUVEC-2")  # landed, and not stored yet
    answer = call("recipe", "check", path, "--home", home)
    assert answer.status == 0
    assert answer.stderr.strip() == "waits for plate_store of HUVEC-2: not published yet"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("seed: 2020-13-45", "not valid YAML: month must be in 1..12"),
        (f"loss: {'[' * 3000}{']' * 3000}", "hundreds deep"),
        ("loss: &again {arcface_weight: *again}", "line 4: *again stands inside of &again: remove it"),
        ("a: &a [1, 1]\n" + "".join(f"a{n}: &a{n + 1} [*a{n or ''}, *a{n or ''}]\n" for n in range(20)), "1,000,000"),
        ("optimiser: {learning_rate: .inf}", "optimiser.learning_rate: found inf; expected a finite number (line 4)"),
        ("optimiser: {weight_decay: 1e999}", "optimiser.weight_decay: found inf; expected a finite number (line 4)"),
        ("frozen: backbone.*", "frozen: expected a list, such as [a, b]; found 'backbone.*' (line 4)"),
        ("backbone: {width: 12}", "backbone: the key family is missing (line 4)"),
        ("n_epochs: true", "n_epochs: found true; expected a number (line 4)"),
        ("batch_size: 1:30", "batch_size: Input should be a valid integer, unable to parse string as an integer"),
        ("batch_size: 1000000000", "batch_size: Input should be less than or equal to 65536; found 1000000000"),
        ("embedding_dim: 10000000000", "embedding_dim: Input should be less than or equal to 65536"),
        (
            "search: {method: grid, parameters: {seed: [1, 2]}, stop_poor: {rule: median, n_siblings: 2}}",
            "search.stop_poor.n_siblings: found 2; expected less than 2, the number of variants",
        ),
        ("loss: 3", "loss: expected a mapping, such as {key: value}; found 3 (line 4)"),
        ("train_site_indices: [0]", "train_site_indices.0: Input should be greater than or equal to 1; found 0"),
        ("control_experiments: [../C]", "experiment '../C' cannot be a partition key: use letters"),
    ],
)
def test_absurd_values_are_refused_in_words(lines, words, refused, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"kind: network\ntrain_experiments: [A]\nvalidation_experiments: [B]\n{lines}\n")
    told = " ".join(refused("recipe", "check", path).split())
    assert f"ConfigError: {path}: " in told
    assert words in told


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("grid, parameters: {seed: {low: 0, high: 1000000000000, step: 1}}", "into more than 100,000 values"),
        ("random, n_variants: 2, parameters: {seed: {low: 0, high: 1.0e+30}}", "between -1e+15 and 1e+15"),
        ("random, n_variants: 2, parameters: {embedding_dim: {low: .nan, high: 8}}", "low nan: expected a number"),
        ("grid, parameters: {optimiser.learning_rate: [.nan, 1]}", "found nan; expected a finite number (line 4)"),
        ("grid, parameters: {seed: [1, 2]}, stop_poor: {rule: threshold, worse_than: 2}", "an accuracy is between 0"),
    ],
)
def test_searches_without_sense_are_refused_and_not_computed(search, words, refused, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"kind: network\ntrain_experiments: [A]\nvalidation_experiments: [B]\nsearch: {{method: {search}}}\n"
    )
    assert words in " ".join(refused("recipe", "check", path).split())


def test_seeds_are_drawn_from_a_huge_range_without_listing_it(run, tmp_path):
    path = tmp_path / "mine.yaml"
    search = "search: {method: random, n_variants: 3, parameters: {seed: {low: 0, high: 100000000000}}}"
    path.write_text(f"kind: network\ntrain_experiments: [A]\nvalidation_experiments: [B]\n{search}\n")
    assert len(json.loads(run("recipe", "check", path, "--json"))) == 3
