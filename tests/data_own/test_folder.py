"""Folders of pictures: classes, splits, groups, and everything that pictures can be."""

import numpy as np
import pytest
from PIL import Image

from dlbench import data
from dlbench.data import own
from dlbench.data.on_demand import OnDemand
from dlbench.data.own import decoded
from dlbench.errors import DataDamaged, ParameterError


@pytest.fixture
def animals(tmp_path, picture):
    """Two cats and a dog; their pixels as they are read, float32 [3, 3, 8, 8]."""
    pixels = [picture(tmp_path / f"p/{name}.png", seed=i) for i, name in enumerate(["cat/a", "cat/b", "dog/a"])]
    return tmp_path / "p", np.stack(pixels).transpose(0, 3, 1, 2) / np.float32(255)


# ----------------------------------------------------------------------------------------------------------- folders


def test_a_sub_folder_is_a_class(animals, picture):
    folder, pixels = animals
    picture(folder / ".thumbnails" / "a.png")
    picture(folder / "cat" / ".hidden.png")
    (folder / "cat" / "notes.txt").write_text("")
    (folder / "emu").mkdir()
    found = data.load(str(folder))
    assert found["x"].dtype == np.float32 and np.array_equal(found["x"], pixels)
    assert found["y"].tolist() == [0, 0, 1] and found["classes"].tolist() == ["cat", "dog", "emu"]
    assert found["notes"].tolist() == ["passed over, as no pictures or beside the splits: .txt (1)"]
    assert [path.name for path in data.get(f"{folder}/").files()] == ["a.png", "b.png", "a.png"]


def test_splits(tmp_path, picture):
    for name in ("train/cat/a", "train/dog/b", "train/dog/deep/er/c", "valid/emu/d"):
        picture(tmp_path / f"{name}.png")
    picture(tmp_path / "loose.png")
    found = data.load(str(tmp_path))
    assert found["classes"].tolist() == ["cat", "dog", "emu"]
    assert (found["train_y"].tolist(), found["test_y"].tolist()) == ([0, 1, 1], [2])
    assert any(".png (1)" in note for note in found["notes"])


def test_a_class_may_be_called_train(tmp_path, picture):
    for name in ("train/a", "bus/a"):
        picture(tmp_path / f"{name}.png")
    assert data.load(str(tmp_path))["classes"].tolist() == ["bus", "train"]
    picture(tmp_path / "two/test/a.png")
    picture(tmp_path / "two/train/a.png")
    assert data.load(f"{tmp_path}/two")["classes"].tolist() == ["test", "train"]


def test_the_fingerprint_knows_where_a_picture_lies(animals):
    folder, _ = animals
    before = data.get(str(folder)).fingerprint()
    assert data.get(f"{folder}?size=8x8").fingerprint() == before
    (folder / "cat" / "notes.txt").write_text("not read")
    assert data.get(str(folder)).fingerprint() == before
    (folder / "cat" / "b.png").rename(folder / "dog" / "b.png")
    assert data.get(str(folder)).fingerprint() != before
    (folder / "dog" / "b.png").rename(folder / "cat" / "b.png")
    moved = folder.rename(folder.with_name("elsewhere"))
    assert data.get(str(moved)).fingerprint() == before


def test_metadata_as_hugging_face_has_it(tmp_path, picture):
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    rows = "file_name,label,sex,age\nc.png,dog,f,1\n./a.png,cat,m,2\nb.png,dog,,2\n"
    (tmp_path / "metadata.csv").write_text(rows)
    found = data.load(f"{tmp_path}?group=sex,age")
    assert found["classes"].tolist() == ["cat", "dog"] and found["y"].tolist() == [0, 1, 1]
    assert found["groups"].tolist() == ["m & 2", "missing & 2", "f & 1"]
    assert data.load(f"{tmp_path}/?label=age")["y"].tolist() == [2, 2, 1]
    assert (tmp_path / "metadata.csv") in data.get(f"{tmp_path}/").files()


def test_groups_in_a_table_of_their_own(animals):
    folder, _ = animals
    (folder / "groups.csv").write_text("file,group\ndog/a.png,1\ncat/b.png,2\ncat/a.png,1\n")
    assert data.load(str(folder))["groups"].tolist() == ["1", "2", "1"]


