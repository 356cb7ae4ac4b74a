"""Perturbations with shared labels: guides of a gene, members of an annotated set, compounds of a target.

A profile is the mean of a perturbation's aligned wells. This module says which profiles are positives of each other,
and which are neither positive nor negative. `phenotypic_consistency` computes how well the map retrieves them.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.strata import strata_of
from cellassets.errors import NotApplicable
from cellassets.mapping.aggregate import group_mean
from cellassets.mapping.relate import COMBINATION_SEPARATOR
from cellassets.statistics.permutation import permuted_within


@dataclass(frozen=True)
class LabelledProfiles:
    """Profiles, their labels, and which profiles are the same compound.

    Attributes:
        names: names of the perturbations.
        profiles: one vector per perturbation; profiles of one identity are adjacent, sorted by dose.
        identity: number of each profile's identity: its compound, whose doses are neither positives nor negatives of
            each other; any other perturbation has an identity of its own.
        stratum: identities of one stratum share their plates (compounds dose by dose), and may exchange labels.
        members: places of the perturbations of each label.
    """

    names: list[str]
    profiles: Float[np.ndarray, "profile feature"]
    identity: Int[np.ndarray, "profile"]
    stratum: Int[np.ndarray, "identity"]
    members: dict[str, Int[np.ndarray, "member"]]

    @property
    def exchange(self) -> Int[np.ndarray, "identity"]:
        """Identities of one number exchange labels: they share their plates and have equally many profiles."""
        counts = np.bincount(self.identity)
        return np.unique(np.stack([self.stratum, counts]), axis=1, return_inverse=True)[1]

    def permuted(self, rng: np.random.Generator) -> Int[np.ndarray, "profile"]:
        """Returns the profile at each place after a random exchange within strata.

        The doses of a compound are similar whatever its targets are, so compounds are exchanged as a whole, with others
        of equally many doses.
        """
        counts = np.bincount(self.identity)
        starts = np.cumsum(counts) - counts
        exchanged = permuted_within(self.exchange, rng)
        return starts[exchanged][self.identity] + np.arange(len(self.identity)) - starts[self.identity]


def labelled_profiles(
    judged: JudgedMap,
    label: str,
    group: Int[np.ndarray, "well"],
    *,
    max_members: int,
    max_perturbations: int,
    rng: np.random.Generator,
) -> LabelledProfiles:
    """Returns the perturbations that have a label, and the labels that two different perturbations share.

    Args:
        judged: the map.
        label: `gene`, `set` or `target`.
        group: plate (or batch) of each well; identities with equally many wells on each exchange labels.
        max_members: labels with more perturbations are left out.
        max_perturbations: where more have a label, a random part of the labels is used.
        rng: draws that part.

    Raises:
        NotApplicable: there is no such label.
    """
    wells = judged.wells.with_row_index("row").filter(pl.Series(judged.is_treatment))
    named = _named(wells, label).filter(pl.col("profile").is_not_null() & pl.col("name").is_not_null())
    dose = pl.col("concentration_um").min()
    things = named.group_by("profile", "identity", "name").agg(dose).sort("identity", "concentration_um", "profile")
    labels = _kept(_labels(judged, things, label), max_members, max_perturbations, rng)
    if not labels:
        raise NotApplicable(_why_not(judged, things.height, label, max_members))
    things = things.filter(pl.col("profile").is_in(set().union(*labels.values())))
    profiles, identities = things["profile"].to_list(), things["identity"].to_list()
    place = {name: number for number, name in enumerate(profiles)}
    named = named.filter(pl.col("profile").is_in(profiles))
    rows = named["row"].to_numpy()
    known, identity = np.unique(identities, return_inverse=True)
    of_wells = named["identity"].to_numpy()
    profile = np.array([place[name] for name in named["profile"]])
    starts = np.searchsorted(identity, np.arange(len(known)))
    dose_rank = (np.arange(len(profiles)) - starts[identity])[profile]
    dose_on_plate = dose_rank * (group.max() + 1) + group[rows]
    return LabelledProfiles(
        profiles,
        group_mean(judged.vectors[rows], profile, len(profiles)),
        identity,
        strata_of(of_wells, dose_on_plate, np.ones(len(rows), dtype=bool), known.tolist()),
        {name: np.array(sorted(place[member] for member in found)) for name, found in labels.items()},
    )


def _named(wells: pl.DataFrame, label: str) -> pl.DataFrame:
    """Wells with the profile and the identity that they belong to, and the name that labels refer to."""
    gene = pl.when((pl.col("perturbation_kind") == "gene") & _is_single()).then("gene_symbol")
    thing = pl.coalesce(gene, pl.when(_is_single()).then("compound_id"))
    columns = {
        "gene": {"profile": pl.col("perturbation_id"), "identity": pl.col("perturbation_id"), "name": gene},
        "set": {"profile": thing, "identity": thing, "name": thing},
        "target": {
            "profile": pl.col("perturbation_id"),
            "identity": pl.col("compound_id"),
            "name": pl.col("compound_id"),
        },
    }[label]
    return wells.select("row", "concentration_um", **columns)


def _is_single() -> pl.Expr:
    return ~pl.col("gene_symbol").fill_null("").str.contains(COMBINATION_SEPARATOR, literal=True)


def _labels(judged: JudgedMap, things: pl.DataFrame, label: str) -> dict[str, set[str]]:
    """The profiles of each label."""
    by_name = defaultdict(list)
    for profile, name in things.select("profile", "name").rows():
        by_name[name].append(profile)
    found: dict[str, set[str]] = defaultdict(set)
    for name, key in ((name, name) for name in by_name) if label == "gene" else _annotated(judged, label):
        found[key].update(by_name.get(name, ()))
    identity = dict(things.select("profile", "identity").rows())
    return {key: members for key, members in found.items() if len({identity[member] for member in members}) >= 2}


def _annotated(judged: JudgedMap, label: str) -> list[tuple[str, str]]:
    """Name and label, over all sources; where there are several sources, labels are prefixed by their source."""
    sources: Mapping[str, pl.DataFrame] = judged.annotations.sets if label == "set" else judged.annotations.targets
    name, key = ("member", "set_id") if label == "set" else ("compound_id", "gene_symbol")
    prefix = {source: f"{source}:" if len(sources) > 1 and label == "set" else "" for source in sources}
    return [
        (n, prefix[source] + k) for source, rows in sorted(sources.items()) for n, k in rows.select(name, key).rows()
    ]


def _kept(
    labels: dict[str, set[str]], max_members: int, max_perturbations: int, rng: np.random.Generator
) -> dict[str, set[str]]:
    """Labels that are not too large, sorted by name; a random part of them where their members are too many."""
    small = {name: labels[name] for name in sorted(labels) if len(labels[name]) <= max_members}
    if len(set().union(*small.values())) <= max_perturbations:
        return small
    chosen: dict[str, set[str]] = {}
    seen: set[str] = set()
    for name in rng.permutation(list(small)).tolist():
        if len(seen | small[name]) > max_perturbations:
            break
        chosen[name] = small[name]
        seen |= small[name]
    return {name: chosen[name] for name in sorted(chosen)}


def _why_not(judged: JudgedMap, n_things: int, label: str, max_members: int) -> str:
    what = {
        "gene": "no gene has two guides",
        "set": f"none of {len(judged.annotations.sets)} set sources has a set with two members",
        "target": f"none of {len(judged.annotations.targets)} target sources has a target of two compounds",
    }[label]
    return (
        f"by {label}: {what} among the {n_things} perturbations of this map (at most {max_members} may share one label)"
    )
