"""Which method distinguishes treatments best, on real images and on simulated ones: is the order the same?

A landing zone has exactly two experiments with the same treatments, such as two halves of one plate. Each method
describes the wells of each half; a network is trained on the other half, by the study's recipe with fewer steps.

| method | what it is |
| --- | --- |
| pixel_moments | mean and standard deviation of each channel |
| classical | all families of CellProfiler's features, with the study's parameters |
| random_network | the network of the study's recipe with random weights |
| cross_entropy | the same network, trained on the other half |

Features are standardised over the wells of a half, centred on its negative controls, and reduced to the principal
components that hold 95% of the variance; `--whiten` gives all of them the same variance. Cosines of these vectors give
two scores, and their lengths a third:

- `activity`: average precision of finding the other wells of a treatment among the negative controls.
- `replicates`: average precision of finding them among the wells of all treatments.
- `dose_order`: Spearman correlation of a compound's doses with the wells' distances from the controls.

    python bench/realism_ranking.py LANDING [LANDING ...] --source OWNER/NAME@COMMIT

Intervals are from bootstrapping the treatments, p-values from permuting the wells of a half. Prints the scores, and
keeps them in bench/results/realism.json.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from realism import STUDY, keep, opened_stores
from scipy.stats import rankdata
from upath import UPath

from cellassets.encoders.classical.encoder import ClassicalEncoder
from cellassets.encoders.embed import embed_store
from cellassets.encoders.network import open_network
from cellassets.images.reader import ExperimentStore
from cellassets.mapping.aggregate import group_mean
from cellassets.mapping.relate import unit_rows
from cellassets.statistics.average_precision import average_precisions, grouped_queries, ranks_of_others
from cellassets.statistics.correlation import centred_units
from cellassets.tables.parquet import read_table, vectors
from cellassets.tables.schemas import SITE_EMBEDDINGS
from cellassets.training.attempts import Attempt
from cellassets.training.backbone import build_network
from cellassets.training.checkpoint import save_model_folder
from cellassets.training.data import open_training_data
from cellassets.training.recipe import ClassicalParameters, FeatureFamily, NetworkRecipe, load_recipe
from cellassets.training.spec import NetworkSpec, Preprocessing
from cellassets.training.train import train_network

FAMILIES: tuple[FeatureFamily, ...] = ("intensity", "texture", "granularity", "sizeshape", "radial_distribution")
VARIANCE_FRAC = 0.95
N_DRAWS = 1000
WELL = ["experiment_id", "plate_id", "well_id"]
SCORES = ("activity", "replicates", "dose_order")
BASELINE = "classical"


@dataclass(frozen=True)
class Half:
    """The wells of one experiment: one row of `vectors` per row of `wells`."""

    wells: pl.DataFrame
    vectors: np.ndarray

    @property
    def is_negative(self) -> np.ndarray:
        """Which wells are negative controls."""
        return (self.wells["control_kind"] == "negative").fill_null(value=False).to_numpy()

    @property
    def is_treated(self) -> np.ndarray:
        """Which wells are treatments."""
        return self.wells["control_kind"].is_null().to_numpy()


def half_of(store: ExperimentStore, of_sites: np.ndarray, *, whiten: bool = False) -> Half:
    """Returns the wells of a store with the mean of their sites' vectors, prepared for comparison."""
    wells = store.wells.join(store.sites.select(WELL).unique(), on=WELL, how="semi").sort(WELL)
    group = store.sites.join(wells.with_row_index("group"), on=WELL, how="left", maintain_order="left")["group"]
    means = group_mean(of_sites.astype(np.float64), group.to_numpy().astype(np.int64), wells.height)
    unprepared = Half(wells, means)
    if unprepared.is_negative.sum() < 2 or unprepared.is_treated.sum() < 2:
        raise SystemExit(f"{store.experiment_id}: expected at least 2 negative controls and 2 treated wells")
    return Half(wells, prepared(means, unprepared.is_negative, whiten=whiten))


def prepared(values: np.ndarray, is_negative: np.ndarray, *, whiten: bool = False) -> np.ndarray:
    """Returns principal components of standardised features, centred on the negative controls.

    Args:
        values: one row per well.
        is_negative: which wells are negative controls.
        whiten: whether all components get the same variance.
    """
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0))[:, spread > 1e-9] / spread[spread > 1e-9]
    _, strength, axes = np.linalg.svd(scaled, full_matrices=False)
    held = np.cumsum(strength**2) / (strength**2).sum()
    n_components = int(np.searchsorted(held, VARIANCE_FRAC)) + 1
    components = scaled @ axes[:n_components].T
    if whiten:
        components /= strength[:n_components]
    return components - components[is_negative].mean(axis=0)


