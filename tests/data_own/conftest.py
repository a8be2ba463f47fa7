"""Pictures that are written for a test."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def picture():
    """picture(path, height=8, width=8, mode="RGB", seed=0, **options) → its pixels, which are written there."""

    def write(path, height=8, width=8, mode="RGB", seed=0, **options):
        channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}[mode]
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **options)
        return pixels

    return write