def test_one_table_of_groups_for_both_splits(tmp_path, picture):
    for name in ("train/cat/a", "train/dog/b", "test/dog/c"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "groups.csv").write_text("file,group\ntrain/cat/a.png,x\ntrain/dog/b.png,y\ntest/dog/c.png,z\n")
    found = data.load(str(tmp_path))
    assert (found["train_groups"].tolist(), found["test_groups"].tolist()) == (["x", "y"], ["z"])


@pytest.mark.parametrize(
    ("table", "rows", "query", "error", "reason"),
    [
        ("metadata.csv", "name,label\na,b\n", "", DataDamaged, "no column 'file_name'; its columns: name, label"),
        ("metadata.csv", "file_name,label\ncat/a.png,1\n", "", DataDamaged, "without a row: 2 of 3, as 'cat/b.png'"),
        (
            "metadata.csv",
            "file_name,label\ncat/a.png,1\ncat/b.png,1\ndog/a.png,2\nx.png,3\n",
            "",
            DataDamaged,
            "without a picture: 1 of 4, as 'x.png'",
        ),
        ("metadata.csv", "file_name,label\ncat/a.png,1\ncat/a.png,1\n", "", DataDamaged, "names 'cat/a.png' twice"),
        (
            "metadata.csv",
            "file_name,label\ncat/a.png,\ncat/b.png,1\ndog/a.png,2\n",
            "",
            DataDamaged,
            "'label' of its table is empty in 1 row",
        ),
        (
            "metadata.csv",
            "file_name,sex\ncat/a.png,f\ncat/b.png,f\ndog/a.png,m\n",
            "?group=sx",
            ParameterError,
            "no column 'sx'; did you mean 'sex'?",
        ),
        ("groups.csv", "file,grp\ncat/a.png,f\ncat/b.png,f\ndog/a.png,m\n", "", ParameterError, "no column 'group'"),
        ("groups.csv", "", "", DataDamaged, "groups.csv was not read"),
        (None, "", "?group=sex", ParameterError, "has no metadata.csv with a column 'sex'"),
        (None, "", "?label=kind", ParameterError, "has no metadata.csv whose column 'kind'"),
    ],
)
def test_tables_that_do_not_fit(animals, table, rows, query, error, reason):
    folder, _ = animals
    if table:
        (folder / table).write_text(rows)
    with pytest.raises(error, match=reason):
        data.load(f"{folder}{query}")


def test_folders_that_are_refused(tmp_path, picture):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("")
    with pytest.raises(DataDamaged, match=r"has no pictures .* other files in it: 1"):
        data.load(f"{tmp_path}/empty")
    picture(tmp_path / "flat" / "a.png")
    with pytest.raises(DataDamaged, match=r"in no class's sub-folder: 1, as a\.png; give each class"):
        data.load(f"{tmp_path}/flat")
    picture(tmp_path / "both/val/a/a.png")
    picture(tmp_path / "both/valid/a/a.png")
    with pytest.raises(DataDamaged, match="has val and valid, which mean the same"):
        data.load(f"{tmp_path}/both")


# ---------------------------------------------------------------------------------------------------------- pictures


def test_grey_stays_grey_and_becomes_coloured_among_colours(tmp_path, picture):
    grey = picture(tmp_path / "a/grey.png", mode="L") / np.float32(255)
    found = data.load(str(tmp_path))["x"]
    assert found.shape == (1, 1, 8, 8) and np.array_equal(found[0, 0], grey)
    picture(tmp_path / "b/red.png")
    found = data.load(str(tmp_path))
    assert found["x"].shape == (2, 3, 8, 8) and all(np.array_equal(channel, grey) for channel in found["x"][0])
    assert found["notes"].tolist() == ["grey among coloured pictures, red, green and blue set to it: 1 of 2"]


