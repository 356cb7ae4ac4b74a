import numpy as np
import polars as pl
import pytest

from cellassets.errors import RecipeError
from cellassets.training.recipe import ClassParameters, NetworkRecipe, SelfDistillation
from cellassets.training.sites import split_sites, training_and_held_out, usable_sites

RECIPE = NetworkRecipe(name="r", train_experiments=("E-1",), validation_experiments=("E-2",), normalisation="site")
WELL_KINDS = {"A01": ("g1", "gene", None), "A02": ("g2", "gene", None), "A03": ("c1", "compound", None)}
WELL_KINDS |= {"B01": ("EMPTY", "control", "negative"), "B02": ("pos", "control", "positive")}
WELL_KINDS |= {"B03": ("none", "control", "untreated")}


def tables(experiment_id: str = "E-1", n_channels: int = 2) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    wells = pl.DataFrame(
        [(experiment_id, "Plate1", well, *kinds) for well, kinds in WELL_KINDS.items()],
        schema=["experiment_id", "plate_id", "well_id", "perturbation_id", "perturbation_kind", "control_kind"],
        orient="row",
    )
    keys = [(experiment_id, "Plate1", well, site) for well in WELL_KINDS for site in (1, 2)]
    sites = pl.DataFrame(keys, schema=["experiment_id", "plate_id", "well_id", "site_index"], orient="row")
    ones = pl.Series(np.ones((len(sites), n_channels), dtype=np.float32), dtype=pl.Array(pl.Float32, n_channels))
    quality = sites.with_columns(is_flagged=(pl.col("well_id") == "A01") & (pl.col("site_index") == 1))
    return sites.with_columns(channel_mean=ones, channel_std=ones), wells, quality


def test_flagged_sites_are_left_out_and_rows_still_point_into_the_store():
    sites, wells, quality = tables()
    found = usable_sites(sites, wells, quality, RECIPE)
    assert found["store_row"].to_list() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    everything = usable_sites(sites, wells, None, RECIPE)
    assert everything["store_row"].to_list() == list(range(10))


def test_classes_are_the_kinds_that_the_recipe_names():
    sites, wells, _ = tables()

    def classes(**options):
        recipe = RECIPE.model_copy(update={"classes": ClassParameters(**options)})
        return set(usable_sites(sites, wells, None, recipe)["perturbation_id"])

    assert classes() == {"g1", "g2", "c1", "EMPTY", "pos"}
    assert classes(perturbation_kinds=("gene",), control_kinds=()) == {"g1", "g2"}
    assert classes(control_kinds=("untreated",)) == {"g1", "g2", "c1", "none"}


def test_too_many_flagged_sites_stop_the_recipe_by_the_experiments_name():
    sites, wells, quality = tables()
    with pytest.raises(RecipeError, match=r"E-1: 100% of 12 sites are flagged.*r allows 50%"):
        usable_sites(sites, wells, quality.with_columns(is_flagged=pl.lit(value=True)), RECIPE)


def test_a_site_without_well_or_quality_is_named():
    sites, wells, quality = tables()
    with pytest.raises(RecipeError, match=r"2 sites without exactly one WELLS row .*well_id A02"):
        usable_sites(sites, wells.filter(pl.col("well_id") != "A02"), quality, RECIPE)
    with pytest.raises(RecipeError, match=r"1 sites without exactly one QUALITY row .*well_id B03, site_index 2"):
        usable_sites(sites, wells, quality.head(len(quality) - 1), RECIPE)
    with pytest.raises(RecipeError, match="without exactly one WELLS row"):
        usable_sites(sites, pl.concat([wells, wells.head(1)]), quality, RECIPE)


def test_labels_are_shared_between_training_and_held_out_experiments():
    train = usable_sites(*tables("E-1"), RECIPE)
    held_out = usable_sites(*tables("E-2"), RECIPE)
    split = split_sites(*training_and_held_out([train, held_out], RECIPE), ClassParameters())
    assert split.class_names == ("EMPTY", "c1", "g1", "g2", "pos")
    assert [split.class_names[label] for label in split.train.labels[:3]] == ["g1", "g2", "g2"]
    np.testing.assert_array_equal(split.train.labels, split.validation.labels)
    assert (set(split.train.store_index), set(split.validation.store_index)) == ({0}, {1})


