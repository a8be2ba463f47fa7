"""Parts of curves and of images: classes in turn, nothing twice, who is chosen on how many."""

import numpy as np
import pytest
import torch

from dlbench import Context
from dlbench_plugins.limits.examples import Examples, Task, examples, in_turn


def curves(seed=100):
    return examples("mnist1d", (60, 30), 100, Context(seed=seed))


def test_classes_take_turns():
    assert in_turn(np.array([2, 0, 0, 0, 1, 2])).tolist() == [1, 4, 0, 2, 5, 3]


def test_small_training_sets_are_balanced_and_parts_do_not_overlap():
    task = curves()
    assert [len(part.y) for part in task] == [60, 30, 100]
    assert torch.equal(task.train.y[:20], torch.arange(20) % 10)
    assert len(torch.cat([part.x for part in task]).unique(dim=0)) == 190


def test_inputs_have_mean_0_and_deviation_1_and_shuffled_labels_are_the_same_in_another_order():
    task = curves().scaled()
    assert float(task.train.x.mean()) == pytest.approx(0, abs=1e-6) and float(task.train.x.std()) == pytest.approx(1)
    shuffled = task.with_shuffled_labels(Context(seed=100))
    assert torch.equal(shuffled.train.x, task.train.x) and not torch.equal(shuffled.train.y, task.train.y)
    assert torch.equal(shuffled.train.y.sort().values, task.train.y.sort().values)
    assert torch.equal(shuffled.test.y, task.test.y)


def test_images_and_their_published_test():
    rng = np.random.default_rng(0)
    made = {f"{part}_x": rng.random((n, 8, 8), dtype=np.float32) for part, n in (("train", 120), ("test", 40))}
    made |= {f"{part}_y": np.arange(n) % 10 for part, n in (("train", 120), ("test", 40))}
    task = examples("mnist", (60, 20), 30, Context(seed=100, loader={"mnist": made}.get))
    assert [part.x.shape for part in task] == [(60, 1, 8, 8), (20, 1, 8, 8), (30, 1, 8, 8)]
    assert [part.x.shape[1:] for part in task.flat()] == [(64,)] * 3
    assert task.seen_by(torch.nn.AvgPool2d(8)).train.x.shape == (60, 1)


def test_validation_chooses_on_as_many_examples_as_there_are_to_train_with():
    y = torch.tensor([0, 0, 1, 1])
    part = Examples(torch.zeros(4, 1), y)
    task = Task(part, part, Examples(torch.zeros(2, 1), torch.tensor([1, 1])))
    zeros, ones = (lambda x, k=k: torch.full((len(x),), k) for k in (0, 1))
    assert task.choose([ones, zeros], 2) == (1.0, 0.0)  # two examples, both of class 0
    assert task.choose([ones, zeros], 4) == (0.5, 1.0)  # both are right on half: the first
