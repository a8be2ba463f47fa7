"""Ways of searching: the space, what each method asks for in cases worked out by hand, and that all find an optimum."""

import numpy as np
import pytest
import torch

from dlbench_plugins.search import methods as m
from dlbench_plugins.search.controllers import UNITS, Independent, Recurrent
from dlbench_plugins.search.landscapes import SD, Landscape, Tables, effects, joined, made, of_table
from dlbench_plugins.search.space import Space

SMALL = Space({"a": ("x", "y"), "b": (1, 2, 3)})
LARGER = Space({"a": range(4), "b": range(4), "c": range(3), "d": range(3)})


def rng():
    return np.random.default_rng(3)


def generator():
    return torch.Generator().manual_seed(3)


# -------------------------------------------------------------------------------------------------------------- space


def test_children_are_numbered_with_the_last_slot_fastest():
    assert len(SMALL) == 6
    assert SMALL.choices(4) == {"a": "y", "b": 2}
    assert SMALL.numbers(SMALL.codes).tolist() == list(range(6))
    assert SMALL.numbers(np.array([[[0, 2], [1, 0]]])).tolist() == [[2, 3]]


def test_neighbours_differ_in_one_slot():
    assert sorted(SMALL.neighbours[0].tolist()) == [1, 2, 3]
    for child, around in enumerate(LARGER.neighbours):
        assert ((LARGER.codes[around] != LARGER.codes[child]).sum(1) == 1).all()
        assert len(set(around.tolist())) == 3 + 3 + 2 + 2


# ------------------------------------------------------------------------------------------------------------ methods


def test_random_search_asks_for_every_child_once():
    method = m.Random(SMALL, 5, rng())
    asked = []
    for _ in range(6):
        asked.append(method.ask())
        method.tell(np.zeros(5))
    assert [sorted(of) for of in np.array(asked).T.tolist()] == [list(range(6))] * 5
    assert method.ask().max() < 6  # and begins again


def test_an_order_is_kept():
    method = m.InOrder(SMALL, 1, rng(), order=np.array([[5, 0, 3, 1, 2, 4]]))
    assert [int(method.ask()[0]) for _ in range(3)] == [5, 0, 3]


def test_the_oldest_die_in_evolution_however_good_they_are():
    """With all of the last two in every sample, the parent is the better of these, and never the first, the best."""
    method = m.Evolution(LARGER, 50, rng(), population=2, sample=40)
    worth = [9.0, 1.0, 2.0]
    for value in worth:
        method.ask()
        method.tell(np.full(50, value))
    parents, children = LARGER.codes[method.children[:, 2]], LARGER.codes[method.ask()]
    assert ((parents != children).sum(1) == 1).all()
    changed = np.bincount((parents != children).argmax(1), minlength=4)
    assert (changed > 4).all()  # each slot, as often as others on average


def test_local_search_goes_on_from_the_first_better_neighbour_and_begins_again_where_there_is_none():
    worth = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])  # of SMALL: the best is child 5, next to 2, 3 and 4
    method = m.Local(SMALL, 40, rng(), starts=1)
    at = method.ask()
    method.tell(worth[at])
    for _ in range(5):
        before = method.at.copy()
        asked = method.ask()
        near = (SMALL.codes[asked] != SMALL.codes[before]).sum(1) == 1
        seen_all = np.array(
            [set(SMALL.neighbours[b]) <= set(row) for b, row in zip(before, method.children[:, :-1], strict=True)]
        )
        assert (near | seen_all).all()
        method.tell(worth[asked])
    assert (np.sort(method.children, axis=1) == np.arange(6)).all()


def test_tpe_asks_for_what_good_children_have_and_others_have_not():
    """Of choice 0 of slot b all are good; so nearly all that is asked for has it, until all of it has been seen."""
    space = Space({"a": range(30), "b": range(3)})
    method = m.TPE(space, 20, rng(), share=0.3, candidates=24, starts=12)
    asked = []
    for _ in range(24):
        asked.append(method.ask())
        method.tell((space.codes[asked[-1]][:, 1] == 0).astype(float))
    later = space.codes[np.array(asked[14:])][..., 1]
    assert (later == 0).mean() > 0.8
    assert all(len(set(of)) == 24 for of in np.array(asked).T.tolist())


