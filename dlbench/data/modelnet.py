"""ModelNet's meshes as clouds of points (Wu et al., CVPR 2015): furniture and other things in 10 or 40 classes.

The publishers' archive unpacks to ``ModelNet10/CLASS/train/CLASS_0001.off`` and so on (PyTorch Geometric's ``ModelNet``
keeps the same tree in its folder ``raw``). It lies in the folder ``modelnet`` of the data root. From every mesh points
are drawn, evenly over its surface, always the same ones; a cloud's centre is the origin and its farthest point at 1.

The arrays, for n meshes of the training or the test part:
    train_x, test_x   [n, 2048, 3] float32
    train_y, test_y   [n] int64, the number of the class in alphabetical order
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench.data import Dataset, root
from dlbench.errors import DataDamaged

POINTS = 2048  # of each mesh


def modelnet(classes: int) -> Dataset:
    """The data set of ModelNet10 or ModelNet40."""
    name = f"ModelNet{classes}"

    def files() -> Sequence[Path]:
        folder = root() / "modelnet" / name
        return sorted(folder.glob("*/train/*.off")) + sorted(folder.glob("*/test/*.off")) or [folder / "CLASS/train"]

    return Dataset(
        files=files,
        read=lambda: read(files()),
        about=f"{name}, meshes of things: unpack {name}.zip (modelnet.cs.princeton.edu) into the folder modelnet of "
        "DLBENCH_DATA.",
    )


def read(files: Sequence[Path]) -> Mapping[str, NDArray[Any]]:
    """The arrays that the module's docstring lists, from meshes whose folders tell class and part."""
    number = {name: i for i, name in enumerate(sorted({path.parent.parent.name for path in files}))}
    arrays: dict[str, NDArray[Any]] = {}
    for part in ("train", "test"):
        of_part = [path for path in files if path.parent.name == part]
        if not of_part:
            raise DataDamaged(f"{files[0].parents[2]} has no meshes in folders {part}; unpack the archive again")
        clouds = [
            cloud(path, np.random.default_rng([number[path.parent.parent.name], i])) for i, path in enumerate(of_part)
        ]
        arrays[f"{part}_x"] = np.stack(clouds)
        arrays[f"{part}_y"] = np.array([number[path.parent.parent.name] for path in of_part], np.int64)
    return arrays


def cloud(path: Path, rng: np.random.Generator) -> NDArray[np.float32]:
    """Points [POINTS, 3] drawn evenly over a mesh's surface, centred, the farthest at distance 1."""
    vertices, triangles = read_off(path)
    corners = vertices[triangles]  # [T, 3, 3]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if not areas.sum() > 0:
        raise DataDamaged(f"{path} has no surface; get it again")
    chosen = corners[rng.choice(len(areas), POINTS, p=areas / areas.sum())]
    shares = rng.dirichlet(np.ones(3), POINTS)  # evenly over a triangle
    points = (shares[:, :, None] * chosen).sum(axis=1)
    points -= points.mean(axis=0)
    return np.asarray(points / np.linalg.norm(points, axis=1).max(), np.float32)


def read_off(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices [V, 3] and triangles [T, 3] of a mesh in the OFF format; a polygon becomes a fan of triangles.

    Some of ModelNet40's files have the counts on the first line, right behind ``OFF``.

    Raises:
        DataDamaged: it is not such a file, or is cut off, or names a vertex that is not there.
    """
    try:
        text = path.read_text(encoding="ascii").lstrip()
        if not text.startswith("OFF"):
            raise ValueError("it does not begin with OFF")
        words = text[3:].split()
        vertex_count, face_count = int(words[0]), int(words[1])
        end = 3 + 3 * vertex_count
        vertices = np.array(words[3:end], np.float64).reshape(vertex_count, 3)
        triangles = _triangles(np.array(words[end:], np.float64).astype(np.int64), face_count)
        if triangles.size and not (triangles.min() >= 0 and triangles.max() < vertex_count):
            raise ValueError(f"a face names a vertex beyond its {vertex_count}")
        if not np.isfinite(vertices).all():
            raise ValueError("a vertex is not finite")
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as problem:
        raise DataDamaged(f"{path} was not read: {problem}. It is damaged, or no OFF file; get it again") from problem
    return vertices, triangles


def _triangles(numbers: NDArray[np.int64], faces: int) -> NDArray[np.int64]:
    """Of faces that follow one another, each the number of its corners and then the corners."""
    if numbers.size == 4 * faces and (numbers[::4] == 3).all():  # as good as always
        return numbers.reshape(faces, 4)[:, 1:]
    triangles: list[tuple[int, int, int]] = []
    at = 0
    for _ in range(faces):
        corners = numbers[at + 1 : at + 1 + numbers[at]]
        if corners.size < numbers[at] or corners.size < 3:
            raise ValueError("a face is cut off")
        triangles += [(corners[0], a, b) for a, b in pairwise(corners[1:])]
        at += 1 + corners.size
    return np.array(triangles, np.int64).reshape(-1, 3)


MODELNET10 = modelnet(10)
MODELNET40 = modelnet(40)
