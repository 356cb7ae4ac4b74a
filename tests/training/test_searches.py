"""Recipe files with a search: the variants, their names, and what is refused with its line."""

import math

import pytest
from upath import UPath

from cellassets.errors import ConfigError
from cellassets.training.proposing import Tried, propose
from cellassets.training.recipe import checked_family, load_recipe, recipe_fingerprint

BASE = """kind: network
train_experiments: [A]
validation_experiments: [B]
n_epochs: 8
backbone: {family: resnet, widths: [8, 16], depths: [1, 1]}
search:
"""


def family_of(folder, search: str, name: str = "wide"):
    path = UPath(folder / f"{name}.yaml")
    path.write_text(BASE + search)
    return checked_family(path)


def names_of(folder, search: str) -> list[str]:
    return [variant.name for variant in family_of(folder, search)[1]]


GRID = """  method: grid
  parameters:
    optimiser.learning_rate: [3.0e-3, 1.0e-2]
    backbone:
      named:
        small: {family: resnet, widths: [8, 16], depths: [1, 1]}
        large: {family: resnet, widths: [8, 16], depths: [2, 2]}
    loss.arcface_weight: {low: 0.0, high: 0.5, step: 0.5}
"""


def test_a_grid_is_every_combination_with_readable_names(tmp_path):
    family, variants = family_of(tmp_path, GRID)
    assert [variant.name for variant in variants][:3] == [
        "wide-lr3e-3-backbone_small-arcface0.0",
        "wide-lr3e-3-backbone_small-arcface0.5",
        "wide-lr3e-3-backbone_large-arcface0.0",
    ]
    assert len({variant.name for variant in variants}) == len(variants) == 8
    last = variants[-1]
    assert last.values == {"optimiser.learning_rate": 0.01, "backbone": "large", "loss.arcface_weight": 0.5}
    assert (last.recipe.optimiser.learning_rate, last.recipe.backbone.depths) == (0.01, (2, 2))
    assert (last.family, last.recipe.name) == (family.name, last.name) == ("wide", last.name)


def test_a_list_names_its_variants_and_may_change_anything(tmp_path):
    _, (plain, supcon) = family_of(
        tmp_path,
        "  method: list\n  variants:\n    plain: {}\n"
        "    supcon: {loss.metric_losses: [{name: supcon}], n_sites_per_class: 4, backbone.depths.1: 3}\n",
    )
    assert (plain.name, supcon.name) == ("wide-plain", "wide-supcon")
    assert plain.recipe.loss.metric_losses == ()
    assert (supcon.recipe.n_sites_per_class, supcon.recipe.backbone.depths) == (4, (1, 3))


RANDOM = """  method: random
  n_variants: {n}
  parameters:
    optimiser.learning_rate: {{low: 1.0e-4, high: 1.0e-2, scale: log}}
    augmentation.has_flips: [true, false]
    backbone.depths: [[1, 1], [2, 2]]
    batch_size: {{low: 8, high: 64}}
"""


def test_random_variants_are_the_same_everywhere_and_more_keep_the_first(tmp_path):
    few, many = (names_of(tmp_path, RANDOM.format(n=n)) for n in (4, 40))
    assert (
        few
        == many[:4]
        == [
            "wide-lr1.25e-4-flips_true-depths1x1-batch58",
            "wide-lr2.27e-4-flips_true-depths1x1-batch56",
            "wide-lr1.45e-3-flips_false-depths1x1-batch9",
            "wide-lr7.38e-4-flips_true-depths1x1-batch32",
        ]
    )
    rates = [variant.recipe.optimiser.learning_rate for variant in family_of(tmp_path, RANDOM.format(n=400))[1]]
    below = sum(rate < 1e-3 for rate in rates) / len(rates)
    assert (min(rates) >= 1e-4, max(rates) <= 1e-2) == (True, True)
    assert abs(below - 0.5) < 0.1, "half of the draws are below the geometric middle"


def test_a_variant_has_the_fingerprint_of_a_plain_recipe_file(tmp_path):
    _, variants = family_of(tmp_path, GRID + "  n_at_once: 7\n")
    variant = variants[1]
    path = UPath(tmp_path / f"{variant.name}.yaml")
    path.write_text(
        BASE.removesuffix("search:\n") + "optimiser: {learning_rate: 3.0e-3}\nloss: {arcface_weight: 0.5}\n"
    )
    assert recipe_fingerprint(load_recipe(path)) == recipe_fingerprint(variant.recipe)
    more = GRID.replace("[3.0e-3, 1.0e-2]", "[3.0e-3, 1.0e-2, 2.0e-2]")
    same = [one for one in family_of(tmp_path, more)[1] if one.name == variant.name]
    assert [one.recipe for one in same] == [variant.recipe], "another value changes nothing about this one"


def test_numbers_without_a_dot_are_numbers(tmp_path):
    """YAML reads 1e-3 as text."""
    search = "  method: grid\n  parameters:\n    optimiser.learning_rate: [1e-3, 3.25E-3, 1.0e-12, 20000.0]\n"
    assert names_of(tmp_path, search) == ["wide-lr1e-3", "wide-lr3.25e-3", "wide-lr1e-12", "wide-lr2e4"]


