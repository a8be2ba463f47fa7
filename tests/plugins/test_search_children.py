"""The children of the search, their training, the table of all of them, and training them on demand."""

import concurrent.futures

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dlbench import Context
from dlbench.data.images import DIGITS
from dlbench.errors import DataDamaged
from dlbench.stacking import batches
from dlbench_plugins.networks import flops
from dlbench_plugins.search import children as c
from dlbench_plugins.search import live, table
from dlbench_plugins.search.children import RECIPES, SPACE, TRAINING_SEEDS, Recipe

TINY = {"mnist1d": Recipe(50, 20, 18, 8, test=30), "digits": Recipe(50, 20, 9, 8)}


def context(seed=100):
    return Context(seed=seed, loader={"digits": DIGITS.load()}.get)


def child(**choices):
    """The number of a child that has these choices, and the first one in each other slot."""
    first = {name: of[0] for name, of in SPACE.slots.items()} | choices
    return next(k for k in range(len(SPACE)) if SPACE.choices(k) == first)


@pytest.mark.parametrize("shape", [(40,), (8, 8)])
def test_all_children_take_their_examples(shape):
    for group in c.kin():
        assert c.build(SPACE.choices(group[0]), shape)(torch.zeros(2, *shape)).shape == (2, 10)


def test_children_are_what_their_choices_say():
    net = c.build(SPACE.choices(child(layer="conv 5", depth=2, width=16, norm="layer", activation="tanh")), (40,))
    kinds = [type(layer).__name__ for layer in net[0]]
    layer = ["ZeroPad2d", "Windows", "LayerNorm", "Tanh"]
    assert kinds == ["Unflatten", *layer, *layer, "Flatten"]
    # 5 x 1 x 16 + 16, its norm 32, 5 x 16 x 16 + 16, its norm 32, and 10 positions of 16 channels to ten scores
    assert sum(p.numel() for p in net.parameters()) == 96 + 32 + 1296 + 32 + 1610
    dense = c.build(SPACE.choices(child(depth=3, width=8)), (8, 8))
    assert [p.shape[0] for p in dense.parameters() if p.ndim == 2] == [32, 32, 32, 10]


def test_flops_by_hand():
    """64 to 32 to 10: two for each weight."""
    assert flops(c.build(SPACE.choices(child(width=8)), (8, 8)), (8, 8)) == 2 * (64 * 32 + 32 * 10)


def test_kin_differ_in_their_rates():
    groups = c.kin()
    assert sorted(number for group in groups for number in group) == list(range(len(SPACE)))
    for group in groups:
        assert [SPACE.choices(k)["rate"] for k in group] == list(SPACE.slots["rate"])
        assert len({tuple(v for n, v in SPACE.choices(k).items() if n != "rate") for k in group}) == 1


@pytest.mark.parametrize("dataset", RECIPES)
def test_examples_are_drawn_anew_for_each_training_seed(dataset):
    recipe = TINY[dataset]
    parts = c.examples(dataset, recipe, 0, context())
    assert [len(y) for _, y in parts] == [50, 20, 30 if dataset == "mnist1d" else 1797 - 70]
    assert float(parts[0][0].std(correction=0)) == pytest.approx(1, abs=1e-4)
    again, other = c.examples(dataset, recipe, 0, context()), c.examples(dataset, recipe, 1, context())
    assert torch.equal(parts[0][0], again[0][0]) and not torch.equal(parts[0][0], other[0][0])


def test_a_child_comes_out_as_if_trained_alone():
    recipe, number, of = TINY["mnist1d"], child(layer="conv 3", rate=0.01), context()
    group = next(group for group in c.kin() if number in group)
    found = {key: became for *key, became in c.trained("mnist1d", recipe, group, range(2), of) for key in [tuple(key)]}
    assert len(found) == 8
    train, validation, test = c.examples("mnist1d", recipe, 1, of)
    with of.seeded("child", "mnist1d", 1):
        net = c.build(SPACE.choices(number), (40,))
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    right = []
    for step, rows in enumerate(batches([50], 8, steps=18, generators=[of.generator("order", "mnist1d", 1)])):
        if step in (2, 6):
            right.append(float((net(validation[0]).argmax(1) == validation[1]).double().mean()))
        adam.param_groups[0]["lr"] = 0.01 * (1 - step / 18)
        adam.zero_grad()
        F.cross_entropy(net(train[0][rows[0]]), train[1][rows[0]]).backward()
        adam.step()
    right += [float((net(x).argmax(1) == y).double().mean()) for x, y in (validation, test)]
    became = found[number, 1]
    assert became[:4] == pytest.approx(right, abs=1e-9)
    assert became.parameters == sum(p.numel() for p in net.parameters()) and became.seconds > 0


