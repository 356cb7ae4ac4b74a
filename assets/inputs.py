"""Inputs of assets that Dagster does not make: landed folders, registered models, sets of partitions.

Sensors report the present version of each partition. An asset depends on exactly one partition, whose version covers
all of its inputs. So a partition is unsynced in Dagster's UI when it is due in `reconcile`. With a dependency on 'all
experiments' the map of one cell type would become unsynced whenever an experiment of another cell type is made.
"""

import dagster as dg

from cellassets.stages.benchmark import benchmark_stages
from resources.partitions import BENCHMARK, DATASET_MODEL, EXPERIMENT, MODEL, RECIPE, SEARCH

SAME_MODEL = dg.MultiPartitionMapping({"model": dg.DimensionPartitionMapping("model", dg.IdentityPartitionMapping())})

landed_experiment = dg.AssetSpec(
    "landed_experiment",
    partitions_def=EXPERIMENT,
    group_name="plates",
    owners=["team:data-engineering"],
    kinds={"file"},
    description="A complete folder in the landing zone. Its version changes with the folder and the ingest policy.",
)
training_data = dg.AssetSpec(
    "training_data",
    deps=[
        dg.AssetDep("plate_store", partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep("plate_quality", partition_mapping=dg.AllPartitionMapping()),
    ],
    partitions_def=RECIPE,
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"yaml"},
    description="A recipe file with the stored experiments that it names. Reported once all of them are stored.",
)
variant_results = dg.AssetSpec(
    "variant_results",
    deps=[dg.AssetDep("checkpoint", partition_mapping=dg.AllPartitionMapping())],
    partitions_def=SEARCH,
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"yaml"},
    description="A recipe file with a search, and the results of its variants that ended.",
)
registered_model = dg.AssetSpec(
    "registered_model",
    deps=[dg.AssetDep("checkpoint", partition_mapping=dg.AllPartitionMapping())],
    partitions_def=MODEL,
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"mlflow"},
    description="A model version in MLflow, trained here or registered by somebody else.",
)
dataset_embeddings = dg.AssetSpec(
    "dataset_embeddings",
    deps=[
        dg.AssetDep("site_embeddings", partition_mapping=SAME_MODEL),
        dg.AssetDep("plate_quality", partition_mapping=dg.AllPartitionMapping()),
    ],
    partitions_def=DATASET_MODEL,
    group_name="maps",
    owners=["team:computational-biology"],
    kinds={"parquet"},
    description=(
        "Embeddings (by one model) and quality of exactly the experiments in a dataset, with the settings of the map. "
        "Reported once all of them are published."
    ),
)
benchmark_settings = dg.AssetSpec(
    "benchmark_settings",
    partitions_def=BENCHMARK,
    group_name="benchmarks",
    owners=["team:computational-biology"],
    kinds={"yaml"},
    description="Parameters of a benchmark, and the annotations that it reads.",
)
hit_settings = dg.AssetSpec(
    "hit_settings",
    group_name="maps",
    owners=["team:computational-biology"],
    kinds={"yaml"},
    description="Parameters of calling hits and of the benchmarks that it uses, and the annotations that these read.",
)
judged_scores = dg.AssetSpec(
    "judged_scores",
    deps=[dg.AssetKey(stage.name.split("/")) for stage in benchmark_stages()],
    group_name="reports",
    owners=["team:machine-learning"],
    kinds={"parquet"},
    description="All published scores, and which of them are current: the inputs of the leaderboard.",
)
INPUTS = [
    judged_scores,
    landed_experiment,
    training_data,
    variant_results,
    registered_model,
    dataset_embeddings,
    benchmark_settings,
    hit_settings,
]
