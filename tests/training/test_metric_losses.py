"""Losses of pytorch-metric-learning, against their definitions written down with numpy."""

import numpy as np
import pytest
import torch

from cellassets.training.losses import Heads, MixedLabels
from cellassets.training.recipe import LossParameters

LABELS = np.array([0, 0, 1, 1, 2, 2, 2, 3])
N, D, N_CLASSES = len(LABELS), 6, 4
EMBEDDINGS = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


def heads(*metric_losses, **others) -> Heads:
    torch.manual_seed(0)
    parameters = LossParameters.model_validate({"cross_entropy_weight": 0, "metric_losses": metric_losses, **others})
    return Heads(parameters, embedding_dim=D, n_classes=N_CLASSES)


def loss_of(found: Heads) -> float:
    return found.loss(torch.tensor(EMBEDDINGS), torch.tensor(LABELS)).item()


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def supcon_by_hand(temperature: float) -> float:
    cosines, terms = unit(EMBEDDINGS) @ unit(EMBEDDINGS).T / temperature, []
    for i in range(N):
        others = [j for j in range(N) if j != i]
        positives = [j for j in others if LABELS[j] == LABELS[i]]
        if positives:
            denominator = np.log(sum(np.exp(cosines[i, j]) for j in others))
            terms.append(-np.mean([cosines[i, j] - denominator for j in positives]))
    return float(np.mean(terms))


def multi_similarity_by_hand(alpha: float, beta: float, base: float) -> float:
    cosines, terms = unit(EMBEDDINGS) @ unit(EMBEDDINGS).T, []
    for i in range(N):
        same = [cosines[i, j] for j in range(N) if j != i and LABELS[j] == LABELS[i]]
        other = [cosines[i, j] for j in range(N) if LABELS[j] != LABELS[i]]
        attract = np.log(1 + sum(np.exp(-alpha * (s - base)) for s in same)) / alpha
        repel = np.log(1 + sum(np.exp(beta * (s - base)) for s in other)) / beta
        terms.append(attract + repel)
    return float(np.mean(terms))


def entropy(logits: np.ndarray) -> float:
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(N), LABELS]))


def test_supcon_is_the_mean_over_anchors_that_have_a_partner():
    assert loss_of(heads({"name": "supcon", "temperature": 0.2})) == pytest.approx(supcon_by_hand(0.2), rel=1e-5)


def test_multi_similarity_is_that_of_its_paper():
    found = loss_of(heads({"name": "multi_similarity", "alpha": 2, "beta": 10, "base": 0.3}))
    assert found == pytest.approx(multi_similarity_by_hand(2, 10, 0.3), rel=1e-5)


def test_cosface_subtracts_the_margin_from_the_own_cosine():
    found = heads({"name": "cosface", "margin": 0.25, "scale": 10})
    cosines = unit(EMBEDDINGS) @ unit(found.metric[0].computed.W.detach().numpy().T).T
    cosines[np.arange(N), LABELS] -= 0.25
    assert loss_of(found) == pytest.approx(entropy(10 * cosines), rel=1e-5)


def test_subcentre_arcface_takes_the_nearest_direction_of_each_class_and_a_margin_in_radians():
    found = heads({"name": "subcentre_arcface", "margin_rad": 0.3, "scale": 10, "n_subcentres": 2})
    directions = unit(found.metric[0].computed.W.detach().numpy().T)
    cosines = (unit(EMBEDDINGS) @ directions.T).reshape(N, N_CLASSES, 2).max(axis=2)
    own = cosines[np.arange(N), LABELS]
    cosines[np.arange(N), LABELS] = np.cos(np.arccos(own) + 0.3)
    assert loss_of(found) == pytest.approx(entropy(10 * cosines), rel=1e-4)


def test_losses_add_up_by_their_weights():
    alone = [loss_of(heads({"name": "supcon"})), loss_of(heads({"name": "multi_similarity"}))]
    both = loss_of(heads({"name": "supcon", "weight": 0.3}, {"name": "multi_similarity", "weight": 2}))
    assert both == pytest.approx(0.3 * alone[0] + 2 * alone[1], rel=1e-5)


def test_without_class_scores_sites_are_given_to_the_class_with_the_nearest_centre():
    found = heads({"name": "supcon"})
    embeddings, labels = torch.tensor(EMBEDDINGS), torch.tensor(LABELS)
    found.loss(embeddings, labels)
    found.loss(embeddings[:4], labels[:4])
    sums = np.stack([unit(EMBEDDINGS)[label == LABELS].sum(axis=0) for label in range(N_CLASSES)])
    sums[:2] *= 1.9  # 0.9 of the first batch, and the same sites in the second one; classes 2 and 3 stay
    np.testing.assert_allclose(found.centres.numpy(), sums, rtol=1e-5)
    np.testing.assert_allclose(found.scores(embeddings).numpy(), unit(EMBEDDINGS) @ unit(sums).T, atol=1e-6)


def test_losses_with_class_scores_need_no_centres():
    assert heads({"name": "cosface"}, {"name": "supcon"}).centres is None
    assert "centres" not in heads(cross_entropy_weight=1).state_dict(), "states of earlier versions stay readable"


def test_scores_come_from_the_directions_of_the_loss():
    found = heads({"name": "cosface", "scale": 10})
    cosines = unit(EMBEDDINGS) @ unit(found.metric[0].computed.W.detach().numpy().T).T
    scores = found.scores(torch.tensor(EMBEDDINGS)).detach().numpy()
    np.testing.assert_array_equal(scores.argmax(axis=1), cosines.argmax(axis=1))


def test_mixed_precision_leaves_the_directions_in_float32():
    found = heads({"name": "cosface"}, {"name": "supcon"})
    with torch.autocast("cpu", torch.bfloat16):
        found.loss(torch.tensor(EMBEDDINGS).bfloat16(), torch.tensor(LABELS)).backward()
    assert found.metric[0].computed.W.dtype == torch.float32


@pytest.mark.parametrize("weights", [{"cross_entropy_weight": 1}, {"cross_entropy_weight": 0, "arcface_weight": 1}])
def test_the_loss_of_mixed_images_is_that_of_both_labels_by_their_shares(weights):
    found, embeddings = heads(**weights, label_smoothing=0.1), torch.tensor(EMBEDDINGS)
    own, other = torch.tensor(LABELS), torch.tensor(LABELS[::-1].copy())
    rows = [(found.loss(embeddings[i : i + 1], own[i : i + 1]), found.loss(embeddings[i : i + 1], other[i : i + 1]))
            for i in range(N)]  # fmt: skip
    shares = np.linspace(0, 1, N)
    expected = np.mean([share * a.item() + (1 - share) * b.item() for share, (a, b) in zip(shares, rows, strict=True)])
    mixed = MixedLabels(other, torch.tensor(shares, dtype=torch.float32))
    assert found.loss(embeddings, own, mixed).item() == pytest.approx(expected, rel=1e-5)
