"""The stage `search`: the variants of a recipe file with a search, with their results.

For a Bayesian search it also proposes the next variants from the results so far. A proposal is kept in the record, from
which the stage `checkpoint` takes the recipe: it is never computed again, and each publication follows the one that it
has read. So a tick that is repeated, or two runs at once, add each variant once.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cellassets.errors import ConfigError
from cellassets.stages.checkpoint import curves
from cellassets.stages.families import family, variants_of
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.stages.state import is_current
from cellassets.storage.artifact import Record, write_bytes
from cellassets.storage.plan import Plan, Publication
from cellassets.training.search_summary import SearchSummary, VariantRow, summary_of
from cellassets.training.summary import CheckpointSummary

if TYPE_CHECKING:
    from cellassets.training.proposing import Tried
    from cellassets.training.recipe import Family, Variant

CODE_VERSION = "1"
CURVES_NAME = "curves.json"  # the metric by epoch of every variant that ended
GIVEN_UP = "its runs failed for good; `cellassets work list` says why"
STATES = {"open": "running", "trained": "trained", "stopped": "stopped", "diverged": "failed", "given up": "failed"}
logger = logging.getLogger(__name__)


def plan(snapshot: Snapshot, keys: Keys, *, given_up: Sequence[str] = ()) -> Plan:
    """Returns the plan of a search from the results of the variants that ended.

    Args:
        snapshot: what is published.
        keys: the name of the recipe file.
        given_up: variants whose runs failed for good, and which therefore do not hold a slot. Those that the last
            publication names stay given up until they end.

    Raises:
        ConfigError: the recipe file is missing or wrong, or contradicts itself.
    """
    name = keys["search"]
    found, variants = family(snapshot, name), variants_of(snapshot, name)
    known = given_up_before(snapshot, name)
    pins = {
        variant.name: snapshot.need("checkpoint", variant.name) for variant in variants if _ended(snapshot, variant)
    }
    inputs: dict[str, Any] = {
        "recipe": found.base,
        "search": settings_of(found.search),
        "results": {name: [pin.fingerprint, pin.generation] for name, pin in pins.items()},
        "code_version": CODE_VERSION,
    }
    lost = sorted(variant.name for variant in variants if variant.name in {*given_up, *known} - pins.keys())
    if lost:
        inputs["given_up"] = lost
    settings = {"family": found, "variants": variants, "given_up": lost}
    return snapshot.plan("search", (name,), inputs, pins=list(pins.values()), settings=settings)


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of a search, after proposing the next variants of a Bayesian one.

    Raises:
        CorruptArtifact: a published result is damaged.
        StaleArtifact: another run has published meanwhile.
    """
    from cellassets.training.recipe import BayesianSearch

    found: Family = plan.settings["family"]
    results = {pin.keys[0]: pin for pin in plan.pinned("checkpoint")}
    read = {name: _curve(context, pin, found.search.metric) for name, pin in results.items()}
    rows = [_row(variant, results.get(variant.name), read, plan.settings["given_up"]) for variant in _variants(plan)]
    proposed_by = None
    n_variants = len(rows)
    if isinstance(found.search, BayesianSearch):
        n_variants = found.search.n_variants
        proposed, proposed_by = _proposed(found, rows, read)
        rows += proposed
    summary = summary_of(
        tuple(rows),
        method=found.search.method,
        metric=found.search.metric,
        n_variants=n_variants,
        proposed_by=proposed_by,
    )
    with context.lake.draft(plan) as draft:
        write_bytes(draft.folder / CURVES_NAME, json.dumps(read).encode())
        return draft.publish([CURVES_NAME], summary)


def given_up_before(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    """Returns the variants that the current publication of a search has given up."""
    published = snapshot.find("search", name)
    rows = () if published is None else published.summary(SearchSummary).variants
    return tuple(row.name for row in rows if row.state == "given up")


def n_free(found: "Family", rows: Sequence[VariantRow]) -> int:
    """Returns how many variants a Bayesian search can propose now."""
    from cellassets.training.recipe import BayesianSearch

    if not isinstance(found.search, BayesianSearch):
        return 0
    n_open = sum(row.state == "open" for row in rows)
    return max(0, min(found.search.n_at_once - n_open, found.search.n_variants - len(rows)))


def _variants(plan: Plan) -> "tuple[Variant, ...]":
    return plan.settings["variants"]


def _ended(snapshot: Snapshot, variant: "Variant") -> bool:
    return is_current(snapshot, "checkpoint", variant.name)


def _curve(context: Context, pin: Publication, metric: str) -> dict[int, float]:
    from cellassets.training.poor_variant import curve_of

    return curve_of(curves(context.lake.open(pin)), metric)


def _row(
    variant: "Variant",
    pin: Publication | None,
    read: Mapping[str, Mapping[int, float]],
    given_up: Sequence[str],
) -> VariantRow:
    """The row of a variant; `read` holds the curves of those that ended."""
    row = VariantRow(name=variant.name, values=dict(variant.values))
    if pin is None:
        return row.model_copy(update={"state": "given up", "note": GIVEN_UP}) if variant.name in given_up else row
    summary, curve = pin.summary(CheckpointSummary), read[variant.name]
    update: dict[str, Any] = {"state": "trained", "model_key": summary.model_key}
    if summary.stopped is not None:
        update |= {"state": "stopped", "note": summary.stopped.in_words()}
    elif summary.diverged is not None:
        update |= {"state": "diverged", "note": summary.diverged}
    if curve:
        update |= {"value": curve[max(curve)], "n_epochs": max(curve)}
    return row.model_copy(update=update)


def _proposed(
    found: "Family", rows: Sequence[VariantRow], read: Mapping[str, Mapping[int, float]]
) -> tuple[list[VariantRow], str]:
    """The next variants of a Bayesian search, and what proposed them."""
    from importlib.metadata import version

    from cellassets.training.proposing import propose

    n_new = n_free(found, rows)
    valid: list[Variant] = []

    def is_valid(values: Mapping[str, Any]) -> bool:
        try:
            valid.append(found.variant(values))
        except ConfigError as error:
            logger.warning("a proposal is left out: %s", error)
            return False
        return True

    if n_new:
        propose(found.search, [_tried(row, read) for row in rows], n_new, is_valid)  # type: ignore[arg-type]
        if len(valid) < n_new:
            logger.warning("%s: only %d new combinations were found, %d were wanted", found.name, len(valid), n_new)
    return [VariantRow(name=one.name, values=dict(one.values)) for one in valid], f"optuna {version('optuna')}"


def _tried(row: VariantRow, read: Mapping[str, Mapping[int, float]]) -> "Tried":
    from cellassets.training.proposing import Tried

    return Tried(row.values, STATES[row.state], read.get(row.name, {}))  # type: ignore[arg-type]


SEARCH = Stage(
    name="search",
    axes=("search",),
    summary=SearchSummary,
    plan=plan,
    make=make,
    settings=("recipes/<search>.yaml",),
)
