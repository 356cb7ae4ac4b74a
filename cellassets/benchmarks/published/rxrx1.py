"""Accuracy of a trained classifier on held-out experiments, by the protocols that were published for RxRx1.

- `sites`: the class of every site, controls included, among all classes. Published by WILDS (Koh et al. 2021).
- `wells`: the treatment of every treated well among all treatments, from the mean score of its sites. Published by the
  RxRx1 competition (2019).
- `wells_of_group`: the same among the treatments that are on plates together; which of these groups a plate holds is
  predicted first, from all of its wells. Used by the winners of the competition.
- `wells_one_to_one`: the same, each treatment in one well of a plate at most. Used by the winners too.

Scores come from `cellassets.training.classifier`; nothing here needs torch. The last two protocols use how the plates
were designed. They show what is known about a plate as a whole, and are no better generalisation to new experiments.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments, require_finite
from cellassets.statistics.one_to_one import one_to_one

PLACE = ["experiment_id", "plate_id", "well_id", "site_index"]
NO_GROUP = -1
PREDICTIONS = {
    "protocol": pl.String, "experiment_id": pl.String, "plate_id": pl.String, "well_id": pl.String,
    "site_index": pl.Int32, "cell_type": pl.String, "perturbation_id": pl.String, "predicted_id": pl.String,
    "n_candidates": pl.Int32, "seen": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class ScoredSites:
    """Sites of one experiment with the scores of all classes.

    Attributes:
        sites: one row per site: experiment_id, plate_id, well_id, site_index, cell_type, perturbation_id, control_kind.
        scores: the larger, the better the class fits the site.
        class_names: perturbations that are classes.
    """

    sites: pl.DataFrame
    scores: Float[np.ndarray, "site class"]
    class_names: tuple[str, ...]

    def known(self) -> "ScoredSites":
        """Returns the sites whose perturbation is a class; no other site can be predicted correctly."""
        is_known = self.sites["perturbation_id"].is_in(self.class_names)
        return ScoredSites(self.sites.filter(is_known), self.scores[is_known.to_numpy()], self.class_names)


def treatment_groups(wells: pl.DataFrame, class_names: tuple[str, ...]) -> Int[np.ndarray, "class"]:
    """Returns the group of each class, from 0: treatments that share a plate, directly or through others.

    In RxRx1 the 1,108 siRNAs form four groups of 277 that are always on one plate together. Classes that no treated
    well holds, such as controls, have -1.

    Args:
        wells: WELLS rows of the training experiments.
        class_names: perturbations that are classes.

    Raises:
        BenchmarkError: no treated well of these experiments holds a class.
    """
    treated = wells.filter(pl.col("control_kind").is_null() & pl.col("perturbation_id").is_in(class_names))
    if treated.is_empty():
        message = f"treatment_groups: none of {wells.height} wells is a treatment among the {len(class_names)} classes"
        raise BenchmarkError(message)
    of_class = _numbers(treated["perturbation_id"], class_names)
    plate = treated.select(pl.struct("experiment_id", "plate_id").rank("dense")).to_series().to_numpy() - 1
    n_classes, n_plates = len(class_names), int(plate.max()) + 1
    links = coo_array((np.ones(len(plate)), (of_class, n_classes + plate)), shape=[n_classes + n_plates] * 2)
    component = connected_components(links, directed=False)[1][:n_classes]
    groups = np.full(n_classes, NO_GROUP)
    used = np.unique(of_class)
    groups[used] = np.unique(component[used], return_inverse=True)[1]
    return groups


def predictions(scored: ScoredSites, groups: Int[np.ndarray, "class"], *, seen: str = "no") -> pl.DataFrame:
    """Returns what is predicted for the sites and the treated wells of one experiment, by every protocol.

    Sites and wells whose perturbation is not a class are left out. A well that has no class by `wells_one_to_one`,
    because there are more wells than classes, has a null `predicted_id`.

    Args:
        scored: sites of one experiment.
        groups: `treatment_groups` of the training experiments.
        seen: what the network saw of the experiment, in a word.

    Returns:
        One row per protocol and site or well, with the columns of `PREDICTIONS`; `site_index` is null for wells.
        `n_candidates` is the number of classes that somebody has to choose from who sees no image: all, or treatments.

    Raises:
        BenchmarkError: there are several experiments or no known site, or a score is not finite.
    """
    experiments = scored.sites["experiment_id"].unique().to_list()
    known = scored.known()
    if len(experiments) != 1 or known.sites.is_empty():
        message = (
            f"predictions: {known.sites.height} of {scored.sites.height} sites are of known classes, in experiments "
            f"{sorted(experiments)}; expected sites of known classes in one experiment"
        )
        raise BenchmarkError(message)
    require_finite("predictions", known.scores, kind="site", error=BenchmarkError)
    best = known.scores.argmax(axis=1)
    tables = [_rows("sites", known.sites, known.class_names, best, np.full(len(best), len(known.class_names)))]
    wells, scores, plate = _treated_wells(known)
    if wells.height:
        tables += _of_wells(wells, scores, plate, (known.class_names, groups))
    return pl.concat(tables).with_columns(seen=pl.lit(seen))


def accuracies(predicted: pl.DataFrame) -> pl.DataFrame:
    """Returns the accuracy by every protocol: of all rows, of each cell type and of each experiment.

    Args:
        predicted: `predictions` of any experiments.

    Returns:
        protocol, part (`all`, a cell type or an experiment), accuracy, chance (mean of 1 / n_candidates, what guessing
        gives), n, the number of sites or wells, and seen, the values of its experiments.
    """
    is_right = (pl.col("predicted_id") == pl.col("perturbation_id")).fill_null(value=False)
    measured = (
        is_right.mean().alias("accuracy"),
        (1 / pl.col("n_candidates")).mean().alias("chance"),
        pl.len().cast(pl.Int64).alias("n"),
        pl.col("seen").unique().sort().str.join(", "),
    )
    parts = (pl.lit("all"), pl.col("cell_type"), pl.col("experiment_id"))
    found = [
        predicted.with_columns(part=part).group_by("protocol", "part", maintain_order=True).agg(*measured).sort("part")
        for part in parts
    ]
    return pl.concat(found).unique(["protocol", "part"], keep="first", maintain_order=True)


@finite_arguments(BenchmarkError)
def groups_on_plates(
    scores: Float[np.ndarray, "well class"], plate: Int[np.ndarray, "well"], groups: Int[np.ndarray, "class"]
) -> Int[np.ndarray, "plate"]:
    """Returns the group of treatments that each plate of an experiment holds, as predicted from all of its wells.

    For each plate and group, the wells whose best class is in the group are counted, divided by the group's count on
    all plates. Every plate has a group of its own, so that the sum is as large as possible. If there are more plates
    than groups, each plate has the group with its largest share.

    Args:
        scores: of the treated wells of one experiment.
        plate: number of each well's plate, from 0.
        groups: group of each class; -1: not a treatment.

    Source: the winning entry of the RxRx1 competition (2019), which tried all permutations of groups.
    """
    of_best = np.where(groups == NO_GROUP, -np.inf, scores).argmax(axis=1)
    counts = np.zeros((int(plate.max()) + 1, int(groups.max()) + 1))
    np.add.at(counts, (plate, groups[of_best]), 1)
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    return shares.argmax(axis=1) if len(counts) > counts.shape[1] else one_to_one(shares)


def _treated_wells(
    known: ScoredSites,
) -> tuple[pl.DataFrame, Float[np.ndarray, "well class"], Int[np.ndarray, "well"]]:
    """The treated wells in their order, the mean score of their sites, and the number of their plate."""
    is_treated = known.sites["control_kind"].is_null()
    sites, scores = known.sites.filter(is_treated), known.scores[is_treated.to_numpy()]
    key = PLACE[:3]
    wells = sites.drop("site_index").unique(key, keep="first").sort(key).with_row_index("number")
    number = sites.join(wells.select(*key, "number"), on=key, how="left", maintain_order="left")["number"].to_numpy()
    sums = np.zeros((wells.height, scores.shape[1]))
    np.add.at(sums, number, scores)
    means = sums / np.bincount(number, minlength=wells.height)[:, None]
    plate = wells["plate_id"].rank("dense").to_numpy().astype(np.int64) - 1
    return wells.drop("number"), means, plate


def _of_wells(
    wells: pl.DataFrame,
    scores: Float[np.ndarray, "well class"],
    plate: Int[np.ndarray, "well"],
    classes: tuple[tuple[str, ...], Int[np.ndarray, "class"]],
) -> list[pl.DataFrame]:
    """The predictions of treated wells by the three protocols of wells."""
    names, groups = classes
    treatments = np.flatnonzero(groups != NO_GROUP)
    plain = treatments[scores[:, treatments].argmax(axis=1)]
    n_candidates = np.full(len(scores), len(treatments))
    tables = [_rows("wells", wells, names, plain, n_candidates)]
    of_plate = groups_on_plates(scores, plate, groups)
    in_group, unique = np.empty_like(plain), np.empty_like(plain)
    for number, group in enumerate(of_plate):
        here, allowed = np.flatnonzero(plate == number), np.flatnonzero(groups == group)
        some = scores[np.ix_(here, allowed)]
        in_group[here] = allowed[some.argmax(axis=1)]
        chosen = one_to_one(some)
        unique[here] = np.where(chosen < 0, chosen, allowed[chosen])
    for protocol, found in (("wells_of_group", in_group), ("wells_one_to_one", unique)):
        tables.append(_rows(protocol, wells, names, found, n_candidates))
    return tables


def _rows(
    protocol: str,
    places: pl.DataFrame,
    names: tuple[str, ...],
    predicted: Int[np.ndarray, "row"],
    n_candidates: Int[np.ndarray, "row"],
) -> pl.DataFrame:
    site = pl.col("site_index") if "site_index" in places.columns else pl.lit(None)
    found = [names[number] if number >= 0 else None for number in predicted.tolist()]
    return places.select(
        pl.lit(protocol).alias("protocol"),
        *PLACE[:3],
        site.cast(pl.Int32).alias("site_index"),
        "cell_type",
        "perturbation_id",
        pl.Series("predicted_id", found, dtype=pl.String),
        pl.Series("n_candidates", n_candidates, dtype=pl.Int32),
    )


def _numbers(names: pl.Series, class_names: tuple[str, ...]) -> Int[np.ndarray, "row"]:
    numbers = list(range(len(class_names)))
    return names.replace_strict(list(class_names), numbers, return_dtype=pl.Int64).to_numpy()
