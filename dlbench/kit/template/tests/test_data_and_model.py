"""The data set and the model."""

import torch
from dlbench import data, models

from example_plugin.data import BARS, CLASSES, SIDE, TEST, TRAIN


def test_bars_are_registered_and_the_same_each_time():
    bars, again = data.load("example_plugin_bars"), BARS.load()
    assert bars["train_x"].shape == (TRAIN, SIDE, SIDE) and len(bars["test_y"]) == TEST
    assert all((bars[name] == again[name]).all() for name in bars)
    assert bars["test_x"].min() >= 0 and bars["test_x"].max() <= 1
    assert set(bars["train_y"]) == set(range(CLASSES))


def test_the_nearest_mean_is_the_largest_logit():
    bars = BARS.load()
    net = models.get("example_plugin_means")()
    x, y = torch.from_numpy(bars["test_x"]), torch.from_numpy(bars["test_y"])
    answers = net(x[:, None]).argmax(1)
    means = torch.stack([torch.from_numpy(bars["train_x"][bars["train_y"] == kind].mean(0)) for kind in range(CLASSES)])
    nearest = (x[:, None] - means).square().sum((2, 3)).argmin(1)
    assert (answers == nearest).double().mean() > 0.999  # but for rounding
    assert (answers == y).double().mean() > 0.9
