"""What all tests of experiments share."""

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in a trial; for what a module makes once, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
