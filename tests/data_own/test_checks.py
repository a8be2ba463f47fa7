"""What is found wrong with data, and that nothing is found with what is right."""

import re

import numpy as np
import pytest

from dlbench.data import own
from dlbench.data.on_demand import OnDemand
from dlbench.data.own import checks

RNG = np.random.default_rng(0)


@pytest.fixture
def images():
    """300 images to test on and 100 to train on, in three classes, with nothing wrong."""
    x = RNG.random((400, 1, 4, 4), dtype=np.float32)
    y = np.arange(400) % 3
    return {"train_x": x[:100], "train_y": y[:100], "test_x": x[100:], "test_y": y[100:]}


@pytest.fixture
def table():
    """300 rows of three features, with nothing wrong."""
    names = {"classes": np.array(["no", "yes"]), "features": np.array(["age", "hours", "pay"])}
    return {"x": RNG.random((300, 3), dtype=np.float32), "y": np.arange(300) % 2, **names}


def said(arrays, severity=None):
    """The texts of a severity, or all."""
    return [finding.text for finding in own.findings(arrays) if severity in (None, finding.severity)]


def test_nothing_is_said_of_what_is_right(images, table):
    assert own.findings(images) == [] and own.findings(table) == []
    assert own.findings({"x": images["test_x"][:, 0], "y": images["test_y"]}) == []


def test_findings_come_errors_first_and_read_well(images):
    images["test_x"][0, 0, 0, 0] = np.nan
    images["test_x"][3] = images["test_x"][5]
    images["notes"] = np.array(["decided so"])
    found = own.findings(images)
    assert [finding.severity for finding in found] == ["error", "warning", "note"]
    assert str(found[0]) == "error: test: NaN or infinite values in 1 of 300 images"
    assert str(found[2]) == "note: decided so"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"test_x": None}, "nothing to test on"),
        ({"test_y": np.zeros(299, int)}, r"test_y has the shape \[299\] for 300 test_x; expected one label each"),
        ({"test_y": np.linspace(0, 1, 300)}, "test_y is float64; expected class numbers"),
        ({"test_x": np.zeros(300)}, r"test_x has the shape \[300\]; expected images"),
        ({"test_x": np.full((300, 2, 2), "a")}, "test_x is <U1; expected numbers"),
        ({"test_y": np.zeros(300, int), "train_y": np.zeros(100, int)}, "all labels are 0: there is nothing"),
        ({"test_y": np.arange(300) % 3 - 1}, r"negative labels: 100 \(-1\); expected 0 to k-1"),
        ({"classes": np.array(["a", "b"])}, "no class is named for: 2; expected 0 to 1"),
        ({"test_y": np.array([5] + [2**40] * 299)}, "labels up to 1,099,511,627,776; expected 0 to k-1"),
    ],
)
def test_labels_and_shapes_that_no_audit_can_be_run_on(images, changes, reason):
    arrays = {name: array for name, array in (images | changes).items() if array is not None}
    assert any(re.search(reason, text) for text in said(arrays, "error"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.inf, "train: NaN or infinite values in 1 of 100 images"),
        (255, "train: images with values from 0 to 255; expected [0, 1]: save them as uint8, or divide by 255"),
        (4000, "train: images with values from 0 to 4000; expected [0, 1]: save them as uint8, or divide by the "
               "largest value that can be"),
        (-1, "train: images with values from -1 to 1; expected [0, 1]: undo the normalisation, or bring it to [0, 1], "
             "and give mean and sd of the model's instead"),
    ],
)  # fmt: skip
def test_values_that_are_no_images(images, value, reason):
    images["train_x"][7, 0, :2, 0] = 0, 1
    images["train_x"][7, 0, 2, 2] = value
    assert said(images, "error") == [reason]


def test_images_of_bytes_are_as_some_registered_sets_have_them(images):
    images["test_x"] = RNG.integers(0, 256, (300, 1, 4, 4), dtype=np.uint8)
    assert own.findings(images) == []


def test_images_of_another_range(images):
    images["test_x"] /= 255
    assert said(images)[0].startswith("test: the largest value of all images is 0.0039")


def test_constant_images(images):
    images["test_x"][[3, 9]] = [[[[0.5]]], [[[0.25]]]]
    assert said(images) == ["test: images of one value throughout: 2 of 300"]


