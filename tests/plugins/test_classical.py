"""Classical learners learn what is plain in every setting, and cost what the formulas say."""

import numpy as np
import pytest
import torch

from dlbench.cost import count_flops
from dlbench_plugins.limits import classical
from dlbench_plugins.limits.classical import CLASSICAL, learnt
from dlbench_plugins.networks import logistic_regression


@pytest.fixture(scope="module")
def plain():
    """Twenty examples of each of ten classes, a feature each."""
    rng = np.random.default_rng(0)
    y = torch.arange(200) % 10
    x = torch.nn.functional.one_hot(y, 10).float() + torch.from_numpy(0.05 * rng.standard_normal((200, 10))).float()
    return x, y


@pytest.mark.parametrize("subject", CLASSICAL)
def test_every_setting_learns_what_is_plain(subject, plain):
    x, y = plain
    found = learnt(subject, x, y, trials=4, rounds=8)
    assert len(found) == 4
    for one in found:
        assert (one.answers(x) == y).double().mean() > 0.95
        assert one.an_answer > 0 and one.parameters > 0 and (one.training > 0) == (subject != "neighbours")


def test_what_answers_cost_by_hand(plain):
    found = {subject: learnt(subject, *plain, trials=2, rounds=8) for subject in CLASSICAL}
    assert found["logistic"][0].an_answer == 2 * 10 * 10 and found["logistic"][0].parameters == 110
    assert found["neighbours"][0].an_answer == 200 * 30
    more, fewer = found["boosting"]
    assert more.an_answer == 8 * 10 * 3 and fewer.an_answer == 4 * 10 * 3
    assert more.training == 8 * 10 * 3 * 2 * 200 * 10 == 2 * fewer.training
    machine = classical.SVC(C=10, gamma=4 / 10).fit(plain[0].numpy(), plain[1].numpy())
    vectors = len(machine.support_)
    assert found["svm"][0].an_answer == vectors * (31 + 18) and found["svm"][0].parameters == vectors * 19 + 45
    assert found["svm"][0].training == 200 * 200 * 31 / 2 + 4 * 40 * machine.n_iter_.sum()


def test_training_logistic_regression_costs_two_products_a_look(plain):
    """Forward and the weights' gradient: two products of 2ndk each, at every look that the line search takes."""
    a_look = 2 * 2 * 200 * 10 * 10
    flops = learnt("logistic", *plain, trials=1, rounds=8)[0].training
    assert flops % a_look == 0 and 2 <= flops / a_look <= 2 * classical.ITERATIONS
    x, y = plain
    iterations, ridge = classical.ITERATIONS, classical.RIDGES[0]
    assert flops == count_flops(lambda: logistic_regression(x, y, 10, iterations=iterations, ridge=ridge))


def test_fewer_rounds_are_another_model():
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.standard_normal((100, 5))).float(), torch.arange(100) % 10
    more, fewer = learnt("boosting", x, y, trials=2, rounds=8)
    others = torch.from_numpy(rng.standard_normal((300, 5))).float()
    assert not torch.equal(more.answers(others), fewer.answers(others))