def test_long_names_and_names_that_lose_something_end_with_a_hash(tmp_path):
    (first, second) = names_of(tmp_path, "  method: grid\n  parameters:\n    start_from: [a b.v1, a/b.v1]\n")
    assert first != second
    assert first.startswith("wide-start_from_a_b_v1-")
    keys = ("weight_decay", "learning_rate", "warmup_frac", "ema_decay", "max_gradient_norm")
    values = "".join(f"    optimiser.{key}: [0.12345678901]\n" for key in keys)
    (name,) = names_of(tmp_path, f"  method: grid\n  parameters:\n{values}")
    assert (len(name), name[:30]) == (99, "wide-wd0.12345678901-lr0.12345")


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("  method: grid\n", r"search: not a valid GridSearch: parameters: this key is missing"),
        ("  method: gird\n", r"search: .*method: .*found 'gird' \(line 7\)"),
        (GRID + "  n_variants: 3\n", r"search: .*n_variants: unknown key.* \(line 15\)"),
        (
            "  method: grid\n  parameters:\n    optimiser.learning_rat: [1]\n",
            r"optimiser\.learning_rat: unknown key .did you mean learning_rate.* \(line 9\)",
        ),
        (
            "  method: grid\n  parameters:\n    seed: [1]\n    optimiser.learning_rate: [0.1, -1]\n",
            r"variant wide-seed1-lr-1: .*optimiser\.learning_rate: .*found -1 \(line 10\)",
        ),
        (
            "  method: grid\n  parameters:\n    seed: [1]\n    validate_every_n_epochs: [3]\n    n_epochs: [4]\n",
            r"variant wide-.*: n_epochs 4 is not a multiple of validate_every_n_epochs 3.* \(line 11\)",
        ),
        (
            "  method: grid\n  parameters:\n    optimiser.learning_rate: {low: 0.1, high: 1}\n",
            r"search\.parameters\.optimiser\.learning_rate: a grid needs a list of values.*\(line 9\)",
        ),
        ("  method: grid\n  parameters:\n    seed: 3\n", r"parameters\.seed: expected a list of values.*\(line 9\)"),
        ("  method: grid\n  parameters:\n    seed: {low: 3, high: 1}\n", r"low 3 is not below high 1 \(line 9\)"),
        ("  method: grid\n  parameters:\n    seed: [1, 1]\n", r"search\.parameters\.seed: 1 is listed twice"),
        ("  method: grid\n  parameters:\n    name: [a]\n", r"cannot vary 'name' \(line 9\)"),
        (
            "  method: grid\n  parameters:\n    backbone: [{family: resnet}]\n",
            r"parameters\.backbone: a value that is a mapping needs a name",
        ),
        (
            "  method: grid\n  parameters:\n    backbone: {named: {a: {family: resnet}}}\n    backbone.depths: [[1]]\n",
            r"backbone replaces the whole section, which contains backbone\.depths.*\(line 10\)",
        ),
        (
            "  method: random\n  n_variants: 3\n  parameters: {seed: [1, 2]}\n",
            r"search\.n_variants: found 3, and the parameters have only 2 combinations \(line 8\)",
        ),
        (
            "  method: list\n  variants:\n    a: {seed: 0}\n    b: {}\n",
            r"search\.variants\.b: the variants wide-a and wide-b are the same recipe.*\(line 10\)",
        ),
        (
            "  method: grid\n  parameters: {n_epochs: [8, 16]}\n  stop_poor: {rule: median}\n",
            r"search\.parameters\.n_epochs: stop_poor compares variants at the same epoch",
        ),
        (
            "  method: grid\n  parameters: {seed: [1]}\n  stop_poor: {rule: median, after_epochs: 8}\n",
            r"search\.stop_poor\.after_epochs: after_epochs 8 is never reached before the last of 8 epochs.*\(line 9\)",
        ),
        (
            "  method: grid\n  parameters: {seed: [1]}\n  stop_poor: {rule: patient}\n",
            r"search: .*stop_poor: .*'patient'.*\(line 9\)",
        ),
        (
            (
                "  method: bayesian\n  n_variants: 4\n  parameters:\n    batch_size: [16, 0]\n"
                "    seed: {low: 0, high: 9}\n"
            ),
            r"variant wide-batch0-seed0: .*batch_size: .*found 0 \(line 10\)",
        ),
    ],
)
def test_what_is_wrong_in_a_search_is_named_with_key_and_line(tmp_path, search, told):
    with pytest.raises(ConfigError, match=rf"(?s)wide\.yaml: .*{told}|wide\.yaml: {told}"):
        family_of(tmp_path, search)


def test_a_classical_encoder_has_nothing_to_compare(tmp_path):
    path = UPath(tmp_path / "plain.yaml")
    search = "search: {method: grid, parameters: {parameters.n_channels: [3, 6]}, stop_poor: {rule: median}}\n"
    path.write_text(f"kind: classical\n{search}")
    with pytest.raises(ConfigError, match="classical encoder is not trained"):
        checked_family(path)
    path.write_text(f"kind: classical\n{search.replace(', stop_poor: {rule: median}', '')}")
    assert [one.recipe.parameters.n_channels for one in checked_family(path)[1]] == [3, 6]


def test_a_bayesian_search_finds_a_planted_optimum_better_than_chance_and_proposes_nothing_twice(tmp_path):
    family, listed = family_of(
        tmp_path,
        "  method: bayesian\n  n_variants: 40\n  n_random: 8\n  parameters:\n"
        "    optimiser.learning_rate: {low: 1.0e-5, high: 1.0e-1, scale: log}\n    batch_size: [16, 31, 32]\n",
    )
    assert listed == ()
    tried: list[Tried] = []
    while len(tried) < 40:
        new = propose(family.search, tried, 4, lambda values: values["batch_size"] != 31)
        tried += [
            Tried(values, "trained", {8: -abs(math.log10(values["optimiser.learning_rate"]) + 3)}) for values in new
        ]
    assert len({str(one.values) for one in tried}) == 40
    assert {one.values["batch_size"] for one in tried} == {16, 32}, "values that are refused are not proposed"
    close = [abs(math.log10(one.values["optimiser.learning_rate"]) + 3) < 0.5 for one in tried[-20:]]
    assert sum(close) >= 10, "by chance it would be 5 of 20: one of four decades"
