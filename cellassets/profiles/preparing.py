"""From the rows of a table to the vectors of a model: the declared steps, in order, after which no value is missing."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32

from cellassets.errors import ProfilesError
from cellassets.profiles.keys import place
from cellassets.profiles.profile_rows import ProfileRows
from cellassets.profiles.steps import Normalisation, Selection, Step

MIN_FITTED = 3  # two values always have equal absolute deviations from their median
N_NAMED = 5


@dataclass(frozen=True)
class Dropped:
    """What one step of feature selection dropped."""

    step: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """Vectors of wells or sites.

    Attributes:
        labels: experiment_id, plate_id, well_id and site_index of each vector.
        vectors: finite values.
        features: names of the features that are left, in the order of the table.
        dropped: what each step of feature selection dropped.
    """

    labels: pl.DataFrame
    vectors: Float32[np.ndarray, "row feature"]
    features: tuple[str, ...]
    dropped: tuple[Dropped, ...]


def prepare(rows: ProfileRows, steps: tuple[Step, ...]) -> Prepared:
    """Returns the vectors after all steps.

    Normalisation works on one plate at a time, selection on all rows of the table: a model has the same features in
    every experiment.

    Raises:
        ProfilesError: a plate has too few rows to fit on, no feature is left, a value that is left is not finite, or
            all rows have the same vector.
    """
    dropped = []
    for step in steps:
        if isinstance(step, Normalisation):
            rows = normalised(rows, step)
            continue
        is_dropped = _drops(rows, step)
        dropped.append(Dropped(step.kind, _names(rows, is_dropped)))
        rows = replace(rows, values=rows.values[:, ~is_dropped], features=_names(rows, ~is_dropped))
    vectors = _finite_vectors(rows)
    if len(vectors) > 1 and (vectors == vectors[0]).all():
        message = (
            f"all {len(vectors)} rows have the same vector of {len(rows.features)} features: nothing distinguishes "
            "their wells; check `features` and the steps"
        )
        raise ProfilesError(message)
    return Prepared(rows.labels, vectors, rows.features, tuple(dropped))


def normalised(rows: ProfileRows, step: Normalisation) -> ProfileRows:
    """Returns the rows with every plate scaled by itself.

    Raises:
        ProfilesError: a plate has fewer than three rows, or control rows, to fit on; or values are infinite.
    """
    is_fitted = rows.is_control if step.fit_on == "controls" else np.ones(len(rows.is_control), dtype=bool)
    plates = rows.labels.select(pl.struct("experiment_id", "plate_id").rank("dense")).to_series().to_numpy()
    _refuse_infinite(rows, step.kind)
    values = np.empty_like(rows.values)
    for plate in np.unique(plates):
        members = np.flatnonzero(plates == plate)
        fitted = members[is_fitted[members]]
        if len(fitted) < MIN_FITTED:
            first = rows.labels.row(int(members[0]), named=True)
            message = (
                f"{step.kind}: experiment {first['experiment_id']}, plate {first['plate_id']} has {len(fitted)} rows "
                f"({step.fit_on}) to fit on; expected at least {MIN_FITTED}. Check `controls`, or use fit_on: all"
            )
            raise ProfilesError(message)
        values[members] = step.fit_and_apply(rows.values[members], rows.values[fitted])
    return replace(rows, values=values)


def _drops(rows: ProfileRows, step: Selection) -> Bool[np.ndarray, "feature"]:
    if step.kind == "correlation_threshold":
        _refuse_infinite(rows, step.kind)
    is_dropped = step.drops(rows.values, rows.features)
    if is_dropped.all():
        message = (
            f"{step.kind} drops all {len(rows.features)} features that are left; expected some to remain. Loosen this "
            "step or the steps before it"
        )
        raise ProfilesError(message)
    return is_dropped


def _names(rows: ProfileRows, is_chosen: Bool[np.ndarray, "feature"]) -> tuple[str, ...]:
    return tuple(name for name, chosen in zip(rows.features, is_chosen, strict=True) if chosen)


def _refuse_infinite(rows: ProfileRows, kind: str) -> None:
    """Refuses what a step cannot compute with: `mad_robustize` with epsilon 0 makes infinite values."""
    if np.isinf(rows.values).any():
        raise ProfilesError(_not_finite(rows, np.isinf(rows.values), f"{kind}: infinite values before this step"))


def _finite_vectors(rows: ProfileRows) -> Float32[np.ndarray, "row feature"]:
    with np.errstate(over="ignore"):
        vectors = rows.values.astype(np.float32)
    is_bad = ~np.isfinite(vectors)
    if is_bad.any():
        raise ProfilesError(_not_finite(rows, is_bad, "values that are not finite are left after all steps"))
    return vectors


def _not_finite(rows: ProfileRows, is_bad: Bool[np.ndarray, "row feature"], what: str) -> str:
    row, column = np.argwhere(is_bad)[0]
    features = _names(rows, np.any(is_bad, axis=0))
    more = f" and {len(features) - N_NAMED} more" if len(features) > N_NAMED else ""
    return (
        f"{what}: first feature {rows.features[column]} of {place(rows.labels.row(int(row), named=True))}, which is "
        f"{rows.values[row, column]}; {len(features)} features ({', '.join(features[:N_NAMED])}{more}) of "
        f"{int(is_bad.any(axis=1).sum())} rows. Add drop_na_columns with cutoff: 0 or drop_outliers to `steps`, or "
        "remove these rows from the table"
    )
