"""How long it takes to look through a data set before anything is computed from it.

Run with ``pytest tests/benchmarks/test_own_data.py -m benchmark --benchmark-enable``.
"""

import numpy as np
import pytest

from dlbench.data import own

pytestmark = pytest.mark.benchmark


def test_sixty_thousand_images_are_looked_through(benchmark):
    rng = np.random.default_rng(0)
    arrays = {"x": rng.random((60_000, 28, 28), dtype=np.float32), "y": np.arange(60_000) % 10}
    assert benchmark.pedantic(own.findings, (arrays,), rounds=5, warmup_rounds=1) == []
