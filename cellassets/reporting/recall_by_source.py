"""Recall source by source for the report: one table per dataset, models as rows, sources as columns."""

from typing import Any

import polars as pl

from cellassets.judging.recall_by_source import by_dataset, n_pairs


def source_section(table: pl.DataFrame, dataset_id: str, model_key: str) -> list[dict[str, Any]]:
    """Returns the tables of one dataset that a model is in, as the template fills them in: one for each protocol.

    Args:
        table: RECALL_BY_SOURCE rows of all models.
        dataset_id: the dataset.
        model_key: the model of the page; its row is marked.
    """
    found = []
    for _, sources, models in by_dataset(table.filter(pl.col("dataset_id") == dataset_id)):
        if model_key not in {model["model_key"] for model in models}:
            continue
        found.append(
            {
                "sources": [{"name": name, "n_pairs": n_pairs(models, name)} for name in sources],
                "rows": [
                    {
                        "model_key": model["model_key"],
                        "is_own": model["model_key"] == model_key,
                        "cells": [model[name] for name in sources],
                    }
                    for model in models
                ],
            }
        )
    return found
