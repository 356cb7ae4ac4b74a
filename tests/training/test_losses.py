import numpy as np
import pytest
import torch

from cellassets.training.losses import Heads, arcface_logits
from cellassets.training.recipe import LossParameters

MARGIN, SCALE = 0.4, 20.0


def arcface_by_angles(cosines: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The definition, by angles and row by row; nothing of the implementation is used."""
    logits = SCALE * cosines
    for row, label in enumerate(labels):
        angle = np.arccos(cosines[row, label])
        inside = angle + MARGIN <= np.pi
        own = np.cos(angle + MARGIN) if inside else np.cos(angle) - MARGIN * np.sin(MARGIN)
        logits[row, label] = SCALE * own
    return logits


def test_arcface_adds_the_margin_to_the_angle_of_the_own_class():
    generator = np.random.default_rng(0)
    cosines, labels = generator.uniform(-0.999, 0.999, (200, 7)), generator.integers(0, 7, 200)
    found = arcface_logits(torch.tensor(cosines), torch.tensor(labels), margin_rad=MARGIN, scale=SCALE)
    np.testing.assert_allclose(found.numpy(), arcface_by_angles(cosines, labels), atol=1e-9)


def test_arcface_of_an_orthogonal_embedding_is_minus_sine_of_the_margin():
    found = arcface_logits(torch.zeros(1, 3), torch.tensor([1]), margin_rad=MARGIN, scale=1.0)
    np.testing.assert_allclose(found.numpy(), [[0, -np.sin(MARGIN), 0]], atol=1e-6)


def test_arcface_has_a_finite_gradient_where_embedding_and_class_coincide():
    cosines = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    arcface_logits(cosines, torch.tensor([0, 0]), margin_rad=MARGIN, scale=SCALE).sum().backward()
    assert torch.isfinite(cosines.grad).all()


def test_the_loss_is_the_weighted_sum_of_both():
    torch.manual_seed(0)
    both = LossParameters(cross_entropy_weight=0.8, arcface_weight=0.2, arcface_margin_rad=MARGIN, arcface_scale=SCALE)
    heads = Heads(both, embedding_dim=5, n_classes=4).double()
    embeddings, labels = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])

    def entropy(logits: np.ndarray) -> float:
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -float(np.mean(log_probabilities[np.arange(6), labels.numpy()]))

    unit = [
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in (embeddings.numpy(), heads.directions.detach().numpy())
    ]
    linear = embeddings.numpy() @ heads.linear.weight.detach().numpy().T + heads.linear.bias.detach().numpy()
    expected = 0.8 * entropy(linear) + 0.2 * entropy(arcface_by_angles(unit[0] @ unit[1].T, labels.numpy()))
    assert heads.loss(embeddings, labels).item() == pytest.approx(expected, rel=1e-9)


def test_a_weight_of_zero_leaves_a_loss_out():
    torch.manual_seed(0)
    heads = Heads(LossParameters(cross_entropy_weight=0, arcface_weight=1), embedding_dim=5, n_classes=4)
    heads.loss(torch.randn(3, 5), torch.tensor([0, 1, 2])).backward()
    assert heads.linear.weight.grad is None
    assert heads.directions.grad is not None
