"""The composition root: puts the Dagster packages together. No logic; nobody imports it, Dagster loads it."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.active_perturbations import active_perturbations
from assets.benchmarks import build_benchmark_assets
from assets.checkpoint import checkpoint
from assets.inputs import INPUTS
from assets.leaderboard import leaderboard
from assets.map_clusters import map_clusters
from assets.model_report import model_report
from assets.perturbation_map import perturbation_map
from assets.plate_quality import plate_quality
from assets.plate_store import plate_store
from assets.production_model import production_model
from assets.raw_plates import raw_plates
from assets.search import search
from assets.site_embeddings import site_embeddings
from resources.environment import build_resources
from sensors.failed_runs import failed_runs
from sensors.lake_scan import lake_scan
from sensors.new_experiments import new_experiments
from sensors.new_models import new_models
from sensors.new_recipes import new_recipes
from sensors.retry_failed import retry_failed
from sensors.stale_scores import stale_scores
from sensors.variant_results import variant_results


def build_definitions(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Returns everything that Dagster is to know.

    Args:
        resource_overrides: resources to put in place of this deployment's, by name, as tests do.
    """
    return dg.Definitions(
        assets=[
            raw_plates,
            plate_store,
            plate_quality,
            checkpoint,
            search,
            site_embeddings,
            perturbation_map,
            *build_benchmark_assets(),
            map_clusters,
            active_perturbations,
            leaderboard,
            model_report,
            production_model,
            *INPUTS,
        ],
        sensors=[
            new_experiments,
            new_recipes,
            variant_results,
            new_models,
            stale_scores,
            failed_runs,
            lake_scan,
        ],
        jobs=[dg.define_asset_job("embed", selection=dg.AssetSelection.assets(site_embeddings)), retry_failed],
        resources={**build_resources(), **(resource_overrides or {})},
        executor=dg.in_process_executor,  # one run, one process, one pod
    )


definitions = build_definitions()