def test_optuna_is_an_arm_like_others():
    pytest.importorskip("optuna")
    method = m.Optuna(SMALL, 2, rng())
    for _ in range(12):
        method.tell(SMALL.codes[method.ask()][:, 1].astype(float))
    assert method.values.shape == (2, 12) and method.values.max() == 2


def test_the_best_so_far_by_hand():
    children = np.array([[4, 2, 7, 2, 9]])
    values = np.array([[0.5, 0.4, 0.8, 0.8, 0.9]])
    assert m.incumbents(children, values).tolist() == [[4, 4, 7, 7, 9]]


def test_halving_by_hand():
    """Two rungs, eta 2, four children in order; a half training each, and the better of two goes on.

    0 and 1 cost half each; 1 is in the better half of two and goes on for another half: 1.5. Then 2 (2 trainings) and 3
    (2.5), of whom 3 is among the best two of four, too, and goes on: 3.
    """
    partial = np.array([[[0.1, 0.4, 0.2, 0.3], [0.9, 0.5, 0.9, 0.6]]])
    found = m.halved(partial, np.array([[0, 1, 2, 3]]), budget=4, eta=2)
    assert found.tolist() == [[1, 1, 3, 3]]


def test_halving_finds_the_best_where_early_values_tell_it():
    values = rng().random((5, 1, 60)).repeat(3, 1)
    order = rng().permuted(np.tile(np.arange(60), (5, 1)), axis=1)
    found = m.halved(values, order, budget=30)
    assert (found[:, -1] == values[:, 0].argmax(1)).all()
    first = values[np.arange(5), 0, order[:, :9].T].max(0)  # the first training is nine ninths of children
    assert (values[np.arange(5), 0, found[:, 0]] <= first).all()


# -------------------------------------------------------------------------------------------------------- controllers


@pytest.mark.parametrize("kind", [Recurrent, Independent])
def test_policies_are_uniform_at_first_and_add_up(kind):
    method = kind(LARGER, 7, generator(), rate=0.01, entropy=0.0, batch=3)
    children = [method.ask() for _ in range(3)]
    assert all(of.shape == (7,) and of.max() < len(LARGER) for of in children)
    p = method.probabilities[0]
    assert p.shape == (7, 14) and np.allclose(p.sum(1), 4, atol=1e-5)
    assert np.allclose(p[:, :4], 0.25, atol=0.02)
    assert torch.allclose(method.entropy, torch.tensor(float(np.log(len(LARGER)))), atol=0.01)
    assert len(method.probabilities) == 1  # one step of a batch


def test_the_recurrent_policy_is_an_lstm():
    """The same gates as torch's, whose order is input, forget, candidate, output."""
    method = Recurrent(LARGER, 2, generator(), rate=0.01, entropy=0.0)
    cell = torch.nn.LSTMCell(UNITS, UNITS)
    weight, bias = method.gates[1].detach().T, method.gate_bias[1, 0].detach()
    order = torch.cat([torch.arange(i * UNITS, (i + 1) * UNITS) for i in (0, 1, 3, 2)])
    with torch.no_grad():
        cell.weight_ih.copy_(weight[order, :UNITS])
        cell.weight_hh.copy_(weight[order, UNITS:])
        cell.bias_ih.copy_(bias[order])
        cell.bias_hh.zero_()
        before, state = None, None
        for slot, choice in enumerate((2, 1, 0, 1)):
            ours = method.logits(slot, before)[1, 0]
            x = method.begin[1] if before is None else method.embeddings[slot - 1][1, before[1]]
            state = cell(x, state)
            assert torch.allclose(ours, state[0][0] @ method.heads[slot][1], atol=1e-5)
            before = torch.full((2, 1), choice)


@pytest.mark.parametrize("kind", [Recurrent, Independent])
def test_no_controller_touches_another(kind):
    """What one is told changes nothing of the other, given the same chance."""
    ends = []
    for other in (0.0, 5.0):
        method = kind(SMALL, 2, generator(), rate=0.05, entropy=0.01, batch=2)
        for k in range(8):
            asked = method.ask()
            method.tell(np.array([SMALL.codes[asked[0], 1], other * (k % 3)], dtype=float))
        ends.append([p.detach().clone() for p in method.parameters])
    assert all(torch.equal(a[0], b[0]) for a, b in zip(*ends, strict=True))
    assert any(not torch.equal(a[1], b[1]) for a, b in zip(*ends, strict=True))


