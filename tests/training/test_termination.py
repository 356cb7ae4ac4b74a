"""A training that was asked to end never looks as if it had succeeded."""

import signal

import pytest
from pytorch_lightning.utilities.exceptions import SIGTERMException

from cellassets.training.termination import EXIT_STATUS, termination_as_exit


@pytest.fixture(autouse=True)
def default_handler():
    """Another test may have run Dagster in this process, which sets a handler of its own and leaves it."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_ends_the_block_with_its_status_and_the_default_returns():
    with pytest.raises(SystemExit) as ended, termination_as_exit():
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == EXIT_STATUS == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN], ids=["ours", "somebody else's"])
def test_an_exit_of_lightning_gets_a_status(handler):
    signal.signal(signal.SIGTERM, handler)
    with pytest.raises(SystemExit) as ended, termination_as_exit():
        raise SIGTERMException
    assert ended.value.code == EXIT_STATUS
    assert signal.getsignal(signal.SIGTERM) is handler, "the handler stays"


def test_another_status_stays():
    with pytest.raises(SystemExit) as ended, termination_as_exit():
        raise SystemExit(3)
    assert ended.value.code == 3
