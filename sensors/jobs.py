"""The jobs that `stale_scores` asks for: assets that share their partitions share a job."""

import dagster as dg

from cellassets.benchmarks.registry import BENCHMARKS

score_maps = dg.define_asset_job(
    "score_maps",
    dg.AssetSelection.assets("perturbation_map", *(["benchmark", name] for name in sorted(BENCHMARKS))),
    description="A data set aligned, aggregated and benchmarked by one model.",
)
rank_models = dg.define_asset_job(
    "rank_models", dg.AssetSelection.assets("leaderboard"), description="All models compared."
)
write_reports = dg.define_asset_job(
    "write_reports", dg.AssetSelection.assets("model_report"), description="One model's page."
)