# ---------------------------------------------------------------------------------------------------------- the table


def rows():
    """A training of every child with every seed, of one data set."""
    return [
        table.row("digits", number, seed, c.Child(0.1, 0.2, number / 1000, seed / 4, 10, 20, 0.5))
        for number in range(len(SPACE))
        for seed in range(TRAINING_SEEDS)
    ]


def test_the_table_is_read_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "FILE", tmp_path / "children.csv")
    table.FILE.write_text(table.written(rows(), ["how it was made"]))
    assert table.FILE.read_text().startswith("# how it was made\nlandscape,layer,")
    of = table.of_dataset(table.CHILDREN.load(), "digits")
    assert of["validation"].shape == (len(SPACE), TRAINING_SEEDS)
    assert np.allclose(of["validation"][:, 0], np.arange(len(SPACE)) / 1000)
    assert np.array_equal(of["test"][7], [0, 0.25, 0.5])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda of: of[:-1], "1 of 1728 trainings on digits are missing"),
        (lambda of: [*of, of[0]], "is there twice"),
        (lambda of: [{**of[0], "depth": 9}, *of[1:]], "no child of the space"),
        (lambda of: [{**of[0], "landscape": "cifar"}, *of[1:]], "no child of the space"),
    ],
)
def test_a_table_with_a_fault_is_refused(change, says, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=says):
        table.written(change(rows()), [])
    monkeypatch.setattr(table, "FILE", tmp_path / "children.csv")
    lines = table.written(rows(), []).splitlines()
    table.FILE.write_text("\n".join(lines[:40]))
    with pytest.raises(DataDamaged, match="install dlbench again"):
        table.CHILDREN.load()


def test_the_table_that_is_shipped():
    arrays = table.CHILDREN.load()
    for dataset in RECIPES:
        of = table.of_dataset(arrays, dataset)
        for name in ("validation_ninth", "validation_third", "validation", "test"):
            assert ((of[name] > 0) & (of[name] < 1)).all()
        assert (of["parameters"] == of["parameters"][:, :1]).all()
        shape = (40,) if dataset == "mnist1d" else (8, 8)
        net = c.build(SPACE.choices(200), shape)
        assert of["parameters"][200, 0] == sum(p.numel() for p in net.parameters())
        assert of["flops"][200, 0] == flops(net, shape)
    head = [line for line in table.FILE.read_text().splitlines() if line.startswith("#")]
    assert any("revision: " in line for line in head) and any("--preset table" in line for line in head)
    assert not any("(changed)" in line for line in head)


# ------------------------------------------------------------------------------------------------------ live training


class Inline:
    """Does at once what a pool of processes would do."""

    def __init__(self, *args, **kwargs):
        self.closed = False

    def submit(self, function, *args):
        future = concurrent.futures.Future()
        future.set_result(function(*args))
        return future

    def shutdown(self, cancel_futures):
        self.closed = True


def test_children_are_trained_when_asked_for_and_once_only(monkeypatch):
    trained = []

    def fake(dataset, seed, key):
        trained.append(key)
        return c.Child(0, 0, key[0] / 1000 + key[1] / 100, key[0] / 1000, 10, 20, 0.5)

    monkeypatch.setattr(live.concurrent.futures, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(live, "_trained", fake)
    with live.Live("digits", 4, 100, 2) as source:
        told = source.validation(np.array([[7, 7, 9, 7], [7, 5, 5, 5]]))
        assert np.allclose(told, [[0.007, 0.017, 0.029, 0.007], [0.007, 0.015, 0.025, 0.005]])
        assert sorted(trained) == [(5, 0), (5, 1), (5, 2), (7, 0), (7, 1), (9, 2)]
        assert np.allclose(source.test(np.array([[5, 7, 7, 5]])), [[0.005, 0.007, 0.007, 0.005]])
        assert sorted(trained) == [(5, 0), (5, 1), (5, 2), (7, 0), (7, 1), (7, 2), (9, 2)]
        assert np.allclose(source.best(), 0.007)
    assert source.pool.closed


def test_live_training_is_that_of_the_table(monkeypatch):
    monkeypatch.setitem(live.RECIPES, "mnist1d", TINY["mnist1d"])
    became = live._trained("mnist1d", 100, (child(rate=0.01), 2))
    (found,) = [of for k, seed, of in c.trained("mnist1d", TINY["mnist1d"], c.kin()[0], range(3), Context(100))
                if (k, seed) == (child(rate=0.01), 2)]  # fmt: skip
    assert became[:4] == pytest.approx(found[:4], abs=1e-9) and became[4:6] == found[4:6]
