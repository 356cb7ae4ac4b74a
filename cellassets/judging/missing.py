"""Why two models could not be compared on a dataset, in words."""

import polars as pl

from cellassets.judging.leaderboard import IS_UNSEEN


def why_not_compared(scores: pl.DataFrame, benchmark_name: str, dataset_id: str, models: tuple[str, str]) -> str:
    """Returns the reason why there is no comparison of two models by a benchmark on a dataset.

    Args:
        scores: SCORES rows of both models that are current.
        benchmark_name: the benchmark.
        dataset_id: the dataset.
        models: keys of the two models.
    """
    own = scores.filter(pl.col("benchmark_name") == benchmark_name, pl.col("dataset_id") == dataset_id)
    start = f"{benchmark_name} on {dataset_id}:"
    for model_key in models:
        rows = own.filter(pl.col("model_key") == model_key)
        if rows.is_empty():
            return (
                f"{start} no scores of {model_key} that can be compared; backfill the benchmark, or name the "
                "`datasets` that guards compare on"
            )
        if rows.filter(IS_UNSEEN).is_empty():
            seen = ", ".join(sorted(set(rows["exposure"])))
            return (
                f"{start} {model_key} has no score on wells that it has not seen ({seen}); land experiments that it "
                "was not trained on, or declare what it was trained on by `cellassets model declare`"
            )
    return (
        f"{start} there are no wells that neither model has seen, or too few, or all known pairs share one gene; land "
        "experiments that are new to both, or add annotations"
    )
