"""Declarations that say nothing, or have names that are misspelt or unknown, are refused."""

import pytest
from upath import UPath

from cellassets.errors import ConfigError
from cellassets.registry.lineage import TrainedOn
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.declaring import declare, read_declaration
from cellassets.stages.models import seen_of
from cellassets.synthetic.embeddings import SimulatedWells


@pytest.fixture
def write(tmp_path):
    """Writes a declaration: `write("experiments: [SIM-1]")`."""

    def write(text):
        path = UPath(tmp_path / "trained_on.yaml")
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="module")
def with_network(tmp_path_factory, empty_home, simulated_deployment_at):
    """The experiments SIM-1 and SIM-2 of the cell type SIM landed; `network.v1` comes from elsewhere."""
    home = tmp_path_factory.mktemp("declaring") / "home"
    design = SimulatedWells(seed=1, n_batches=2, n_complexes=2, n_lone_genes=2)
    made = simulated_deployment_at(home, design, models=None, registry=empty_home)
    made.register("network")
    made.registry.client().set_model_version_tag("network", "1", "kind", "network")
    return made


@pytest.mark.parametrize("text", ["", "{}", "validation_experiments: [SIM-1]", "perturbations: [TP53]"])
def test_a_file_that_does_not_say_what_was_trained_on_is_refused(write, text):
    with pytest.raises(
        ConfigError, match=r"trained_on\.yaml: declares .*Write `experiments: \[\]` for a model that nothing"
    ):
        read_declaration(write(text))


def test_nothing_is_declared_explicitly(write):
    assert read_declaration(write("experiments: []")) == TrainedOn()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("experiments: ['SIM-1 ']", "experiments: 'SIM-1 ' is empty or has blanks at its ends"),
        ("experiments: ['']", "experiments: '' is empty"),
        ("experiments: []\nvalidation_experiments: [SIM/1]", "validation_experiments: 'SIM/1' cannot be an experiment"),
        ("cell_types: [' SIM']", "cell_types: ' SIM' is empty or has blanks"),
        ("experiments: []\nperturbations: [TP53, MYC, TP53]", "perturbations: 'TP53' is listed 2 times"),
        ("experiments: []\nexperiments: [SIM-1]", "line 2: the key 'experiments' is in line 1 already"),
    ],
)
def test_names_that_nothing_can_have_are_refused_with_the_flag_too(with_network, write, text, says):
    with pytest.raises(ConfigError) as refusal:
        declare(open_snapshot(with_network.deployment), "network.v1", write(text), has_elsewhere=True)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("experiments: [SIM1]", "experiment 'SIM1' did not land here (similar: SIM-1, SIM-2)"),
        ("experiments: [sim-2]", "experiment 'sim-2' did not land here (similar: SIM-2"),
        ("experiments: [HEPG2-07]", "experiment 'HEPG2-07' did not land here (landed: SIM-1, SIM-2)"),
        ("experiments: []\nvalidation_experiments: [SIM_1]", "experiment 'SIM_1' did not land here (similar: SIM-1"),
        ("cell_types: [sim]", "cell type 'sim' is written 'SIM' here"),
        ("cell_types: [S im]", "cell type 'S im' is written 'SIM' here"),
    ],
)
def test_names_that_are_not_known_here_are_refused_unless_they_are_from_elsewhere(
    with_network, tmp_path, write, text, says
):
    made = with_network.copy(tmp_path / "home")
    with pytest.raises(ConfigError) as refusal:
        declare(open_snapshot(made.deployment), "network.v1", write(text))
    assert says in str(refusal.value)
    assert "add --elsewhere" in str(refusal.value)
    assert not seen_of(open_snapshot(made.deployment), "network.v1").is_known, "nothing was declared"
    change = declare(open_snapshot(made.deployment), "network.v1", write(text), has_elsewhere=True)
    assert [line[: len(says)] for line in change.from_elsewhere] == [says]


def test_known_names_and_cell_types_that_are_not_here_are_declared(with_network, tmp_path, write):
    made = with_network.copy(tmp_path / "home")
    change = declare(
        open_snapshot(made.deployment), "network.v1", write("experiments: [SIM-1]\ncell_types: [HEPG2, SIM]")
    )
    assert (change.before, change.now) == ("not declared", "SIM-1; cell types from elsewhere HEPG2, SIM")
    assert change.from_elsewhere == ()
    assert seen_of(open_snapshot(made.deployment), "network.v1").training == {"SIM-1"}
