"""The production gate: what is promoted, what is kept out, what is written down, and what a kill leaves."""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from upath import UPath

from cellassets.benchmarks.definition import Score
from cellassets.benchmarks.run import scores_table
from cellassets.errors import BenchmarkError, ConfigError, RegistryError
from cellassets.judging.comparison import Evidence
from cellassets.judging.gate import GatePolicy, Guard, judge_candidate
from cellassets.judging.production import Override, current_champion, decide_production, load_override
from cellassets.reconcile.policy import load_gate_policy
from cellassets.registry import Registry
from cellassets.storage.lake import Lake
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


def scores_of(gains, *, n=40, spread=0.05):
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
            tables.append(scores_table(rows, is_higher_better=True, protocol_fingerprint="p", **labels))
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
        ((0.0, 0.0, 0.0), "known_relationships on SIM: not shown to be better"),
        ((-0.1, 0.0, 0.0), "known_relationships on SIM: not shown to be better"),
        ((0.1, -0.1, 0.0), "perturbation_consistency on SIM: worse"),
    ],
)
def test_what_stands_against_a_candidate_is_said(gains, reason):
    found = judged(dict(zip(UNIT_METRICS, gains, strict=True)))
    assert not found.is_passed
    assert [text.split(" (gain")[0] for text in found.reasons] == [reason]


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
    assert "perturbation_magnitude on U2OS: no scores that can be compared" in found.reasons[0]


@pytest.mark.parametrize("margin", [None, 0.05])
def test_a_guard_that_too_few_units_could_never_fail_is_not_passed(margin):
    """Four perturbations, or ten pairs of five genes; without a spread the interval would be a point."""
    few = scores_of({"known_relationships": 0.1}).vstack(scores_of({"perturbation_consistency": 0.0}, n=4, spread=0))
    guard = {"benchmark_name": "perturbation_consistency", "margin": margin}
    policy = GatePolicy.model_validate({"deciding_datasets": ["SIM"], "guarded": [guard]})
    found = judge_candidate(
        evidence_of(few), policy, candidate="candidate.v1", champion="champion.v1", champion_judged_on=[]
    )
    assert "too few units for any loss to be seen" in found.reasons[0]
    pairs = [f"g{a}|g{b}" for a, b in combinations(range(5), 2)]
    named = scores_of({"known_relationships": -0.5}, n=10).with_columns(
        pl.col("perturbation_id").replace_strict({f"p{n:02d}": pair for n, pair in enumerate(pairs)}),
        pl.lit("pair").alias("unit"),
    )
    guard = {"benchmark_name": "known_relationships", "margin": margin}
    policy = GatePolicy.model_validate(
        {"deciding": "phenotypic_activity", "deciding_datasets": ["SIM"], "guarded": [guard]}
    )
    found = judge_candidate(
        evidence_of(named), policy, candidate="candidate.v1", champion="champion.v1", champion_judged_on=[]
    )
    assert "too few units for any loss to be seen" in found.reasons[1]


def test_guards_ask_on_the_datasets_that_the_policy_names():
    policy = POLICY.model_copy(update={"datasets": ("SIM", "ELSE")})
    found = judged(dict.fromkeys(UNIT_METRICS, 0.1), policy, judged_on=[])
    assert [text.split(":")[0] for text in found.reasons] == [
        "perturbation_consistency on ELSE",
        "perturbation_magnitude on ELSE",
    ]


def test_what_decides_is_asked_even_where_there_is_nothing_to_judge():
    found = judged({"perturbation_consistency": 0.1}, silent=[("known_relationships", "SIM")])
    assert "known_relationships on SIM: no scores that can be compared" in found.reasons[0]


def test_more_guards_let_no_more_through():
    """A loss at p = 0.03 is found among any number of guards that lose nothing."""
    gains = {"known_relationships": 0.1, "perturbation_consistency": -0.0175, "perturbation_magnitude": 0.0}
    found = judged(gains)
    row = found.comparisons.row(by_predicate=pl.col("benchmark_name") == "perturbation_consistency", named=True)
    assert row["p_value"] < 0.05 < row["q_value"]
    assert not row["is_passed"]


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
    assert load_gate_policy(UPath(REPOSITORY / "configs")).deciding == "known_relationships"


@pytest.fixture
def place(scored_lake, tmp_path):
    """The scored lake with a registry of its own, in which good, fair and blind are registered."""
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", (tmp_path / "models").as_uri())
    for name in ("good", "fair", "blind"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "encoder.json").write_text(json.dumps({"kind": "classical", "name": name}))
        registry.register(folder, name=name, run_id=None, tags={"kind": "classical"})
    lake = Lake(UPath(tmp_path / "lake"))
    Path(lake.root).mkdir()
    for kind in ("scores", "perturbation_map"):
        (Path(lake.root) / kind).symlink_to(Path(scored_lake.root) / kind)
    return lake, registry


@pytest.fixture
def decide(place, protocols_of):
    lake, registry = place

    def decide(candidate, **changes):
        options = {"policy": POLICY, "protocols": protocols_of(lake), **changes}
        return decide_production(lake, registry, candidate=candidate, **options)

    return decide


def champions(registry):
    return [entry.key for entry in registry.list_models() if "champion" in entry.aliases]