def test_transparency_is_dropped(tmp_path, picture):
    pixels = picture(tmp_path / "a/a.png", mode="RGBA")
    palette = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("P")
    palette.save(tmp_path / "a/b.png", transparency=b"\x00\x80")
    found = data.load(str(tmp_path))
    assert np.array_equal(found["x"][0], pixels[..., :3].transpose(2, 0, 1) / np.float32(255))
    assert found["notes"].tolist() == ["pictures with transparency, which is dropped: 2 of 2"]


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_pictures_are_turned_as_they_say(tmp_path, picture, kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn to the right
    options = {"quality": 100, "subsampling": 0} if kind == "jpg" else {}
    pixels = picture(tmp_path / f"a/a.{kind}", height=4, width=6, mode="L", exif=exif, **options) / np.float32(255)
    found = data.load(str(tmp_path))
    assert found["x"].shape == (1, 1, 6, 4)
    assert np.allclose(found["x"][0, 0], np.rot90(pixels, -1), atol=0.02 if kind == "jpg" else 0)
    assert found["notes"].tolist() == ["pictures turned as their EXIF data says: 1 of 1"]


def test_sixteen_bits_of_grey(tmp_path, picture):
    deep = np.array([[0, 1, 257, 65535]], np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(deep).save(tmp_path / "a/deep.png")
    picture(tmp_path / "a/flat.png", height=1, width=4, mode="L")
    found = data.load(str(tmp_path))
    assert np.array_equal(found["x"][0, 0], deep / np.float32(65535))
    assert found["notes"].tolist() == ["pictures of 16 bits of grey, divided by 65,535: 1 of 2"]
    picture(tmp_path / "a/z.png", height=1, width=4)
    assert np.array_equal(data.load(str(tmp_path))["x"][0], np.repeat(found["x"][0], 3, axis=0))
    assert data.load(f"{tmp_path}?size=1x2")["x"].shape == (3, 3, 1, 2)


def test_sizes_that_differ_need_a_size(tmp_path, picture):
    for i, (height, width) in enumerate([(8, 8), (8, 8), (6, 12), (20, 10)]):
        picture(tmp_path / f"a/{i}.png", height, width)
    with pytest.raises(
        ParameterError, match=r"3 sizes \(2 of 8x8, 1 of 6x12, 1 of 20x10; height x width\); say \?size="
    ):
        data.load(str(tmp_path))
    found = data.load(f"{tmp_path}?size=4x4")
    assert found["x"].shape == (4, 3, 4, 4)
    assert found["notes"].tolist()[0].endswith("brought to 4x4: the middle of each, resized")


def test_a_size_keeps_the_middle(tmp_path):
    pixels = np.zeros((10, 30), np.uint8)
    pixels[:, 10:20] = 255
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a/a.png")
    found = data.load(f"{tmp_path}?size=5x5")["x"]
    assert found.shape == (1, 1, 5, 5) and (found[..., 1:-1] == 1).all()
    same = data.load(f"{tmp_path}?size=10x30")
    assert np.array_equal(same["x"][0, 0] * 255, pixels) and "notes" not in same


def test_pictures_that_cannot_be_used_are_named(animals):
    folder, _ = animals
    (folder / "cat" / "c.jpg").write_text("no picture")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(folder / "dog" / "f.tiff")
    with pytest.raises(DataDamaged) as caught:
        data.load(str(folder))
    told = str(caught.value)
    assert "2 of 5: " in told and "c.jpg (no picture)" in told and "f.tiff (F: 32 bits a pixel" in told


def test_a_picture_that_is_cut_off_is_named(animals):
    folder, _ = animals
    whole = (folder / "dog" / "a.png").read_bytes()
    (folder / "dog" / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataDamaged, match=r"dog/a\.png was not read: .*; replace or remove it"):
        data.load(str(folder))


def test_large_folders_are_decoded_on_demand(animals, monkeypatch):
    folder, pixels = animals
    monkeypatch.setattr(decoded, "HELD", 100)
    decodings = []
    original = decoded._pixels
    monkeypatch.setattr(decoded, "_pixels", lambda *given: decodings.append(given[0].name) or original(*given))
    found = data.load(str(folder))
    assert isinstance(found["x"], OnDemand) and found["x"].shape == (3, 3, 8, 8) and not decodings
    assert np.array_equal(found["x"][np.array([2, 0])], pixels[[2, 0]]) and sorted(decodings) == ["a.png", "a.png"]
    assert len(set(found["x"].digests())) == 3
    assert not any("copies" in finding.text for finding in own.findings(found))
