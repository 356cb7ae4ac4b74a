"""The jobs that `stale_scores` asks for: assets that share their partitions share a job."""

import dagster as dg

from cellassets.reconcile.work import map_chain

score_maps = dg.define_asset_job(
    "score_maps",
    dg.AssetSelection.assets(*(dg.AssetKey(name.split("/")) for name in map_chain())),
    description="Aligns, aggregates and benchmarks a dataset with one model.",
)
rank_models = dg.define_asset_job(
    "rank_models", dg.AssetSelection.assets("leaderboard"), description="Compares all models."
)
write_reports = dg.define_asset_job(
    "write_reports", dg.AssetSelection.assets("model_report"), description="Writes the report pages of some models."
)