def test_reinforce_by_hand():
    """One slot, two choices, one child a step. Adam's first step that moves anything is the rate long, up for a choice
    that was better than the average, and down for one that was worse."""
    space = Space({"a": (0, 1)})
    method = Independent(space, 40, generator(), rate=0.1, entropy=0.0)
    first = method.ask()
    method.tell(np.full(40, 0.5))  # as good as its own average: nothing changes
    assert torch.equal(method.scores[0], torch.zeros(40, 1, 2))
    second = method.ask()
    method.tell(np.where(second == 0, 1.0, 0.0))
    moved = method.scores[0][:, 0].detach().numpy()
    assert (np.sign(moved[:, 0]) == 1).all() and np.allclose(moved.sum(1), 0, atol=1e-6)
    assert first.shape == (40,)


@pytest.mark.parametrize("kind", [Recurrent, Independent])
def test_controllers_learn_what_is_rewarded(kind):
    method = kind(SMALL, 10, generator(), rate=0.05, entropy=0.001, batch=5)
    for _ in range(300):
        method.tell((SMALL.codes[method.ask()][:, 1] == 2).astype(float))
    assert method.probabilities[-1][:, -1].mean() > 0.9


@pytest.mark.parametrize("bonus", [0.0, 1.0])
def test_a_bonus_keeps_the_controller_from_settling(bonus):
    method = Recurrent(SMALL, 10, generator(), rate=0.05, entropy=bonus, batch=5)
    for _ in range(200):
        method.tell((SMALL.codes[method.ask()][:, 1] == 2).astype(float))
    assert (float(method.entropy.detach().mean()) > 1.2) == (bonus > 0)


# --------------------------------------------------------------------------------------------------------- landscapes


def test_effects_add_up_only_without_pairs():
    """Where choices add up, changing one slot changes as much whatever the others are."""
    alone = effects(LARGER, 3, rng()).reshape(3, 4, 4, 3, 3)
    step = alone[:, 1] - alone[:, 0]
    assert np.allclose(step, step[:, :1, :1, :1])
    paired = effects(LARGER, 3, rng(), pairs=True).reshape(3, 4, 4, 3, 3)
    step = paired[:, 1] - paired[:, 0]
    assert not np.allclose(step, step[:, :1, :1, :1])


def test_made_landscapes():
    separable, noise = made("separable", LARGER, 4, rng()), made("noise", LARGER, 4, rng())
    assert np.array_equal(separable.seen[:, -1], separable.worth)
    assert np.allclose(separable.worth.std(1), SD)
    both = Tables(joined([separable, noise]), rng())
    assert both.best().tolist() == [*separable.worth.max(1), *noise.worth.max(1)]
    asked = np.zeros((2, 8), dtype=np.int64)
    told = both.validation(asked)
    assert np.array_equal(told[0, :4], separable.worth[:, 0]) and np.array_equal(told[0, :4], told[1, :4])
    assert (told[0, 4:] != told[1, 4:]).all()  # drawn anew
    assert np.array_equal(both.test(asked)[1], joined([separable, noise]).worth[:, 0])


def test_a_search_is_told_one_training_and_judged_by_all():
    table = {name: np.arange(6.0).reshape(2, 3) + k for k, name in enumerate(
        ("validation_ninth", "validation_third", "validation", "test"))}  # fmt: skip
    table["parameters"] = np.array([[5.0] * 3, [9.0] * 3])
    landscape = of_table(table, 4)
    source = Tables(landscape, rng())
    assert source.validation(np.array([[0, 0, 0, 1]])).tolist() == [[2.0, 3.0, 4.0, 5.0]]
    assert source.test(np.array([[0, 0, 1, 1]])).tolist() == [[4.0, 4.0, 7.0, 7.0]]
    assert landscape.order[0].tolist() == [1, 0] and source.best().tolist() == [7.0] * 4
    assert isinstance(landscape, Landscape) and landscape.seen.shape == (4, 3, 2)
