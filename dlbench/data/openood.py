"""OpenOOD v1.5's benchmark for CIFAR-10: six sets of images that a classifier of CIFAR-10 has not seen.

Zhang et al. 2023, arXiv:2306.09301. Near are CIFAR-100 and Tiny ImageNet, far MNIST, SVHN, Textures and Places365.
Which images count is said by the lists of its authors, which leave out what shows CIFAR-10's classes; published numbers
hold for these lists alone. Layout and sizes as in github.com/Jingkang50/OpenOOD (openood/evaluation_api): a list has a
line an image, its path below ``images_classic`` and a label that is not used here. Images are made 32 × 32 as there:
the shorter side brought to 32 pixels (bilinear), and the middle square kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlbench.data import Dataset, pictures, root
from dlbench.data.images import Arrays, damaged

NEAR = ("cifar100", "tin")
FAR = ("mnist", "svhn", "texture", "places365")
SIDE = 32


def listed(name: str) -> Path:
    """Where the list of one of the sets lies."""
    return root() / "openood" / "benchmark_imglist" / "cifar10" / f"test_{name}.txt"


def paths(name: str) -> Sequence[Path]:
    """The images of one of the sets, in the order of its list."""
    path, folder = listed(name), root() / "openood" / "images_classic"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        damaged(path, error)
    names = [line.rsplit(" ", 1) for line in lines if line.strip()]
    wrong = next((i for i, parts in enumerate(names) if len(parts) != 2 or ".." in Path(parts[0]).parts), None)
    if wrong is not None or not names:
        damaged(path, "it is empty" if wrong is None else f"image {wrong + 1} of it is not a path and a label")
    return [folder / name for name, _ in names]


def _files() -> Sequence[Path]:
    """The lists, and the images that they name."""
    lists = [listed(name) for name in (*NEAR, *FAR)]
    if not all(path.is_file() for path in lists):
        return lists
    return [*lists, *(path for name in (*NEAR, *FAR) for path in paths(name))]


def _read() -> Arrays:
    return {name: pictures.read(paths(name), SIDE, middle) for name in (*NEAR, *FAR)}


def middle(width: int, height: int) -> pictures.Box:
    """What is left of an image whose shorter side was brought to SIDE pixels, and whose middle square was kept."""
    short = min(width, height)
    sides = [SIDE * side // short for side in (width, height)]  # whole pixels, as torchvision's Resize has it
    left, upper = (round((side - SIDE) / 2) for side in sides)
    across, down = width / sides[0], height / sides[1]
    return left * across, upper * down, (left + SIDE) * across, (upper + SIDE) * down


OPENOOD_CIFAR10 = Dataset(
    _files,
    _read,
    "OpenOOD v1.5's sets for CIFAR-10, bytes [n, 3, 32, 32] of each of cifar100, tin, mnist, svhn, texture and "
    "places365. Put its folders benchmark_imglist and images_classic (its script scripts/download/download.py fetches "
    "them) into DLBENCH_DATA/openood, so that there are images_classic/cifar100, images_classic/tin and so on.",
)
