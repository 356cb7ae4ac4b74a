"""Accuracy by the protocols of RxRx1: which sites and classes count, and what the design of the plates adds."""

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.published.rxrx1 import (
    NO_GROUP,
    ScoredSites,
    accuracies,
    groups_on_plates,
    predictions,
    treatment_groups,
)
from cellassets.errors import BenchmarkError

N_PLATES, N_ON_PLATE = 4, 20
TREATMENTS = [f"s{number:03d}" for number in range(N_PLATES * N_ON_PLATE)]
NAMES = ("EMPTY", *TREATMENTS)
GROUPS = np.array([NO_GROUP, *np.repeat(np.arange(N_PLATES), N_ON_PLATE)])


def wells_of(experiment_id: str, *, first_group: int = 0) -> pl.DataFrame:
    """One well per treatment, group by group on the plates, and one negative control per plate."""
    rows = []
    for plate in range(N_PLATES):
        group = (plate + first_group) % N_PLATES
        on_plate = [None, *TREATMENTS[group * N_ON_PLATE : (group + 1) * N_ON_PLATE]]
        rows += [
            (
                experiment_id,
                f"Plate{plate + 1}",
                f"W{place:02d}",
                "HUVEC",
                name or "EMPTY",
                None if name else "negative",
            )
            for place, name in enumerate(on_plate)
        ]
    columns = ["experiment_id", "plate_id", "well_id", "cell_type", "perturbation_id", "control_kind"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def scored(wells: pl.DataFrame, *, signal: float = 1.0, noise: float = 0.0, n_sites: int = 2, seed: int = 0):
    sites = wells.join(pl.DataFrame({"site_index": range(1, n_sites + 1)}, {"site_index": pl.Int32}), how="cross")
    own = np.array([NAMES.index(name) if name in NAMES else 0 for name in sites["perturbation_id"]])
    scores = noise * np.random.default_rng(seed).standard_normal((sites.height, len(NAMES)))
    scores[np.arange(len(own)), own] += signal
    return ScoredSites(sites, scores, NAMES)


def accuracy(scored_sites: ScoredSites, protocol: str, *, part: str = "all", of: str = "accuracy") -> float:
    found = accuracies(predictions(scored_sites, GROUPS))
    return found.filter((pl.col("protocol") == protocol) & (pl.col("part") == part))[of].item()


def test_treatments_that_share_plates_form_groups_and_controls_are_in_none():
    training = pl.concat([wells_of("E-1"), wells_of("E-2", first_group=1)])
    np.testing.assert_array_equal(treatment_groups(training, NAMES), GROUPS)
    half = training.filter(pl.int_range(pl.len()) % 3 > 0)  # wells that failed
    found = treatment_groups(half, NAMES)
    assert len(set(found[found != NO_GROUP].tolist())) == N_PLATES
    with pytest.raises(BenchmarkError, match="none of 84 wells is a treatment among the 1 classes"):
        treatment_groups(wells_of("E-1"), ("other",))


def test_perfect_scores_are_right_by_every_protocol_for_all_cell_types_and_experiments():
    found = accuracies(predictions(scored(wells_of("E-3", first_group=2)), GROUPS))
    assert (found["accuracy"] == 1).all()
    assert sorted(set(found["part"])) == ["E-3", "HUVEC", "all"]
    assert set(found["seen"]) == {"no"}
    assert dict(found.filter(part="all").select("protocol", "n").rows()) == {
        "sites": 2 * N_PLATES * (N_ON_PLATE + 1),
        "wells": N_PLATES * N_ON_PLATE,
        "wells_of_group": N_PLATES * N_ON_PLATE,
        "wells_one_to_one": N_PLATES * N_ON_PLATE,
    }
    chances = found.filter(part="all")["chance"].to_list()
    assert chances == pytest.approx([1 / 81, 1 / 80, 1 / 80, 1 / 80])


def test_each_step_of_knowledge_about_the_plates_raises_the_accuracy_on_noisy_scores():
    sites = scored(wells_of("E-3", first_group=3), signal=1.8, noise=1.0)
    steps = [accuracy(sites, name) for name in ("sites", "wells", "wells_of_group", "wells_one_to_one")]
    assert steps == sorted(steps)
    assert len(set(steps)) == len(steps)
    # without any signal it is right as often as guessing among all treatments, since the groups are guessed too
    blind = [
        accuracy(scored(wells_of("E-3"), signal=0, noise=1.0, seed=seed), "wells_one_to_one") for seed in range(40)
    ]
    assert np.mean(blind) == pytest.approx(1 / len(TREATMENTS), abs=0.01)


def test_no_class_is_twice_on_a_plate_and_missing_wells_do_not_matter():
    wells = wells_of("E-3").filter(~pl.col("well_id").is_in(["W03", "W07"]))
    found = predictions(scored(wells, noise=2.0), GROUPS).filter(protocol="wells_one_to_one")
    assert found.height == N_PLATES * (N_ON_PLATE - 2)
    assert found["predicted_id"].null_count() == 0
    assert not found.select("plate_id", "predicted_id").is_duplicated().any()


def test_wells_that_are_left_over_have_no_class_and_count_as_wrong():
    wells = wells_of("E-3")
    double = wells.filter(pl.col("plate_id") == "Plate1", pl.col("well_id") == "W01").with_columns(
        well_id=pl.lit("W99")
    )
    sites = scored(pl.concat([wells, double]))
    found = predictions(sites, GROUPS).filter(protocol="wells_one_to_one")
    assert found["predicted_id"].null_count() == 1
    assert accuracy(sites, "wells_one_to_one") == pytest.approx(80 / 81)


def test_plates_have_the_groups_of_their_own_wells_whatever_their_order():
    wells = wells_of("E-3", first_group=1).filter(pl.col("control_kind").is_null())
    sites = scored(wells, signal=2.0, noise=0.4, n_sites=1)
    plate = np.repeat(np.arange(N_PLATES), N_ON_PLATE)
    np.testing.assert_array_equal(groups_on_plates(sites.scores, plate, GROUPS), [1, 2, 3, 0])
    more = np.arange(len(plate)) // 10  # eight plates, four groups
    np.testing.assert_array_equal(groups_on_plates(sites.scores, more, GROUPS), [1, 1, 2, 2, 3, 3, 0, 0])


def test_perturbations_that_are_no_classes_are_left_out_and_their_absence_is_refused():
    wells = wells_of("E-3").with_columns(
        perturbation_id=pl.when(pl.col("well_id") == "W05").then(pl.lit("new")).otherwise("perturbation_id")
    )
    assert accuracy(scored(wells), "wells", of="n") == N_PLATES * (N_ON_PLATE - 1)
    with pytest.raises(BenchmarkError, match=r"0 of 168 sites are of known classes"):
        predictions(scored(wells.with_columns(perturbation_id=pl.lit("new"))), GROUPS)
    with pytest.raises(BenchmarkError, match=r"'E-3', 'E-4'"):
        predictions(scored(pl.concat([wells_of("E-3"), wells_of("E-4")])), GROUPS)
    broken = scored(wells)
    broken.scores[3, 2] = np.nan
    with pytest.raises(BenchmarkError, match="not finite"):
        predictions(broken, GROUPS)
