import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """The networks here are tiny: threads cost more than they give, above all beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
