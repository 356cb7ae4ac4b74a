"""The loss between student and teacher, how the teacher follows, and what a collapse looks like."""

import math

import numpy as np
import pytest
import torch

from cellassets.training.augmentation import draw
from cellassets.training.backbone import build_network
from cellassets.training.extras import Extras
from cellassets.training.recipe import NetworkRecipe, ResNetBackbone, SelfDistillation
from cellassets.training.self_distillation import (
    SelfDistiller,
    distillation_loss,
    information,
    normalised_std,
    teacher_momentum,
    teacher_temperature,
)

OBJECTIVE = SelfDistillation(n_prototypes=6, hidden_dim=8, bottleneck_dim=4, teacher_momentum=0.8)


def distiller(n_steps=10):
    backbone = ResNetBackbone(stem_width=4, widths=(4,), depths=(1,))
    network = build_network(backbone, n_channels=2, embedding_dim=3, trained_px=16, seed=0)
    return network, SelfDistiller(OBJECTIVE, network, embedding_dim=3, n_steps=n_steps)


def test_the_loss_is_the_mean_cross_entropy_over_pairs_of_different_crops():
    generator = np.random.default_rng(0)
    student, told = generator.standard_normal((4, 5, 7)), generator.standard_normal((2, 5, 7))
    teacher = np.exp(told) / np.exp(told).sum(axis=2, keepdims=True)
    log_student = student - np.log(np.exp(student).sum(axis=2, keepdims=True))
    pairs = [(large, view) for large in range(2) for view in range(4) if large != view]
    expected = np.mean([-(teacher[large] * log_student[view]).sum(axis=1).mean() for large, view in pairs])
    assert len(pairs) == 6
    assert distillation_loss(torch.tensor(student), torch.tensor(teacher)).item() == pytest.approx(expected)


def test_the_teacher_follows_the_formula_once_per_step():
    network, module = distiller(n_steps=4)
    weight = module.teacher.neck[0].weight
    expected = weight.clone()
    for n in range(3):
        with torch.no_grad():
            network.neck[0].weight += 1 + n
            module.head.prototypes += 1
        module.follow(network, n + 1)
        module.follow(network, n + 1)  # a batch without an optimiser step
        momentum = 1 - 0.2 * (1 + math.cos(math.pi * n / 4)) / 2
        expected = momentum * expected + (1 - momentum) * network.neck[0].weight.detach()
    torch.testing.assert_close(weight, expected)
    assert not torch.equal(module.teacher_head.prototypes, module.head.prototypes)
    assert int(module.n_updates) == 3
    assert not any(one.requires_grad for one in module.teacher.parameters())


def test_momentum_rises_to_1_and_the_temperature_warms_up():
    assert [teacher_momentum(frac, OBJECTIVE) for frac in (0.0, 0.5, 1.0)] == pytest.approx([0.8, 0.9, 1])
    warm = OBJECTIVE.model_copy(update={"teacher_temperature": 0.08, "temperature_warmup_frac": 0.5})
    assert [teacher_temperature(frac, warm) for frac in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(
        [0.04, 0.06, 0.08, 0.08]
    )


def test_centring_removes_what_all_answers_have_in_common():
    _, module = distiller()
    module.centre = torch.tensor([3.0, 0, 0, 0, 0, 0])
    even = module.probabilities(torch.tensor([[3.0, 0, 0, 0, 0, 0]]))
    torch.testing.assert_close(even, torch.full((1, 6), 1 / 6))
    module._follow_centre(torch.ones(2, 4, 6))
    torch.testing.assert_close(module.centre, torch.tensor([2.8, 0.1, 0.1, 0.1, 0.1, 0.1]))


def test_sites_that_are_all_alike_show_in_both_monitors():
    generator = torch.Generator().manual_seed(0)
    everywhere = torch.randn(500, 64, generator=generator)
    assert normalised_std(everywhere) == pytest.approx(1, abs=0.02)
    assert normalised_std(torch.ones(9, 64)) == pytest.approx(0, abs=1e-3)
    assert information(torch.eye(4)) == pytest.approx(math.log(4))
    assert information(torch.full((4, 8), 1 / 8)) == pytest.approx(0, abs=1e-6)
    assert information(torch.eye(8)[[2, 2, 2]]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("objective", "sides"), [({}, [32, 16, 16, 16, 16]), ({"local_crop_px": 20, "n_local_crops": 1}, [32, 20])]
)
def test_small_crops_have_their_own_size_and_draws_of_their_own(objective, sides):
    recipe = NetworkRecipe.model_validate(
        {
            "name": "r",
            "train_experiments": ["A"],
            "validation_experiments": ["B"],
            "objective": {"name": "self_distillation", **objective},
            "augmentation": {"crop_px": 32, "gain_jitter": 0.2},
        }
    )
    views = Extras(recipe).views(64, 64)
    assert [view.crop_px for view in views] == sides
    generator = np.random.default_rng(0)
    drawn = [draw(generator, 3, parameters=view, site_shape=(2, 64, 64)) for view in views]
    assert not np.array_equal(drawn[0].gain, drawn[1].gain)
