"""What all tests of experiments share.

That the same seed gives the same rows is held for each of them by the conformance suite, in two processes; the tests
that hold it within this one are slow.
"""

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in a trial; for what a module makes once, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
