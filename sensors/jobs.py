"""The jobs that `stale_scores` asks for: assets that share their partitions share a job."""

import dagster as dg

from cellassets.reconcile.work import map_chain

score_maps = dg.define_asset_job(
    "score_maps",
    dg.AssetSelection.assets(*(dg.AssetKey(name.split("/")) for name in map_chain())),
    description="A dataset aligned, aggregated and benchmarked by one model.",
)
rank_models = dg.define_asset_job(
    "rank_models", dg.AssetSelection.assets("leaderboard"), description="All models compared."
)
write_reports = dg.define_asset_job(
    "write_reports", dg.AssetSelection.assets("model_report"), description="Pages of some models."
)
