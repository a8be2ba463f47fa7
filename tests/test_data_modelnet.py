"""ModelNet's files: a made tree in the same layout, meshes in every form that occurs, and files that are damaged."""

import os
from pathlib import Path

import numpy as np
import pytest

from dlbench.data import modelnet
from dlbench.errors import DataDamaged, DataMissing

CUBE = np.array([(x, y, z) for x in (0, 2) for y in (0, 2) for z in (0, 2)])
SQUARES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def off(vertices, faces, header="OFF\n"):
    lines = [f"{len(vertices)} {len(faces)} 0"]
    lines += [" ".join(map(str, vertex)) for vertex in vertices]
    lines += [" ".join(map(str, (len(face), *face))) for face in faces]
    return header + "\n".join(lines) + "\n"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Two classes, three meshes to train on and two to test on."""
    triangle = off([(0, 0, 0), (4, 0, 0), (0, 4, 0)], [(0, 1, 2)])
    for name, text in {
        "bed/train/bed_0001": off(CUBE, SQUARES),
        "bed/train/bed_0002": off(CUBE, SQUARES, header="OFF"),
        "bed/test/bed_0003": off(CUBE, SQUARES),
        "toilet/train/toilet_0001": triangle,
        "toilet/test/toilet_0002": triangle,
    }.items():
        path = tmp_path / "modelnet" / "ModelNet10" / f"{name}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    return tmp_path / "modelnet" / "ModelNet10"


def test_a_made_tree(made):
    data = modelnet.MODELNET10.load()
    assert data["train_x"].shape == (3, 2048, 3) and data["train_x"].dtype == np.float32
    np.testing.assert_array_equal(data["train_y"], [0, 0, 1])
    np.testing.assert_array_equal(data["test_y"], [0, 1])
    for clouds in (data["train_x"], data["test_x"]):
        np.testing.assert_allclose(clouds.mean(axis=1), 0, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(clouds, axis=2).max(axis=1), 1, rtol=1e-5)
    assert not np.array_equal(data["train_x"][0], data["train_x"][1])  # each mesh has points of its own
    np.testing.assert_array_equal(data["train_x"], modelnet.MODELNET10.load()["train_x"])


def test_points_lie_evenly_on_the_surface(made):
    points = modelnet.MODELNET10.load()["train_x"][0]
    distance = np.abs(points).max(axis=1)
    np.testing.assert_allclose(distance, np.median(distance), rtol=0.05)  # a cube's faces, but for the shift
    face = (
        np.abs(points).argmax(axis=1) * 2
        + (np.take_along_axis(points, np.abs(points).argmax(axis=1)[:, None], 1) > 0)[:, 0]
    )
    np.testing.assert_allclose(np.bincount(face) / len(points), 1 / 6, atol=0.03)


def test_polygons_become_triangles(made):
    vertices, triangles = modelnet.read_off(made / "bed" / "train" / "bed_0001.off")
    assert vertices.shape == (8, 3) and triangles.shape == (12, 3)
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    assert area == pytest.approx(6 * 4)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    with pytest.raises(DataMissing, match=r"ModelNet40.*is not there.*unpack ModelNet40\.zip"):
        modelnet.MODELNET40.load()


def test_a_tree_without_a_test_part_is_refused(made):
    for path in made.glob("*/test/*.off"):
        path.unlink()
    with pytest.raises(DataDamaged, match="no meshes in folders test"):
        modelnet.MODELNET10.load()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("PLY\n1 2 3\n", "does not begin with OFF"),
        ("OFF\n", "was not read"),
        (off(CUBE, SQUARES)[:-8], "cut off"),
        (off(CUBE, [(0, 1, 8)]), "beyond its 8"),
        (off(CUBE, [(0, 1, -1)]), "beyond its 8"),
        (off([(0, 0, "nan"), (1, 0, 0), (0, 1, 0)], [(0, 1, 2)]), "not finite"),
        (off([(0, 0, "x"), (1, 0, 0), (0, 1, 0)], [(0, 1, 2)]), "could not convert"),
        (off([(0, 0, 0)] * 3, [(0, 1, 2)]), "no surface"),
        (off(CUBE, []), "no surface"),
    ],
)
def test_a_damaged_mesh_is_a_clear_error(made, text, reason):
    (made / "bed" / "train" / "bed_0001.off").write_text(text)
    with pytest.raises(DataDamaged, match=rf"bed_0001\.off.*{reason}"):
        modelnet.MODELNET10.load()


def test_the_publishers_files():
    folder = Path(os.environ.get("DLBENCH_DATA", ""), "modelnet", "ModelNet10")
    if not folder.is_dir():
        pytest.skip("DLBENCH_DATA names no folder with modelnet/ModelNet10")
    data = modelnet.MODELNET10.load()
    assert (len(data["train_x"]), len(data["test_x"])) == (3991, 908)