def test_perturbations_of_one_side_only_are_an_error_unless_the_recipe_permits_them():
    train, held_out = usable_sites(*tables("E-1"), RECIPE), usable_sites(*tables("E-2"), RECIPE)
    train = train.filter(pl.col("perturbation_id") != "c1")
    held_out = held_out.filter(pl.col("perturbation_id") != "g2")
    with pytest.raises(RecipeError, match=r"1 perturbations are only in training experiments \(g2\), 1 only .* \(c1\)"):
        split_sites(*training_and_held_out([train, held_out], RECIPE), ClassParameters())
    split = split_sites(*training_and_held_out([train, held_out], RECIPE), ClassParameters(has_unmatched_classes=True))
    assert split.class_names == ("EMPTY", "g1", "g2", "pos")
    assert split.summary["n_classes_not_held_out"] == split.summary["n_held_out_classes_unknown"] == 1
    assert set(split.validation.labels) == {0, 1, 3}


def test_a_single_class_cannot_be_trained_on():
    train = usable_sites(*tables("E-1"), RECIPE).filter(pl.col("perturbation_id") == "g1")
    with pytest.raises(RecipeError, match="1 classes with"):
        split_sites(*training_and_held_out([train, train], RECIPE), ClassParameters())


def test_without_labels_every_usable_site_is_trained_on_and_only_classes_are_held_out():
    recipe = RECIPE.model_copy(update={"objective": SelfDistillation()})
    train, held_out = usable_sites(*tables("E-1"), recipe), usable_sites(*tables("E-2"), recipe)
    split = split_sites(*training_and_held_out([train, held_out], recipe), ClassParameters())
    assert split.class_names == ("EMPTY", "c1", "g1", "g2", "pos")
    assert split.other_names == ("none",), "untreated wells are not a class here"
    assert (split.train.n_sites, split.validation.n_sites) == (11, 9)
    assert split.train.labels.tolist()[-2:] == [-1, -1]
    assert split.summary["n_train_sites_without_class"] == 2
    assert (split.validation.labels >= 0).all()
    nobody = tables("E-1")[1].with_columns(perturbation_id=pl.col("perturbation_id").replace({"none": None}))
    empty = usable_sites(tables("E-1")[0], nobody, None, recipe)
    assert split_sites(*training_and_held_out([empty, held_out], recipe), ClassParameters()).other_names == ()


def test_some_sites_are_a_part_of_all():
    train, held_out = usable_sites(*tables("E-1"), RECIPE), usable_sites(*tables("E-2"), RECIPE)
    sites = split_sites(*training_and_held_out([train, held_out], RECIPE), ClassParameters()).train
    rows = np.array([4, 1])
    some = sites.subset(rows)
    assert some.n_sites == 2
    for name in ("store_row", "labels", "scale"):
        np.testing.assert_array_equal(getattr(some, name), getattr(sites, name)[rows])


def test_only_the_sites_and_the_controls_that_the_recipe_names_are_trained_on():
    values = {"train_experiments": ["E-1"], "validation_experiments": ["E-2"], "control_experiments": ["E-2", "E-3"]}
    recipe = NetworkRecipe.model_validate({"name": "r", **values, "train_site_indices": [2]})
    found = [usable_sites(*tables(name), recipe) for name in ("E-1", "E-2", "E-3")]
    train, held_out = training_and_held_out(found, recipe)
    split = split_sites(train, held_out, ClassParameters(has_unmatched_classes=True))
    names = [split.class_names[label] for label in split.train.labels]
    expected = [(0, name) for name in ("g1", "g2", "c1", "EMPTY", "pos")]
    expected += [(number, name) for number in (1, 2) for name in ("EMPTY", "pos")]
    assert list(zip(split.train.store_index.tolist(), names, strict=True)) == expected
    assert {split.class_names[label] for label in split.validation.labels} == {"g1", "g2", "c1"}
    assert set(split.validation.store_index.tolist()) == {1}
    with pytest.raises(RecipeError, match=r"train_site_indices 3: E-1 has the sites 1, 2"):
        training_and_held_out(found, recipe.model_copy(update={"train_site_indices": (3,)}))


def test_chosen_channels_keep_their_own_scales():
    sites, wells, _ = tables(n_channels=3)
    levels = pl.Series(np.tile(np.float32([2, 4, 8]), (len(sites), 1)), dtype=pl.Array(pl.Float32, 3))
    sites = sites.with_columns(channel_mean=levels, channel_std=levels)
    found = usable_sites(sites, wells, None, RECIPE, channels=(2, 0))
    np.testing.assert_allclose(found["scale"].to_numpy()[0], [1 / 8, 1 / 2])
