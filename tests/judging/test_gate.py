"""The production gate: what passes, what does not, and what is said against a candidate."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from upath import UPath

from cellassets.benchmarks.definition import Score
from cellassets.benchmarks.parts import Part
from cellassets.benchmarks.scoring import scores_table
from cellassets.configuration import load_yaml
from cellassets.errors import BenchmarkError, ConfigError
from cellassets.judging.comparison import Evidence
from cellassets.judging.gate import GatePolicy, judge_candidate
from cellassets.judging.production import judge_first, load_override, refuse_all
from cellassets.tables.schemas import INFLUENCES

REPOSITORY = Path(__file__).parents[2]
POLICY = GatePolicy.model_validate(
    {
        "deciding_datasets": ["SIM"],
        "guarded": [{"benchmark_name": "perturbation_consistency"}, {"benchmark_name": "perturbation_magnitude"}],
    }
)
UNIT_METRICS = {
    "known_relationships": "pair_recalled",
    "perturbation_consistency": "consistency_percentile",
    "perturbation_magnitude": "magnitude",
}


PART = Part("all", "unseen_experiments", ("E1",))


def scores_of(gains, *, n=40, spread=0.05, part=PART):
    """Scores of champion.v1, and of candidate.v1 that gains so much on each benchmark."""
    rng = np.random.default_rng(0)
    tables = []
    for name, gain in gains.items():
        base, noise = rng.random(n), spread * rng.standard_normal(n)
        noise -= noise.mean()
        for key, values in (("champion.v1", base), ("candidate.v1", base + gain + noise)):
            rows = [
                Score(UNIT_METRICS[name], "perturbation", float(v), 0.5, 0.0, 1.0, 0.5, n_units=4, unit="well",
                      perturbation_id=f"p{i:02d}")
                for i, v in enumerate(values)
            ]  # fmt: skip
            labels = {"benchmark_name": name, "dataset_id": "SIM", "dataset_fingerprint": "f", "model_key": key}
            tables.append(
                scores_table(rows, is_higher_better=True, protocol_fingerprint="p", **labels, **part.columns())
            )
    return pl.concat(tables)


def evidence_of(scores):
    """Evidence of units that share no controls."""
    return Evidence(scores, INFLUENCES.empty())


def judged(gains, policy=POLICY, judged_on=None, silent=()):
    return judge_candidate(
        evidence_of(scores_of(gains)),
        policy,
        candidate="candidate.v1",
        champion="champion.v1",
        champion_judged_on=[(name, "SIM") for name in gains] if judged_on is None else judged_on,
        does_not_apply=silent,
    )


def test_better_where_it_decides_and_not_worse_elsewhere_passes():
    found = judged({"known_relationships": 0.1, "perturbation_consistency": 0.0, "perturbation_magnitude": 0.001})
    assert found.is_passed
    assert found.reasons == []
    assert found.comparisons["gain"].to_list() == pytest.approx([0.1, 0.0, 0.001])
    assert found.comparisons["role"].to_list() == ["deciding", "guarded", "guarded"]


@pytest.mark.parametrize(
    ("gains", "reason"),
    [
        ((0.0, 0.0, 0.0), "known_relationships on SIM: not shown to be better; a gain of 0."),
        ((-0.1, 0.0, 0.0), "known_relationships on SIM: not shown to be better; a gain of 0."),
        ((0.1, -0.1, 0.0), "perturbation_consistency on SIM: worse, and a loss of 0.05 cannot be ruled out (gain"),
    ],
)
def test_what_stands_against_a_candidate_is_said(gains, reason):
    found = judged(dict(zip(UNIT_METRICS, gains, strict=True)))
    assert not found.is_passed
    (said,) = found.reasons
    assert said.startswith(reason)


def test_a_small_loss_within_the_margin_is_accepted_and_named():
    found = judged({"known_relationships": 0.1, "perturbation_consistency": -0.02, "perturbation_magnitude": 0.0})
    assert found.is_passed
    assert found.comparisons["verdict"][1].startswith("perturbation_consistency on SIM: worse, by less than 0.05 (gain")


def test_too_few_perturbations_for_the_margin_are_no_loss_and_the_gate_says_how_many_it_needs():
    """A spread of 0.4 and 40 perturbations: the standard error is 0.06, and equal models fail a margin of 0.05."""
    scores = pl.concat(
        [scores_of({"known_relationships": 0.1}), scores_of({"perturbation_consistency": 0.0}, spread=0.4)]
    )
    guard = {"benchmark_name": "perturbation_consistency", "margin": 0.05}
    policy = GatePolicy.model_validate({"deciding_datasets": ["SIM"], "guarded": [guard]})

    def decision(scores):
        return judge_candidate(
            evidence_of(scores), policy, candidate="candidate.v1", champion="champion.v1", champion_judged_on=[]
        )

    found = decision(scores)
    row = found.comparisons.row(1, named=True)
    assert row["n_needed"] > 400
    assert f"not enough data: 40 perturbations can rule out a loss of {row['detectable']:.2g};" in found.reasons[0]
    assert f"needs about {row['n_needed']} to rule out 0.05" in found.reasons[0]
    enough = scores_of({"perturbation_consistency": 0.0}, n=row["n_needed"], spread=0.4)
    assert decision(pl.concat([scores_of({"known_relationships": 0.1}), enough])).is_passed


def test_the_level_of_a_later_candidate_is_smaller_and_a_gain_must_be_clearer():
    gains = {"known_relationships": 0.02, "perturbation_consistency": 0.0, "perturbation_magnitude": 0.0}
    first, late = judged(gains), judged(gains, POLICY.at(100))
    p_value = first.p_value
    assert late.p_value == p_value
    assert POLICY.at(100).alpha < p_value < POLICY.alpha
    assert first.is_passed
    assert [text.split(";")[0] for text in late.reasons] == ["known_relationships on SIM: not shown to be better"]


def test_a_decision_without_one_of_its_comparisons_has_no_p_value():
    policy = POLICY.model_copy(update={"guarded": POLICY.guarded[:1]})
    assert judged({"known_relationships": 0.1, "perturbation_consistency": 0.0}, policy).p_value < 1e-6
    assert judged({"known_relationships": 0.1}, policy, judged_on=[]).p_value is None
    assert judged({"perturbation_consistency": 0.1}, policy, judged_on=[]).p_value is None


def test_a_margin_refuses_a_loss_that_cannot_be_ruled_out():
    gains = {"known_relationships": 0.1, "perturbation_consistency": -0.01}
    for margin, is_passed in ((0.05, True), (0.012, False)):
        guard = {"benchmark_name": "perturbation_consistency", "margin": margin}
        policy = GatePolicy.model_validate({"deciding_datasets": ["SIM"], "guarded": [guard]})
        assert judged(gains, policy).is_passed is is_passed


def test_a_guard_asks_where_it_is_decided_and_wherever_the_champion_was_judged():
    gains = {"known_relationships": 0.1, "perturbation_consistency": 0.0}
    magnitude = ("perturbation_magnitude", "SIM")
    assert [text.split(":")[0] for text in judged(gains, judged_on=[]).reasons] == ["perturbation_magnitude on SIM"]
    assert judged(gains, judged_on=[], silent=[magnitude]).is_passed
    found = judged(gains, judged_on=[("perturbation_magnitude", "U2OS")], silent=[magnitude])
    assert "perturbation_magnitude on U2OS: no scores of candidate.v1 that can be compared" in found.reasons[0]


def test_a_guard_of_too_few_units_is_not_passed_even_without_a_spread():
    """Four perturbations, or ten pairs of five genes: no p-value can be as small as 0.025."""
    few = scores_of({"known_relationships": 0.1}).vstack(scores_of({"perturbation_consistency": 0.0}, n=4, spread=0))
    guard = {"benchmark_name": "perturbation_consistency", "margin": 0.05}
    policy = GatePolicy.model_validate({"deciding_datasets": ["SIM"], "guarded": [guard]})
    found = judge_candidate(
        evidence_of(few), policy, candidate="candidate.v1", champion="champion.v1", champion_judged_on=[]
    )
    assert "not enough data: 4 perturbations can rule out no loss; needs about 6 to rule out 0.05" in found.reasons[0]
    pairs = [f"g{a}|g{b}" for a, b in combinations(range(5), 2)]
    named = scores_of({"known_relationships": 0.0}, n=10, spread=0).with_columns(
        pl.col("perturbation_id").replace_strict({f"p{n:02d}": pair for n, pair in enumerate(pairs)}),
        pl.lit("pair").alias("unit"),
    )
    guard = {"benchmark_name": "known_relationships", "margin": 0.05}
    policy = GatePolicy.model_validate(
        {"deciding": "phenotypic_activity", "deciding_datasets": ["SIM"], "guarded": [guard]}
    )
    found = judge_candidate(
        evidence_of(named), policy, candidate="candidate.v1", champion="champion.v1", champion_judged_on=[]
    )
    assert "not enough data: 5 perturbations can rule out no loss; needs about 6" in found.reasons[1]


def test_a_late_candidate_on_few_perturbations_cannot_be_shown_to_be_better():
    gains = dict.fromkeys(UNIT_METRICS, 0.5)
    few = judge_candidate(
        evidence_of(scores_of(gains, n=10)),
        POLICY.at(100),
        candidate="candidate.v1",
        champion="champion.v1",
        champion_judged_on=[],
    )
    assert "not enough data: 10 perturbations can show no gain at this level; needs at least 16" in few.reasons[0]


def test_guards_ask_on_the_datasets_that_the_policy_names():
    policy = POLICY.model_copy(update={"datasets": ("SIM", "ELSE")})
    found = judged(dict.fromkeys(UNIT_METRICS, 0.1), policy, judged_on=[])
    assert [text.split(":")[0] for text in found.reasons] == [
        "perturbation_consistency on ELSE",
        "perturbation_magnitude on ELSE",
    ]


def test_what_decides_is_asked_even_where_there_is_nothing_to_judge():
    found = judged({"perturbation_consistency": 0.1}, silent=[("known_relationships", "SIM")])
    assert "known_relationships on SIM: no scores of candidate.v1 that can be compared" in found.reasons[0]


def test_a_guard_does_not_depend_on_the_other_guards():
    gains = {"known_relationships": 0.1, "perturbation_consistency": -0.04, "perturbation_magnitude": 0.0}
    alone = POLICY.model_copy(update={"guarded": POLICY.guarded[:1]})
    is_guard = pl.col("benchmark_name") == "perturbation_consistency"
    first, second = (judged(gains, policy).comparisons.filter(is_guard) for policy in (POLICY, alone))
    assert first.equals(second)
    assert first["is_passed"].to_list() == [False]


def test_scores_by_another_protocol_are_not_compared():
    gains = dict.fromkeys(UNIT_METRICS, 0.1)
    moved = scores_of(gains).with_columns(
        pl.when(pl.col("model_key") == "champion.v1").then(pl.lit("old")).otherwise("protocol_fingerprint")
        .alias("protocol_fingerprint")
    )  # fmt: skip
    judged_on = [(name, "SIM") for name in UNIT_METRICS]
    found = judge_candidate(
        evidence_of(moved), POLICY, candidate="candidate.v1", champion="champion.v1", champion_judged_on=judged_on
    )
    assert len(found.reasons) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deciding": "nonsense"}, "no benchmarks"),
        ({"guarded": [{"benchmark_name": "known_relationships"}]}, "each benchmark once"),
        ({"deciding_datasets": []}, "deciding_datasets"),
        ({"deciding": "proximity_bias"}, "lower is better"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GatePolicy.model_validate({"deciding_datasets": ["SIM"], **changes})


def test_the_documented_policy_is_the_shipped_one_and_valid():
    page = (REPOSITORY / "docs/production-gate.md").read_text()
    (documented,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert yaml.safe_load(documented) == yaml.safe_load((REPOSITORY / "configs/gate.yaml").read_text())
    assert load_yaml(UPath(REPOSITORY / "configs/gate.yaml"), GatePolicy).deciding == "known_relationships"


@pytest.mark.parametrize(
    ("reason", "name"),
    [("because I say", None), (None, "M. Curie"), ("short" + 9 * " ", "M. Curie"), ("because I say", " ")],
)
def test_an_override_needs_a_reason_and_a_name(reason, name):
    with pytest.raises(ConfigError, match="override of the production gate"):
        load_override(reason, name)


def test_without_a_reason_and_a_name_there_is_no_override():
    assert load_override(None, None) is None


def test_the_first_model_is_judged_against_chance_on_every_deciding_dataset():
    scores = scores_of({"known_relationships": 0.0}).with_columns(pl.lit("recall").alias("metric"))
    summary = scores.head(1).with_columns(
        pl.lit("summary").alias("level"), pl.lit("candidate.v1").alias("model_key"), pl.lit(0.01).alias("p_value")
    )
    policy = POLICY.model_copy(update={"deciding_datasets": ("SIM", "U2OS")})
    found = judge_first(summary, policy, "candidate.v1")
    assert found.comparisons["is_passed"].to_list() == [True, False]
    assert (
        "known_relationships on U2OS: no score on wells that it has not seen; there is no champion to compare with"
        in found.reasons[0]
    )
    assert judge_first(summary, POLICY, "candidate.v1").is_passed
    weak = summary.with_columns(pl.lit(0.2).alias("p_value"))
    assert "p = 0.2 against chance" in judge_first(weak, POLICY, "candidate.v1").reasons[0]


def test_where_there_is_nothing_to_compare_with_nothing_passes():
    found = refuse_all(POLICY, "it was deleted")
    assert not found.is_passed
    assert found.reasons == ["known_relationships on SIM: not compared, it was deleted"]


def test_all_datasets_decide_that_the_deciding_benchmark_has_scored():
    policy = GatePolicy()
    assert policy.deciding_datasets == "all"
    assert policy.on(["U2OS", "HUVEC"]).deciding_on == ("HUVEC", "U2OS")
    assert GatePolicy(deciding_datasets=("RPE",)).on(["U2OS", "HUVEC"]).deciding_on == ("RPE",)


def test_a_gate_with_nothing_scored_is_never_passed():
    with pytest.raises(BenchmarkError, match="has not scored any dataset yet"):
        GatePolicy().on([])
    with pytest.raises(BenchmarkError, match="has to be said first"):
        _ = GatePolicy().deciding_on
