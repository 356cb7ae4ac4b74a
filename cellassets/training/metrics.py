"""Accuracy on held-out experiments that does not depend on class sizes, and the accuracy expected by chance."""

import numpy as np
from jaxtyping import Int


def balanced_accuracy(labels: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"]) -> float:
    """Returns the fraction of correct predictions of each class that occurs in `labels`, averaged over these classes.

    A guess that does not use the images has the expectation 1 / number of classes, whatever the class sizes.

    Source: Brodersen et al. 2010, The balanced accuracy and its posterior distribution.
    """
    n_rows = np.bincount(labels)
    n_right = np.bincount(labels, weights=labels == predicted, minlength=len(n_rows))
    occurs = n_rows > 0
    return float(np.mean(n_right[occurs] / n_rows[occurs]))


def validation_metrics(
    labels: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], *, batches: Int[np.ndarray, "n"], names: list[str]
) -> dict[str, float]:
    """Returns accuracies on held-out sites, over all batches and for each batch, each with its chance level.

    Args:
        labels: true class.
        predicted: predicted class.
        batches: index into `names` of the experiment that the site is from.
        names: held-out experiments.
    """
    metrics = {
        "validation_accuracy": balanced_accuracy(labels, predicted),
        "validation_top1": float(np.mean(labels == predicted)),
        "chance_accuracy": 1 / len(np.unique(labels)),
    }
    for index in np.unique(batches):
        rows = batches == index
        metrics[f"validation_accuracy/{names[index]}"] = balanced_accuracy(labels[rows], predicted[rows])
        metrics[f"chance_accuracy/{names[index]}"] = 1 / len(np.unique(labels[rows]))
    return metrics