def retrieval(half: Half, *, among_controls: bool, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Returns the treatments of a half and their mean average precision: observed in the first row, then permuted.

    Args:
        half: prepared wells.
        among_controls: the other wells are the negative controls; otherwise those of the other treatments.
        rng: draws the permutations, of all wells that take part.
    """
    taking_part = np.flatnonzero(half.is_treated | (half.is_negative if among_controls else False))
    label = half.wells["perturbation_id"].to_numpy()[taking_part]
    is_control = half.is_negative[taking_part]
    asking = np.flatnonzero(~is_control)
    others = [
        np.flatnonzero(
            ((label == label[one]) | is_control if among_controls else ~is_control) & (np.arange(len(label)) != one)
        )
        for one in asking
    ]
    ranks = ranks_of_others(unit_rows(half.vectors[taking_part]))
    still = np.arange(len(label))
    placed = np.stack([still, *(rng.permutation(still) for _ in range(N_DRAWS))])
    found = np.full((len(placed), len(asking)), np.nan)
    for queries in grouped_queries(
        asking.tolist(), others, [label[some] == label[one] for one, some in zip(asking, others, strict=True)]
    ):
        found[:, queries.number] = average_precisions(queries, ranks, placed, are_others_negatives=False)
    names = sorted(set(label[asking].tolist()))
    return names, np.stack([np.nanmean(found[:, label[asking] == name], axis=1) for name in names], axis=1)


def dose_orders(half: Half, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Returns the compounds with 3 doses or more, and the correlation of dose and distance: observed, then permuted."""
    distance, wells, names, columns = np.linalg.norm(half.vectors, axis=1), half.wells, [], []
    for name in wells.filter(half.is_treated)["compound_id"].drop_nulls().unique().sort().to_list():
        rows = np.flatnonzero(half.is_treated & (wells["compound_id"] == name).fill_null(value=False).to_numpy())
        dose = wells["concentration_um"].to_numpy()[rows]
        if len(np.unique(dose)) < 3:
            continue
        ranks, others = (centred_units(rankdata(some)[None]) for some in (dose, distance[rows]))
        draws = np.stack([ranks[0], *(rng.permutation(ranks[0]) for _ in range(N_DRAWS))])
        names.append(name)
        columns.append(draws @ others[0])
    return names, np.array(columns).T if names else np.empty((N_DRAWS + 1, 0))


def scored(halves: list[Half]) -> dict[str, Any]:
    """Returns for each score the values of its units, averaged over the halves, and the p-value of their mean."""
    found: dict[str, Any] = {}
    for score in SCORES:
        rng = np.random.default_rng(0)
        parts = [
            dose_orders(half, rng)
            if score == "dose_order"
            else retrieval(half, among_controls=score == "activity", rng=rng)
            for half in halves
        ]
        names = [name for name in parts[0][0] if name in parts[1][0]]
        if not names:
            continue
        draws = np.mean([values[:, [own.index(name) for name in names]] for own, values in parts], axis=0)
        means = draws.mean(axis=1)
        p_value = (1 + (means[1:] >= means[0] - 1e-12).sum()) / len(means)
        found[score] = {
            "names": names,
            "units": draws[0],
            "by_chance": float(means[1:].mean()),
            "p_value": float(p_value),
        }
    return found


def interval(values: np.ndarray) -> list[float]:
    """Returns the 95% interval of a mean by bootstrapping its values."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (N_DRAWS, len(values)))].mean(axis=1)
    return [round(float(end), 4) for end in np.percentile(means, (2.5, 97.5))]


def table_of(methods: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the scores of all methods by score, best first, each with what it gains over the classical features."""
    table: dict[str, dict[str, Any]] = {}
    for score in SCORES:
        rows = {name: some[score] for name, some in methods.items() if score in some}
        for name in sorted(rows, key=lambda name: -rows[name]["units"].mean()):
            units = rows[name]["units"]
            gain = units - rows[BASELINE]["units"]
            table.setdefault(score, {})[name] = {
                "mean": round(float(units.mean()), 4),
                "by_chance": round(rows[name]["by_chance"], 4),
                "p_value": round(rows[name]["p_value"], 4),
                "gain": round(float(gain.mean()), 4),
                "n_units": len(units),
            }
            if score != "dose_order":  # two compounds are too few for an interval
                table[score][name] |= {"interval": interval(units), "gain_interval": interval(gain)}
    return table


def recipe_for(train: ExperimentStore, held_out: ExperimentStore, crop_px: int, n_epochs: int) -> NetworkRecipe:
    """Returns the study's recipe for one half, with another crop and number of epochs."""
    recipe = load_recipe(UPath(STUDY / "recipes" / "cross_entropy.yaml"))
    changes = {
        "train_experiments": [train.experiment_id],
        "validation_experiments": [held_out.experiment_id],
        "augmentation": recipe.model_dump()["augmentation"] | {"crop_px": crop_px},
        "n_epochs": n_epochs,
        "validate_every_n_epochs": n_epochs,
        "uses_flagged_sites": True,
    }
    return NetworkRecipe.model_validate(recipe.model_dump() | changes)


def embedded(store: ExperimentStore, encoder: Any, folder: Path) -> np.ndarray:
    """Returns one vector per site, as the platform embeds it."""
    names = embed_store(store, encoder, UPath(folder), model_key="model.v1").names
    return vectors(pl.concat([read_table(UPath(folder / name), SITE_EMBEDDINGS) for name in names]))


def by_moments(store: ExperimentStore, _other: ExperimentStore, _folder: Path) -> np.ndarray:
    """Returns mean and standard deviation of each channel."""
    return np.concatenate([vectors(store.sites, "channel_mean"), vectors(store.sites, "channel_std")], axis=1)


def by_classical(store: ExperimentStore, _other: ExperimentStore, folder: Path) -> np.ndarray:
    """Returns classical features of all families."""
    values = load_recipe(UPath(STUDY / "recipes" / "classical.yaml")).model_dump()["parameters"]
    values |= {"n_channels": store.n_channels, "families": FAMILIES}
    return embedded(store, ClassicalEncoder(ClassicalParameters.model_validate(values), n_processes=1), folder)


def by_random_network(store: ExperimentStore, other: ExperimentStore, folder: Path) -> np.ndarray:
    """Returns what the network of the recipe says with its first weights."""
    recipe = recipe_for(other, store, 64, 1)
    spec = NetworkSpec(
        n_channels=store.n_channels,
        channel_names=store.channel_names,
        embedding_dim=recipe.embedding_dim,
        backbone=recipe.backbone,
        trained_px=64,
        preprocessing=Preprocessing(normalisation=recipe.normalisation),
        recipe_name="random",
        recipe_fingerprint="none",
    )
    network = build_network(
        recipe.backbone,
        n_channels=store.n_channels,
        embedding_dim=recipe.embedding_dim,
        trained_px=64,
        seed=recipe.seed,
    )
    return embedded(store, open_network(save_model_folder(folder / "model", network, spec)), folder)


def by_training(crop_px: int, n_epochs: int) -> Callable[[ExperimentStore, ExperimentStore, Path], np.ndarray]:
    """Returns the method that trains on the other half."""

    def embed(store: ExperimentStore, other: ExperimentStore, folder: Path) -> np.ndarray:
        recipe = recipe_for(other, store, crop_px, n_epochs)
        data = open_training_data(recipe, [other, store], [None, None])
        attempt = Attempt.begin(UPath(folder / "states"))
        train_network(recipe, data, folder=folder, attempt=attempt)
        return embedded(store, open_network(folder / "model"), folder)

    return embed


def ranked(landing: Path, work: Path, *, crop_px: int, n_epochs: int, whiten: bool) -> dict[str, Any]:
    """Returns the scores of all methods on one landing zone."""
    stores = opened_stores(landing, work)
    if len(stores) != 2:
        raise SystemExit(f"{landing}: {len(stores)} experiments in it; expected two with the same treatments")
    methods = {
        "pixel_moments": by_moments,
        "classical": by_classical,
        "random_network": by_random_network,
        "cross_entropy": by_training(crop_px, n_epochs),
    }
    found = {}
    for name, method in methods.items():
        halves = []
        for store, other in (stores, stores[::-1]):
            folder = work / "methods" / landing.resolve().name / name / store.experiment_id
            folder.mkdir(parents=True, exist_ok=True)
            halves.append(half_of(store, method(store, other, folder), whiten=whiten))
        found[name] = scored(halves)
        print(
            landing.name,
            name,
            {score: round(float(some["units"].mean()), 3) for score, some in found[name].items()},
            flush=True,
        )
    return {
        "landing": landing.resolve().name,
        "n_wells": [store.sites.select(WELL).n_unique() for store in stores],
        "channels": list(stores[0].channel_names),
        "site_px": [stores[0].height, stores[0].width],
        "scores": table_of(found),
    }


def main() -> None:
    """Ranks the methods on every landing zone, and keeps the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("landings", type=Path, nargs="+", help="landing zones of two experiments each")
    parser.add_argument("--work", type=Path, help="folder for stores, models and vectors (default: a temporary one)")
    parser.add_argument("--crop", type=int, default=128, help="side of the crops in training, in pixels (default: 128)")
    parser.add_argument("--epochs", type=int, default=60, help="passes over the wells of a half (default: 60)")
    parser.add_argument("--whiten", action="store_true", help="give all principal components the same variance")
    parser.add_argument("--part", default="ranking", help="name in the result file (default: ranking)")
    parser.add_argument("--source", action="append", default=[], help="where the real images come from")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = chosen.work or Path(temporary)
        settings = {"crop_px": chosen.crop, "n_epochs": chosen.epochs, "whiten": chosen.whiten}
        rows = [ranked(landing, work, **settings) for landing in chosen.landings]
    keep(chosen.part, {"sources": chosen.source, **settings, "screens": rows})
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