def test_a_better_model_takes_over_and_it_is_written_down(place, decide):
    lake, registry = place
    registry.move_alias("champion", "blind.v1")
    record = decide("good.v1")
    assert (record.summary["decision"], record.summary["approved_by"]) == ("promoted", "the gate")
    assert (record.summary["champion"], record.summary["previous_champion"]) == ("good.v1", "blind.v1")
    assert champions(registry) == ["good.v1"]
    client, run_id = registry.client(), record.summary["mlflow_run_id"]
    run = client.get_run(run_id)
    assert run.data.tags["decision"] == "promoted"
    assert run.data.metrics["gain.known_relationships.SIM"] > 0
    assert [file.path for file in client.list_artifacts(run_id)] == ["decision.json"]
    assert decide("good.v1") == record
    assert current_champion(lake, registry).key == "good.v1"


def test_a_worse_model_does_not_and_the_reasons_are_written_down(place, decide):
    _, registry = place
    registry.move_alias("champion", "good.v1")
    record = decide("blind.v1")
    assert (record.summary["decision"], record.summary["champion"]) == ("kept", "good.v1")
    assert any(
        text.startswith("known_relationships on SIM: not shown to be better") for text in record.summary["against"]
    )
    assert any("worse" in text for text in record.summary["against"])
    assert champions(registry) == ["good.v1"]


def test_an_override_needs_a_reason_and_a_name_and_keeps_what_the_gate_said(place, decide):
    _, registry = place
    registry.move_alias("champion", "good.v1")
    for reason, name in (
        ("because I say", None),
        (None, "M. Curie"),
        ("short" + 9 * " ", "M. Curie"),
        ("because I say", " "),
    ):
        with pytest.raises(ConfigError, match="override of the production gate"):
            load_override(reason, name)
    assert load_override(None, None) is None
    override = Override(approved_by="M. Curie", reason="the assay team needs its channel order")
    record = decide("blind.v1", override=override)
    assert record.summary["decision"] == "overridden"
    assert record.summary["approved_by"] == "M. Curie"
    assert record.summary["override_reason"] == override.reason
    assert record.summary["against"]
    assert champions(registry) == ["blind.v1"]


def test_a_champion_that_was_deleted_is_replaced_by_a_person_alone(place, decide):
    _, registry = place
    decide("good.v1")
    registry.client().delete_registered_model("good")
    with pytest.raises(RegistryError, match=r"good\.v1 is not in the registry .* decide by an override"):
        decide("fair.v1")
    record = decide("fair.v1", override=Override(approved_by="M. Curie", reason="good was deleted by mistake"))
    assert record.summary["champion"] == "fair.v1"
    assert (record.summary["decision"], record.summary["approved_by"]) == ("overridden", "M. Curie")
    assert record.summary["previous_champion"] == "good.v1"
    assert "good.v1 is in production and was deleted" in record.summary["against"][0]
    assert champions(registry) == ["fair.v1"]


def test_a_score_that_one_model_lacks_is_no_silence(place, decide):
    """Only where neither model has anything to be judged on does a guard not ask."""
    _, registry = place
    registry.move_alias("champion", "blind.v1")
    policy = POLICY.model_copy(update={"guarded": (Guard(benchmark_name="dose_response"),), "datasets": ("SIM",)})
    assert decide("good.v1", policy=policy).summary["decision"] == "promoted"
    policy = POLICY.model_copy(update={"guarded": (Guard(benchmark_name="dose_response"),), "datasets": ("OTHER",)})
    assert "dose_response on OTHER" in decide("fair.v1", policy=policy).summary["against"][-1]


def test_the_first_model_must_beat_chance(place, decide):
    _, registry = place
    record = decide("blind.v1")
    assert (record.summary["decision"], record.summary["champion"]) == ("kept", None)
    assert champions(registry) == []
    assert decide("good.v1").summary["decision"] == "promoted"
    assert champions(registry) == ["good.v1"]


def test_a_kill_before_the_alias_moved_is_made_good_by_the_next_run(place, decide, monkeypatch):
    _, registry = place
    registry.move_alias("champion", "blind.v1")
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "move_alias", lambda *_args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            decide("good.v1")
    assert champions(registry) == ["blind.v1"]
    record = decide("good.v1")
    assert record.generation == 1
    assert champions(registry) == ["good.v1"]


def test_scores_that_went_stale_do_not_count(place, decide):
    _, registry = place
    registry.move_alias("champion", "blind.v1")
    record = decide("good.v1", protocols=lambda *_names: "of now")
    assert record.summary["decision"] == "kept"
    assert all("no scores that can be compared" in text for text in record.summary["against"])


def test_the_candidate_is_the_model_with_that_alias(place, decide):
    _, registry = place
    with pytest.raises(RegistryError, match="no model has the alias 'candidate'"):
        decide(None)
    registry.move_alias("candidate", "good.v1")
    assert decide(None).summary["candidate"] == "good.v1"


def test_a_champion_that_nobody_decided_on_is_no_candidate(place, decide):
    _, registry = place
    registry.move_alias("champion", "good.v1")
    with pytest.raises(BenchmarkError, match=r"good\.v1 has the alias 'champion' already"):
        decide("good.v1")
