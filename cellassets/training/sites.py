"""The sites that a recipe trains on, the held-out sites, and their labels.

Input: SITES, WELLS and QUALITY tables. Output: arrays with one entry per site. No image is read here, and nothing is
random. A training without labels also takes sites that belong to no class.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.errors import RecipeError
from cellassets.training.normalisation import MIN_STD_8_BIT, channel_statistics, scale_and_shift
from cellassets.training.recipe import Classification, ClassParameters, NetworkRecipe, recipe_experiments

SITE_KEY = ["experiment_id", "plate_id", "well_id", "site_index"]
NO_CLASS = -1
N_NAMED = 5


@dataclass(frozen=True)
class LabelledSites:
    """Training sites or held-out sites, with one entry per site in every array.

    Attributes:
        store_index: index of the store that holds the site.
        store_row: index of the site in that store.
        labels: class of the site; `NO_CLASS` where it has none, which only trainings without labels take.
        scale, shift: scale * image + shift normalises each channel.
    """

    store_index: Int[np.ndarray, "site"]
    store_row: Int[np.ndarray, "site"]
    labels: Int[np.ndarray, "site"]
    scale: Float[np.ndarray, "site channel"]
    shift: Float[np.ndarray, "site channel"]

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.labels)

    def subset(self, rows: Int[np.ndarray, "chosen"]) -> "LabelledSites":
        """Returns some of the sites, in the order of `rows`."""
        arrays = (self.store_index, self.store_row, self.labels, self.scale, self.shift)
        return LabelledSites(*(array[rows] for array in arrays))


@dataclass(frozen=True)
class Split:
    """Training sites and held-out sites with the same classes.

    `other_names` are perturbations whose sites are trained on without being a class.
    """

    train: LabelledSites
    validation: LabelledSites
    class_names: tuple[str, ...]
    summary: dict[str, int]
    other_names: tuple[str, ...] = ()


def usable_sites(
    sites: pl.DataFrame,
    wells: pl.DataFrame,
    quality: pl.DataFrame | None,
    recipe: NetworkRecipe,
    *,
    least_std: float = MIN_STD_8_BIT,
    channels: tuple[int, ...] | None = None,
) -> pl.DataFrame:
    """Returns the sites of an experiment that a recipe may use: `store_row`, `perturbation_id`, `scale` and `shift`.

    `is_class` says which of them belong to a class. Without labels, all usable sites are there; otherwise only those.

    The statistics of a plate include its flagged sites, because they are included when sites are embedded later.

    Args:
        sites: SITES rows of one experiment, in the order of the store.
        wells: its WELLS.
        quality: its QUALITY, or None if flagged sites are used too.
        recipe: says which wells are classes and how many sites may be flagged.
        least_std: the smallest standard deviation that channels are divided by (`normalisation.min_std`).
        channels: numbers of the channels that the network takes, from 0; None for all.

    Raises:
        RecipeError: a site has no well or no quality row, or more sites are flagged than the recipe allows.
    """
    mean, std = channel_statistics(sites, recipe.normalisation)
    if channels is not None:
        mean, std = mean[:, channels], std[:, channels]
    scale, shift = scale_and_shift(mean, std, least=least_std)
    table = sites.select(SITE_KEY).with_row_index("store_row").with_columns(scale=_array(scale), shift=_array(shift))
    kinds = ["perturbation_id", "perturbation_kind", "control_kind"]
    table = _joined(table, wells.select(*SITE_KEY[:3], *kinds), SITE_KEY[:3], "WELLS")
    if quality is not None:
        table = _joined(table, quality.select(*SITE_KEY, "is_flagged"), SITE_KEY, "QUALITY")
        table = _without_flagged(table, recipe)
    table = table.with_columns(is_class=_is_class(recipe.classes).fill_null(value=False))
    return table.filter("is_class") if isinstance(recipe.objective, Classification) else table


def training_and_held_out(
    tables: list[pl.DataFrame], recipe: NetworkRecipe
) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
    """Returns the sites to train on and the held-out sites, one table per experiment, with a column `store_index`.

    Args:
        tables: of `usable_sites`, in the order of `recipe_experiments(recipe)`, which is that of the stores.
        recipe: says which experiments, sites and controls are trained on.

    Raises:
        RecipeError: a training experiment has none of the sites that are trained on.
    """
    numbered = [table.with_columns(store_index=pl.lit(number)) for number, table in enumerate(tables)]
    of = dict(zip(recipe_experiments(recipe), numbered, strict=True))
    is_control, with_controls = pl.col("control_kind").is_not_null(), set(recipe.control_experiments)
    train = [of[name] for name in recipe.train_experiments]
    train += [of[name].filter(is_control) for name in recipe.control_experiments]
    if recipe.train_site_indices is not None:
        train = [_of_sites(table, recipe.train_site_indices) for table in train]
    held_out = [
        of[name].filter(~is_control) if name in with_controls else of[name] for name in recipe.validation_experiments
    ]
    return train, held_out


def split_sites(train: list[pl.DataFrame], validation: list[pl.DataFrame], classes: ClassParameters) -> Split:
    """Returns training and held-out sites. The classes are the perturbations of the training experiments.

    Sites without a class are trained on if they are in the tables, and never held out.

    Args:
        train: tables of `training_and_held_out`, one per experiment.
        validation: those of the held-out experiments.
        classes: decides whether perturbations that only one of the two has are an error.

    Raises:
        RecipeError: there are fewer than two classes, no held-out site of any class, or unmatched perturbations.
    """
    trained, held_out = pl.concat(train), pl.concat(validation)
    held_out, is_class = held_out.filter("is_class"), pl.col("is_class")
    names = sorted(trained.filter(is_class)["perturbation_id"].unique())
    others = sorted(trained.filter(~is_class)["perturbation_id"].drop_nulls().unique())
    seen = set(held_out["perturbation_id"].unique())
    untested, unknown = sorted(set(names) - seen), sorted(seen - set(names))
    if (untested or unknown) and not classes.has_unmatched_classes:
        message = (
            f"{len(untested)} perturbations are only in training experiments ({_some(untested)}), {len(unknown)} only "
            f"in held-out ones ({_some(unknown)}): choose experiments with the same perturbations, or set "
            "classes.has_unmatched_classes"
        )
        raise RecipeError(message)
    held_out = held_out.filter(pl.col("perturbation_id").is_in(names))
    if len(names) < 2 or held_out.is_empty():
        message = (
            f"{len(names)} classes with {len(held_out)} held-out sites: expected at least 2 classes and 1 held-out site"
        )
        raise RecipeError(message)
    summary = {
        "n_classes": len(names),
        "n_train_sites": len(trained),
        "n_validation_sites": len(held_out),
        "n_classes_not_held_out": len(untested),
        "n_held_out_classes_unknown": len(unknown),
    }
    n_without_class = len(trained) - int(trained["is_class"].sum())
    if n_without_class:
        summary["n_train_sites_without_class"] = n_without_class
    return Split(_labelled(trained, names), _labelled(held_out, names), tuple(names), summary, tuple(others))


def _is_class(classes: ClassParameters) -> pl.Expr:
    is_treatment = pl.col("control_kind").is_null() & pl.col("perturbation_kind").is_in(classes.perturbation_kinds)
    return is_treatment | pl.col("control_kind").is_in(classes.control_kinds).fill_null(value=False)


def _joined(table: pl.DataFrame, other: pl.DataFrame, key: list[str], what: str) -> pl.DataFrame:
    joined = table.join(other.with_columns(_is_there=pl.lit(value=True)), on=key, how="left", maintain_order="left")
    lost = joined.filter(pl.col("_is_there").is_null())
    if not lost.is_empty() or len(joined) != len(table):
        place = lost.row(0, named=True) if not lost.is_empty() else {}
        names = ", ".join(f"{name} {place.get(name)}" for name in key)
        message = f"{len(lost)} sites without exactly one {what} row (first: {names}): materialise that table again"
        raise RecipeError(message)
    return joined.drop("_is_there")


def _without_flagged(table: pl.DataFrame, recipe: NetworkRecipe) -> pl.DataFrame:
    flagged_frac = float(np.mean(table["is_flagged"].to_numpy()))
    if flagged_frac > recipe.max_flagged_frac:
        message = (
            f"{table['experiment_id'][0]}: {flagged_frac:.0%} of {len(table)} sites are flagged by plate_quality, "
            f"{recipe.name} allows {recipe.max_flagged_frac:.0%} (max_flagged_frac): remove the experiment from the "
            "recipe, or raise that limit"
        )
        raise RecipeError(message)
    return table.filter(~pl.col("is_flagged")).drop("is_flagged")


def _of_sites(table: pl.DataFrame, site_indices: tuple[int, ...]) -> pl.DataFrame:
    found = table.filter(pl.col("site_index").is_in(site_indices))
    if found.is_empty() and not table.is_empty():
        there = ", ".join(map(str, sorted(table["site_index"].unique())))
        asked = ", ".join(map(str, site_indices))
        message = (
            f"train_site_indices {asked}: {table['experiment_id'][0]} has the sites {there}; expected some of these"
        )
        raise RecipeError(message)
    return found


def _labelled(table: pl.DataFrame, names: list[str]) -> LabelledSites:
    named = table.select(pl.when("is_class").then("perturbation_id")).to_series()
    labels = named.replace_strict(names, list(range(len(names))), default=NO_CLASS, return_dtype=pl.Int64)
    return LabelledSites(
        store_index=table["store_index"].to_numpy(),
        store_row=table["store_row"].to_numpy().astype(np.int64),
        labels=labels.to_numpy(),
        scale=table["scale"].to_numpy(),
        shift=table["shift"].to_numpy(),
    )


def _array(values: Float[np.ndarray, "site channel"]) -> pl.Series:
    return pl.Series(values.astype(np.float32), dtype=pl.Array(pl.Float32, values.shape[1]))


def _some(names: list[str]) -> str:
    return ", ".join(names[:N_NAMED]) + (", ..." if len(names) > N_NAMED else "") or "none"
