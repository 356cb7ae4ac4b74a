"""What `recipe check --home` refuses because the training would refuse it."""

import pytest

from cellassets.errors import RecipeError
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.training_inputs import check_fit
from cellassets.training.checkpoint import read_spec
from cellassets.training.recipe import NetworkRecipe


@pytest.fixture
def checked(screen, tmp_path):
    """Compares a recipe that starts from random.v1 with the screen."""
    spec = read_spec(screen.registry.fetch("random.v1", tmp_path / "fetched"))
    fitting = {
        "name": "tuned",
        "train_experiments": ["HUVEC-1"],
        "validation_experiments": ["HUVEC-2"],
        "backbone": spec.backbone,
        "embedding_dim": spec.embedding_dim,
        "start_from": "random.v1",
    }

    def check(**changes):
        recipe = NetworkRecipe.model_validate({**fitting, **changes})
        return check_fit(open_snapshot(screen.deployment), recipe, source="tuned.yaml")

    return check


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"embedding_dim": 3},
            r"tuned\.yaml: start_from: embedding_dim of random\.v1 is \d+, .* recipe is 3",
        ),
        ({"start_from": "four.v1"}, r"start_from: n_channels of four\.v1 is 4, that of this recipe is 6"),
        ({"frozen": ("nothing.*",)}, r"frozen: 'nothing\.\*' matches none of the weights"),
        ({"frozen": ("*",)}, r"frozen: \* match all weights of the network: nothing would be trained"),
    ],
)
def test_a_start_that_the_training_refuses_is_refused_before_it(checked, changes, words):
    with pytest.raises(RecipeError, match=words):
        checked(**changes)


def test_a_fitting_start_with_a_frozen_backbone_is_accepted(checked):
    assert checked(frozen=("backbone.*",)) == ""
