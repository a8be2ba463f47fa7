"""What tests of the kernels share."""

import pytest

from dlbench.ops import status


@pytest.fixture
def cuda_kernels():
    """Skips a test where the operators have no kernels for a GPU."""
    if "cuda" not in status().devices:
        pytest.skip(f"no kernels for CUDA: {status()}")
