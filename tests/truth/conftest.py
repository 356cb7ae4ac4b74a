"""Parts that the truth tests of several benchmark families share: screens, scores, and the definition of uniform.

`make test` runs these tests on a part of the simulated screens. `CELLASSETS_TRUTH=full` (`make test-long`) runs them
on all. On a part, p-values are refused at one in a thousand instead of one in a hundred: each test looks at many
metrics. Each of several null hypotheses has few screens then, so the p-values of a metric over all of them are tested
together as well. They are independent, because each null hypothesis has screens of its own.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, kstest, kstwo

from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.parts import Part
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.scoring import influences_table, scores_table
from cellassets.configuration import Parameters
from cellassets.judging.comparison import Evidence
from cellassets.registry import Registry
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.stores import open_store
from cellassets.studies.simulated import SIMULATED_MAP, annotations_of, map_wells
from cellassets.tables.parquet import vectors, with_vectors, write_table
from cellassets.tables.schemas import SITE_EMBEDDINGS

IS_FULL = os.environ.get("CELLASSETS_TRUTH") == "full"
LEVEL = 0.01 if IS_FULL else 0.001


@pytest.fixture(scope="session")
def seeds_of(n_of):
    """Returns the function that gives the seeds of one of several null hypotheses.

    On a part of the screens no two null hypotheses have a seed in common. On all of them they have the same seeds.
    """

    def seeds_of(number, n_full, part=0.06):
        first = 0 if IS_FULL else 1000 * number
        return range(first, first + n_of(n_full, part))

    return seeds_of


def is_uniform(values, level=LEVEL, n_independent=None):
    """True if p-values are uniform, and not too often at or below 0.05; both are refused at a level.

    P-values of the same screens under several null hypotheses count as one: `n_independent` is the number of screens.
    """
    n = len(values) if n_independent is None else n_independent
    n_called = n * np.mean(np.array(values) <= 0.05)
    is_close = kstwo.sf(kstest(values, "uniform").statistic, n) > level
    return bool(is_close and n_called <= binom.ppf(1 - level, n, 0.05))


@pytest.fixture(scope="session", name="is_uniform")
def is_uniform_fixture():
    return is_uniform


@dataclass
class PValues:
    """P-values over many simulated screens: of every summary metric, and of one unit per screen."""

    found: dict = field(default_factory=dict)

    def add(self, name, rows, seed):
        for metric in {row.metric for row in rows if row.level == "perturbation"}:
            units = [row for row in rows if row.level == "perturbation" and row.metric == metric]
            self.found.setdefault((name, f"one {metric}"), []).append(units[seed % len(units)].p_value)
        for row in rows:
            if row.level == "summary":
                self.found.setdefault((name, row.metric), []).append(row.p_value)

    def refused(self, n_independent=None):
        """Metrics whose p-values are not uniform (Kolmogorov-Smirnov), or too often at or below 0.05."""
        return [key for key, values in self.found.items() if not is_uniform(values, LEVEL, n_independent=n_independent)]


@pytest.fixture(scope="module")
def p_values():
    return PValues


@pytest.fixture(scope="session")
def judge_wells():
    """Returns the function that takes wells through the real alignment, with one perturbation per guide."""

    def judge(wells, known, *, is_aligned=True):
        steps = SIMULATED_MAP.steps if is_aligned else ()
        parameters = SIMULATED_MAP.model_copy(update={"aggregate_by": "perturbation", "steps": steps})
        aligned, map_table = map_wells(wells, parameters)
        return judged_map(aligned, map_table, parameters=parameters, annotations=annotations_of(known))

    return judge


@pytest.fixture(scope="session")
def score_by():
    """Returns the function that scores by a benchmark's name."""

    def score(name, judged, seed, n_permutations=99, **parameters):
        chosen = BENCHMARKS[name]
        # not the simulation's own seed: both would draw the same random numbers
        return chosen.score(judged, chosen.parameters(n_permutations=n_permutations, seed=seed + 10_000, **parameters))

    return score


@pytest.fixture(scope="session")
def evidence_of():
    """Returns the function that scores the maps of several models, for comparing the models."""

    def evidence(judged_by_model, names, n_permutations=99):
        scores, influences = [], []
        for model_key, judged in judged_by_model.items():
            for name in names:
                chosen = BENCHMARKS[name]
                rows = chosen.rows(judged, chosen.parameters(n_permutations=n_permutations, seed=10_000))
                shared = {"dataset_id": "SIM", "dataset_fingerprint": "f", "protocol_fingerprint": "p"}
                shared |= Part("all", "unseen_experiments", ("E1",)).columns()
                labels = {"benchmark_name": name, "model_key": model_key, **shared}
                scores.append(scores_table(rows, is_higher_better=True, **labels))
                influences.append(influences_table(rows, **labels))
        return Evidence(pl.concat(scores), pl.concat(influences))

    return evidence


@pytest.fixture(scope="session")
def headline_of():
    """Returns the function that finds a benchmark's headline among its rows."""

    def headline(name, rows):
        metric = BENCHMARKS[name].headline_metric
        return next(row for row in rows if row.level == "summary" and row.metric == metric)

    return headline


class GreyLevels:
    """A model whose embedding is the mean grey level of each channel; only the store knows its numbers."""

    def register(self, deployment):
        """Registers the model `means.v1`."""
        folder = Path(str(deployment.lake.root)) / "means"
        folder.mkdir(parents=True)
        (folder / "encoder.json").write_text('{"kind": "classical"}')
        registry = Registry(deployment.tracking_uri, deployment.model_root)
        registry.register(folder, name="means", run_id=None, tags={"kind": "classical"})

    def embed(self, deployment, experiment_id):
        """Publishes the mean grey levels of each site as if they were an embedding."""
        snapshot = open_snapshot(deployment)
        sites = open_store(deployment.lake, snapshot.need("plate_store", experiment_id)).sites
        labels = sites.drop("row_index", "channel_mean", "channel_std")
        labels = labels.with_columns(pl.lit("means.v1").alias("model_key"))
        table = with_vectors(labels, vectors(sites, "channel_mean"))
        plan = stage_named("site_embeddings").plan(snapshot, {"experiment": experiment_id, "model": "means.v1"})
        with deployment.lake.draft(plan) as draft:
            write_table(table, draft.folder / "part-00000.parquet", SITE_EMBEDDINGS)
            draft.publish(["part-00000.parquet"], Parameters())


@pytest.fixture(scope="session")
def grey_levels():
    """Returns the simplest model to compare a network with."""
    return GreyLevels()
