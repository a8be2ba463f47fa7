"""Small audits, models and data that are made here."""

import numpy as np
import pytest
import torch
from torch import nn

from dlbench.plugins import Plugin

SHAPE = 1, 5, 5
CLASSES = 3


class Bright(nn.Module):
    """Right where the class is the number of the brightest of the first pixels; ``sure`` is its scale."""

    def __init__(self, sure=4.0):
        super().__init__()
        self.sure = nn.Parameter(torch.tensor(sure))

    def forward(self, x):
        return self.sure * x.flatten(1)[:, :CLASSES]


@pytest.fixture(scope="session")
def bright():
    """Images whose class is the number of the brightest of three pixels, but for a tenth with wrong labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(CLASSES, size=300)
    x = rng.random((300, *SHAPE), dtype=np.float32) * np.float32(0.5)
    x.reshape(300, -1)[np.arange(300), y] = 1.0
    wrong = rng.random(300) < 0.1
    y[wrong] = (y[wrong] + 1) % CLASSES
    return x, y


@pytest.fixture
def audits(monkeypatch):
    """audits(class, …) → as if these were the installed audits, by their classes' names in lower case."""
    from dlbench import plugins

    def install(*classes):
        found = {}
        for cls in classes:
            name = cls.__name__.lower()
            found[name] = Plugin(plugins.AUDITS, name, f"{cls.__module__}:{cls.__name__}", "dlbench", "1")
        real = plugins.discover

        def discover(*groups):
            return (list(found.values()), []) if plugins.AUDITS in groups else real(*groups)

        monkeypatch.setattr(plugins, "discover", discover)

    return install