def test_copies(images):
    x, y = images["test_x"], images["test_y"]
    x[10], x[13], x[20] = x[1], x[1], images["train_x"][4]
    y[13] = 2 - y[1]
    y[13] += y[13] == y[1]
    images["train_x"][50] = images["train_x"][53]
    assert said(images, "warning") == [
        "test: images that are copies of earlier ones: 2 of 300, 1 of them with another label",
        "images to test on that are in training, too: 1 of 300",
    ]
    assert said(images, "note") == ["train: images that are copies of earlier ones: 1 of 100"]


def test_rows_of_a_table_may_be_alike(table):
    table["x"][[5, 7]] = table["x"][9]
    assert [str(finding) for finding in own.findings(table)] == [
        "note: test: rows that are copies of earlier ones: 2 of 300"
    ]


@pytest.mark.parametrize(
    ("labels", "classes", "reason"),
    [
        (np.arange(300) % 3 * 2, None, "3 of the classes 0 to 4 occur, but not 1, 3"),
        (np.arange(300) % 3 * 4, None, "3 of the classes 0 to 8 occur, but not 1 to 3, 5 to 7"),
        (np.arange(300) % 3 + 1, None, "3 of the classes 0 to 3 occur, but not 0; are they numbered from 1?"),
        (np.arange(300) % 3, ["a", "b", "c", "d"], "3 of the classes 0 to 3 occur, but not 3 (d)"),
    ],
)
def test_gaps_between_labels(images, labels, classes, reason):
    arrays = {"x": images["test_x"], "y": labels}
    assert said(arrays | ({"classes": np.array(classes)} if classes else {})) == [reason]


def test_too_few_and_too_uneven():
    y = np.repeat([0, 1, 2], [150, 20, 10])
    found = said({"x": RNG.random((180, 2, 2), dtype=np.float32), "y": y, "classes": np.array(["a", "b", "c"])})
    assert found == [
        "180 examples to test on; below 200 intervals are wide",
        "classes with fewer than 20 examples to test on: 2 (c): 10",
        "test: classes of very different sizes, from 150 of 0 (a) to 10 of 2 (c), 15 to 1; look at "
        "balanced accuracy, too",
    ]


def test_classes_that_training_does_not_know(images):
    images["train_y"] = images["train_y"] % 2
    images["train_x"] = images["train_x"][:99]
    images["train_y"] = images["train_y"][:99]
    assert said(images) == ["classes to test on that are not in training: 2"]


def test_groups(images):
    groups = np.array(["f"] * 240 + ["m"] * 49 + ["x"] * 11)
    assert said(images | {"test_groups": groups}) == ["groups with fewer than 50 examples to test on: 'm': 49, 'x': 11"]
    assert said({"x": images["test_x"], "y": images["test_y"], "groups": np.full(300, "f")}) == [
        "all examples are of one group, 'f': groups cannot be compared"
    ]


def test_tables(table):
    x = table["x"]
    x[:, 1] = 4
    x[3, 0], x[[3, 8], 2] = np.inf, np.nan
    assert said(table, "error") == [
        "test: NaN or infinite values in 2 of 300 rows ('age': 1, 'pay': 2); fill them, or remove rows or columns"
    ]
    assert said(table, "warning") == ["test: columns with a single value: 'hours'"]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (np.arange(300) % 2, "tells the target"),
        (1 - np.arange(300) % 2, "tells the target"),
        (np.where(np.arange(300) % 2, 7.5, -2), "tells the target"),
        (np.arange(300) + 5, "numbers the rows"),
        (np.arange(300) % 4, None),  # tells the class, but is a feature as others are
        (np.where(np.arange(300) < 299, np.arange(300) % 2, 0), None),
    ],
)
def test_columns_that_give_the_target_away(table, column, reason):
    table["x"][:, 1] = column
    found = said(table)
    assert [f"column 'hours' {reason}" in text for text in found] == [True] if reason else found == []


def test_of_images_on_demand_some_are_looked_at(images, monkeypatch):
    monkeypatch.setattr(checks, "LOOKED", 30)
    x = images["test_x"]
    x[:] = 0.5
    asked = []

    def make(rows):
        asked.extend(rows.tolist())
        return x[rows]

    lazy = OnDemand(make, x.shape, lambda: [str(i % 290).encode() for i in range(300)])
    found = said(images | {"test_x": lazy})
    assert "test: images of one value throughout: 30 of 30 looked at" in found
    assert any("copies of earlier ones: 10 of 300" in text for text in found)
    assert len(asked) == 30 and asked[0] == 0 and asked[-1] == 299
