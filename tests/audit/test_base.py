"""What all audits have: folds that do not overlap, subjects by label, and what cannot be measured."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dlbench import Context, Metric
from dlbench.audit import Audit, Subject
from dlbench.audit.examples import dealt, examples
from dlbench.audit.subject import CAPTIONS, MOST_SHOWN, SHOWN, WIDEST
from dlbench.declarations import declaration_problems
from dlbench.errors import NotApplicable, ParameterError
from tests.audit import toys
from tests.audit.conftest import CLASSES, Bright


def context(arrays, seed=0):
    return Context(seed=seed, loader=lambda name: arrays)


@pytest.mark.parametrize("folds", [2, 6, 7])
def test_every_example_is_in_one_fold(folds):
    parts = dealt(100, folds)
    assert sorted(np.concatenate(parts)) == list(range(100)) and max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(np.array_equal(one, again) for one, again in zip(parts, dealt(100, folds), strict=True))


def test_examples_without_a_split_are_all_for_testing(bright):
    x, y = bright
    shown = [examples("mine", context({"x": x, "y": y}, seed), 6) for seed in range(6)]
    assert sum(len(one.y) for one in shown) == 300 and shown[0].kind == "images" and shown[0].classes == ("0", "1", "2")
    assert shown[0].training is None and shown[0].groups is None
    with pytest.raises(NotApplicable, match="kNN needs them, and the data set has no training examples"):
        shown[0].taught("kNN needs them")


def test_a_split_is_kept_apart(bright):
    x, y = bright
    arrays = {"train_x": x[:200], "train_y": y[:200], "test_x": x[200:], "test_y": y[200:]}
    arrays |= {"classes": np.array(["a", "b", "c", "d"]), "test_groups": np.array(["g", "h"] * 50)}
    shown = examples("mine", context(arrays, 1), 4)
    assert len(shown.y) == 25 and len(shown.groups) == 25 and shown.classes == ("a", "b", "c", "d")
    drawn, labels = shown.taught("").drawn(30, np.random.default_rng(0))
    assert drawn.shape == (30, 1, 5, 5) and len(labels) == 30
    known = {row.tobytes() for row in x[:200]}
    assert all(image.numpy().tobytes() in known for image in drawn)
    assert not any(image.numpy().tobytes() in known for image in shown.x)


def test_what_has_no_classes_cannot_be_audited():
    with pytest.raises(NotApplicable, match="float64 targets; audits are of classifiers"):
        examples("mine", context({"x": np.zeros((9, 2)), "y": np.linspace(0, 1, 9)}), 3)
    with pytest.raises(ParameterError, match="has 9 examples to test on, and 10 parts are asked for"):
        examples("mine", context({"x": np.zeros((9, 2)), "y": np.zeros(9, int)}), 10)


def test_no_example_is_measured_twice(bright):
    x, y = bright
    audit = toys.Right(models=("tests.audit.toys:build",), data="mine", folds=3)
    with pytest.raises(ParameterError, match="seed 3: the examples are divided into 3 folds; set more"):
        list(audit.trial(context({"x": x, "y": y}, 3)))


def test_rows_are_of_each_model_by_its_label(bright):
    x, y = bright
    models = ("tests.audit.toys:build", "tests.audit.toys:build?name=second")
    rows = list(toys.Right(models=models, data="mine", folds=3).trial(context({"x": x, "y": y})))
    assert [row["subject"] for row in rows] == ["tests.audit.toys:build", "second"]
    assert rows[0]["accuracy"] == rows[1]["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("models", "message"),
    [((), "name at least one"), (("a.b:c", "a.b:c?name=a.b:c"), "none twice"), (("nowhere",), "'nowhere' is neither")],
)
def test_impossible_models(models, message):
    with pytest.raises(ParameterError, match=message):
        toys.Right(models=models)


def test_what_an_audit_does_not_take(bright):
    table = {"x": np.zeros((30, 3), np.float32), "y": np.arange(30) % 3}
    audit = toys.OfImages(models=("tests.audit.toys:build",), data="mine", folds=3)
    with pytest.raises(NotApplicable, match="mine is a table; this is measured on images"):
        list(audit.trial(context(table)))


def test_an_audit_without_measure_is_told_before_anything_runs():
    @dataclass(frozen=True)
    class Empty(Audit):
        title = "Nothing"
        metrics = {"accuracy": Metric("nothing", main=True)}

    assert [problem for problem in declaration_problems(Empty) if "measure" in problem]
    assert not declaration_problems(toys.Right)


def test_a_subject_answers_in_parts_and_is_left_as_it_was(bright):
    x, y = map(torch.from_numpy, bright)
    net = Bright().train()
    subject = Subject("bright", net, context({}))
    p = subject.probabilities(x)
    assert p.shape == (300, CLASSES) and np.allclose(p.sum(1), 1) and net.training
    assert np.allclose(p, torch.softmax(net(x).double(), 1).detach(), atol=1e-6)
    assert subject.right(x, y).mean() == (p.argmax(1) == y.numpy()).mean()


def test_pictures_are_few_and_small():
    subject = Subject("bright", Bright(), context({}))
    subject.show("none", torch.zeros(0, 1, 4, 4), [])
    subject.show("table", torch.zeros(3, 4), ["a"] * 3)
    assert not subject.context.kept
    subject.show("wrong", torch.ones(20, 3, 2 * WIDEST, WIDEST), [str(k) for k in range(20)])
    images, captions = (subject.context.kept[prefix + '["bright", "wrong"]'] for prefix in (SHOWN, CAPTIONS))
    assert images.shape == (MOST_SHOWN, 3, WIDEST, WIDEST // 2) and images.dtype == np.uint8 and images.min() == 255
    assert list(captions) == [str(k) for k in range(MOST_SHOWN)]


def test_a_reference_that_lacks_something_is_left_out(bright):
    arrays = dict(zip("xy", bright, strict=True))
    one, other = "tests.audit.toys:build", "tests.audit.toys:unsure"
    rows = list(toys.Sure(models=(one, other), data="mine", folds=3).trial(context(arrays)))
    assert [row["subject"] for row in rows] == [one]
    with pytest.raises(NotApplicable, match="it is never sure"):
        list(toys.Sure(models=(other, one), data="mine", folds=3).trial(context(arrays)))
