"""What the commit record of a search says: its variants and their results. No torch here.

Written by the stage `search`, read by the stage `checkpoint` (what a Bayesian search proposed), and by people.
"""

from typing import Any, Literal

from cellassets.configuration import Parameters

VariantState = Literal["open", "trained", "stopped", "diverged", "given up"]


class VariantRow(Parameters):
    """One variant of a search.

    Attributes:
        name: name of its recipe.
        values: what it changes, by key of the recipe.
        state: open (waiting or training), trained to its end, stopped as poor, diverged (the loss was not finite), or
            given up (its runs failed for good).
        value: the metric of the search at its last epoch.
        n_epochs: epochs that were trained.
        model_key: its registered version.
        note: why it was stopped, or what went wrong.
    """

    name: str
    values: dict[str, Any]
    state: VariantState = "open"
    value: float | None = None
    n_epochs: int | None = None
    model_key: str | None = None
    note: str = ""


class SearchSummary(Parameters):
    """Summary of a search.

    Attributes:
        method: list, grid, random or bayesian.
        metric: what variants are compared by.
        n_variants: how many there will be.
        n_open: variants that wait or are trained.
        n_trained: variants that were trained to their end.
        n_stopped: variants that were stopped as poor.
        n_failed: variants that diverged or were given up.
        best_variant: the trained variant with the best value.
        best_value: its value.
        proposed_by: library and version that proposed the newest variants of a Bayesian search.
        variants: all variants so far.
    """

    method: str
    metric: str
    n_variants: int
    n_open: int
    n_trained: int
    n_stopped: int
    n_failed: int
    best_variant: str | None = None
    best_value: float | None = None
    proposed_by: str | None = None
    variants: tuple[VariantRow, ...]


def summary_of(
    rows: tuple[VariantRow, ...], *, method: str, metric: str, n_variants: int, proposed_by: str | None
) -> SearchSummary:
    """Returns the summary of a search with these variants."""
    states = [row.state for row in rows]
    trained = [row for row in rows if row.state == "trained" and row.value is not None]
    sign = -1 if metric == "train_loss" else 1
    best = max(trained, key=lambda row: sign * (row.value or 0.0), default=None)
    return SearchSummary(
        method=method,
        metric=metric,
        n_variants=n_variants,
        n_open=states.count("open"),
        n_trained=states.count("trained"),
        n_stopped=states.count("stopped"),
        n_failed=states.count("diverged") + states.count("given up"),
        best_variant=None if best is None else best.name,
        best_value=None if best is None else best.value,
        proposed_by=proposed_by,
        variants=rows,
    )
