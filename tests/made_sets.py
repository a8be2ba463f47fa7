"""Tiny sets in the formats that publishers use, written where DLBENCH_DATA points."""

import io
import pickle
import struct

import numpy as np
from PIL import Image

from dlbench.data import cifar, openood


class Python2Pickler(pickle._Pickler):
    """Writes the publishers' format: bytes as Python 2 wrote its text, and numpy's modules as the numpy of then."""

    def __init__(self, file):
        super().__init__(file, protocol=2)

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    def save_global(self, value, name=None):
        if getattr(value, "__name__", "") == "_reconstruct":
            self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
        else:
            super().save_global(value, name)

    dispatch = {
        **pickle._Pickler.dispatch,
        bytes: save_bytes,
        type(lambda: 0): save_global,
        type(len): save_global,
    }


def cifar10(folder, rng, *, train=100, test=100):
    """CIFAR-10's six batches; images of a class have its number as their brightness, more or less."""
    place = folder / "cifar10" / "cifar-10-batches-py"
    place.mkdir(parents=True)
    tests = None
    for name, n in (*((f"data_batch_{i}", train // 5) for i in range(1, 6)), ("test_batch", test)):
        y = np.arange(n) % 10
        x = np.clip(20 * y[:, None] + rng.integers(0, 60, (n, 3072)), 0, 255).astype(np.uint8)
        batch = io.BytesIO()
        Python2Pickler(batch).dump({"data": x, "labels": y.tolist()})
        (place / name).write_bytes(batch.getvalue())
        tests = x.reshape(-1, 3, 32, 32), y
    return tests


def cifar10_c(folder, tests):
    """CIFAR-10-C's files, each severity darker; zeros after the test images that there are, as the files are sparse."""
    place = folder / "cifar10_c" / "CIFAR-10-C"
    place.mkdir(parents=True)
    x, y = tests
    labels = np.lib.format.open_memmap(place / "labels.npy", "w+", np.uint8, (50_000,))
    for severity in range(5):
        labels[severity * cifar.TEST :][: len(y)] = y
    for kind in cifar.KINDS:
        images = np.lib.format.open_memmap(place / f"{kind}.npy", "w+", np.uint8, (50_000, 32, 32, 3))
        for severity in range(5):
            images[severity * cifar.TEST :][: len(x)] = x.transpose(0, 2, 3, 1) * (0.9 - 0.15 * severity)
    return place


def cifar10h(folder, rng):
    """CIFAR-10H's shares."""
    (folder / "cifar10h").mkdir()
    counts = rng.multinomial(50, np.full(10, 0.1), size=10_000)
    counts[::2] = 50 * np.eye(10, dtype=int)[np.arange(5_000) % 10]  # of every other image all say the same
    np.save(folder / "cifar10h" / "cifar10h-probs.npy", counts / 50)
    return folder / "cifar10h" / "cifar10h-probs.npy"


def openood_cifar10(folder, rng, *, each=6):
    """OpenOOD's lists and images, of several formats and sizes."""
    shapes = {
        "cifar100": (32, 32),
        "tin": (64, 64),
        "mnist": (28, 28),
        "svhn": (32, 32),
        "texture": (75, 50),
        "places365": (40, 61),
    }
    lists = folder / "openood" / "benchmark_imglist" / "cifar10"
    lists.mkdir(parents=True)
    for name in (*openood.NEAR, *openood.FAR):
        ending = "jpg" if name in ("texture", "places365") else "png"
        place = folder / "openood" / "images_classic" / name / "a class"
        place.mkdir(parents=True)
        lines = []
        for i in range(each):
            width, height = shapes[name]
            shape = (height, width) if name == "mnist" else (height, width, 3)
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(place / f"{i}.{ending}")
            lines.append(f"{name}/a class/{i}.{ending} -1")
        (lists / f"test_{name}.txt").write_text("\n".join(lines) + "\n")
    return folder / "openood"
