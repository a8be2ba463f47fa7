"""Waterbirds, CelebA and ACSIncome: made sets in the publishers' layouts, and damaged ones."""

import numpy as np
import pytest
from PIL import Image

from dlbench import data
from dlbench.data import acs, pictures, waterbirds
from dlbench.errors import DataDamaged, DataMissing

from . import made_groups


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DLBENCH_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def birds(root):
    return made_groups.waterbirds(root)


@pytest.fixture
def faces(root):
    return made_groups.celeba(root)


@pytest.fixture
def people(root):
    return made_groups.acs(root, people=20)


def changed(path, before, after):
    """The file with the first of one text replaced by another."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


@pytest.mark.parametrize("name", ["waterbirds", "celeba", "acsincome"])
def test_it_is_registered_and_says_where_its_files_go(root, name):
    with pytest.raises(DataMissing, match=r"is not there\. .*of DLBENCH_DATA"):
        data.load(name)


# ---------------------------------------------------------------------------------------------------------- pictures


def test_a_picture_keeps_its_colours_and_its_middle(tmp_path):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = (250, 120, 10)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole, middle = (
        pictures.read([tmp_path / "a.png"], 64, crop)[0] for crop in (lambda w, h: (0, 0, w, h), pictures.middle(1))
    )
    assert whole.shape == (3, 64, 64) and whole.dtype == np.uint8
    # Columns 20 to 60 of 80 are kept; at the rim the filter sees what is beyond.
    assert (middle[:, :, 2:-2] == np.array([250, 120, 10])[:, None, None]).all()
    assert (whole[:, :, :14] == 0).all() and (whole[:, :, 18:46] == middle[:, :, 18:46]).all()


def test_a_grey_picture_has_three_channels(tmp_path):
    Image.fromarray(np.full((9, 9), 77, np.uint8)).save(tmp_path / "grey.jpg")
    (grey,) = pictures.read([tmp_path / "grey.jpg"], 64, waterbirds.middle)
    assert (grey == 77).all()


def test_the_middle_of_a_bird():
    assert waterbirds.middle(160, 320) == (10, 20, 150, 300)


# -------------------------------------------------------------------------------------------------------- Waterbirds


@pytest.mark.parametrize("folder", waterbirds.FOLDERS)
def test_made_waterbirds(root, folder):
    made_groups.waterbirds(root, each=4, rare=1, folder=folder)
    found = data.load("waterbirds")
    assert {part: len(found[f"{part}_x"]) for part in pictures.PARTS} == {"train": 10, "valid": 16, "test": 16}
    for part in pictures.PARTS:
        x, y, place = (found[f"{part}_{name}"] for name in ("x", "y", "place"))
        assert x.shape[1:] == (3, 64, 64) and x.dtype == np.uint8
        green, blue = x[:, 1, :28].mean((1, 2)), x[:, 2, 36:].mean((1, 2))  # of the bird, and of the ground
        np.testing.assert_array_equal(y, green < 120)
        np.testing.assert_array_equal(place, blue > 130)
    assert np.bincount(2 * found["train_y"] + found["train_place"]).tolist() == [4, 1, 1, 4]


def test_the_fingerprint_sees_every_picture(birds):
    before = waterbirds.WATERBIRDS.fingerprint()
    Image.new("RGB", (50, 37)).save(next(birds.glob("*/*.jpg")))
    assert waterbirds.WATERBIRDS.fingerprint() != before


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("place,", "spot,", "has no column place"),
        (",0,0,0,/o", ",2,0,0,/o", "line 2: y is '2'; expected 0 or 1"),
        (",0,0,0,/o", ",0,,0,/o", "line 2: split is 'nan'; expected 0 or 1 or 2"),
        ("1,000.Some_bird/Some_bird_0001.jpg", "1,", "line 2: img_filename is 'nan'; expected a file's name"),
        ("/o/ocean/00000001.jpg", "a,b,c", "was not read"),
    ],
)
def test_damaged_waterbirds(birds, before, after, said):
    changed(birds / "metadata.csv", before, after)
    with pytest.raises(DataDamaged, match=said):
        data.load("waterbirds")


def test_waterbirds_without_a_part(birds):
    lines = (birds / "metadata.csv").read_text().splitlines()
    (birds / "metadata.csv").write_text(
        "\n".join(line for line in lines if ",1,0,/" not in line and ",1,1,/" not in line)
    )
    with pytest.raises(DataDamaged, match="no pictures to valid"):
        data.load("waterbirds")


def test_a_bird_that_is_not_there_or_no_picture(birds):
    path = birds / "000.Some_bird" / "Some_bird_0001.jpg"
    whole = path.read_bytes()
    for content in (b"", b"no picture", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataDamaged, match=r"Some_bird_0001\.jpg was not read"):
            data.load("waterbirds")
    path.unlink()
    with pytest.raises(DataMissing, match=r"Some_bird_0001\.jpg is not there\. Waterbirds: unpack"):
        data.load("waterbirds")


# ------------------------------------------------------------------------------------------------------------ CelebA


@pytest.mark.parametrize("folders", [("", "", ""), ("Anno", "Eval", "Img")])
def test_made_celeba(root, folders):
    made_groups.celeba(root, each=3, rare=1, folders=folders)
    found = data.load("celeba")
    assert {part: len(found[f"{part}_x"]) for part in pictures.PARTS} == {"train": 8, "valid": 12, "test": 12}
    for part in pictures.PARTS:
        x, y, male = (found[f"{part}_{name}"] for name in ("x", "y", "male"))
        assert x.shape[1:] == (3, 64, 64) and x.dtype == np.uint8
        np.testing.assert_array_equal(y, x[:, 0, :28].mean((1, 2)) > 140)
        np.testing.assert_array_equal(male, x[:, 2, 36:].mean((1, 2)) < 110)
    assert np.bincount(2 * found["train_y"] + found["train_male"]).tolist() == [3, 1, 1, 3]


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
    [
        ("list_attr_celeba", "44\n", "45\n", "announces '45' pictures and lists 44"),
        ("list_attr_celeba", "Blond_Hair", "Fair_Hair", "has no attribute Blond_Hair"),
        ("list_attr_celeba", "000001.jpg -1 -1", "000001.jpg -1  0", "line 3: expected -1 or 1"),
        ("list_attr_celeba", "000002.jpg -1 -1 -1  1", "000002.jpg -1 -1", "line 4: expected -1 or 1"),
        ("list_attr_celeba", "000002.jpg", "000002.jpg 1 1", "was not read"),
        ("list_eval_partition", "000002.jpg 0", "000002.jpg 3", "line 2: expected 0, 1 or 2"),
        ("list_eval_partition", "000002.jpg 0\n", "", "do not list the same pictures"),
        ("list_eval_partition", " 0\n", " \n", "was not read"),
    ],
)
def test_damaged_celeba(faces, name, before, after, said):
    changed(faces / f"{name}.txt", before, after)
    with pytest.raises(DataDamaged, match=said):
        data.load("celeba")


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt"])
def test_celeba_without_a_table(faces, name):
    (faces / name).write_text("")
    with pytest.raises(DataDamaged, match=rf"{name} was not read"):
        data.load("celeba")
    (faces / name).unlink()
    with pytest.raises(DataMissing, match=rf"{name} is not there\. CelebA"):
        data.load("celeba")


def test_celeba_without_a_part(faces):
    path = faces / "list_eval_partition.txt"
    path.write_text(path.read_text().replace(" 2\n", " 0\n"))
    with pytest.raises(DataDamaged, match="no pictures to test"):
        data.load("celeba")


def test_a_face_that_is_not_there(faces):
    (faces / "img_align_celeba" / "000007.jpg").unlink()
    with pytest.raises(DataMissing, match=r"000007\.jpg is not there"):
        data.load("celeba")


# --------------------------------------------------------------------------------------------------------- ACSIncome

HEADER = "SERIALNO,ST,PWGTP,AGEP,COW,SCHL,MAR,OCCP,POBP,RELP,WKHP,SEX,RAC1P,PINCP\n"
KEPT = "2018HU1,06,00012,45,1,21,1,0430,006,00,40,2,1,50001\n"


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        (KEPT, True),
        (KEPT.replace(",45,", ",17,"), True),
        (KEPT.replace(",45,", ",16,"), False),
        (KEPT.replace(",50001", ",101"), True),
        (KEPT.replace(",50001", ",100"), False),
        (KEPT.replace(",50001", ","), False),
        (KEPT.replace(",40,", ",1,"), True),
        (KEPT.replace(",40,", ",0,"), False),
        (KEPT.replace(",40,", ",,"), False),
        (KEPT.replace(",00012,", ",0,"), False),
    ],
)
def test_whom_the_filter_of_folktables_keeps(people, row, kept):
    for path in people.iterdir():
        path.unlink()
    (people / "psam_p06.csv").write_text(HEADER + KEPT.replace(",50001", ",50000") + row)
    found = data.load("acsincome")
    assert len(found["y"]) == 1 + kept
    assert found["y"][0] == 0  # 50,000 dollars are not more than 50,000


def test_a_person_is_read_as_the_bureau_wrote_it(people):
    for path in people.iterdir():
        path.unlink()
    (people / "psam_p06.csv").write_text(HEADER + KEPT.replace(",0430,", ",    ,"))
    expected = {"AGEP": 45, "COW": 1, "SCHL": 21, "MAR": 1, "OCCP": 0, "POBP": 6, "RELP": 0, "WKHP": 40, "SEX": 2}
    expected |= {"RAC1P": 1, "ST": 6, "PINCP": 50_001, "y": 1}
    found = data.load("acsincome")
    assert {name: column.tolist() for name, column in found.items()} == {k: [v] for k, v in expected.items()}
    assert all(column.dtype == np.int64 for column in found.values())


def test_the_states_that_are_there_are_read_one_after_the_other(people):
    (people / "psam_pusa.csv").write_text("not a state\n")
    found = data.load("acsincome")
    assert sorted(set(found["ST"])) == [1, 6]
    assert (np.diff(found["ST"]) >= 0).all()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("RELP", "RELSHIPP", "has no column RELP; expected the Bureau's 1-year person file of 2018"),
        ("2018HU1,06,00012,45", "2018HU1,06,00012,old", "was not read: .*old"),
        (",2,1,50001", ",3,1,50001", "SEX is 3 somewhere; expected 1 to 2"),
        (",2,1,50001", ",2,,50001", "RAC1P is 0 somewhere; expected 1 to 9"),
        (",50001", ",50001.5", "holds fractions"),
        (KEPT, "", "nobody over 16"),
        (HEADER + KEPT, "", "was not read"),
        (KEPT, KEPT.replace("\n", ",1,2\n"), "was not read"),
    ],
)
def test_damaged_person_files(people, before, after, said):
    for path in people.iterdir():
        path.unlink()
    (people / "psam_p06.csv").write_text((HEADER + KEPT).replace(before, after, 1))
    with pytest.raises(DataDamaged, match=said):
        data.load("acsincome")


def test_no_person_file(people):
    for path in people.iterdir():
        path.unlink()
    with pytest.raises(DataMissing, match=r"psam_p01\.csv is not there\. ACSIncome: unpack"):
        acs.ACS_INCOME.load()
