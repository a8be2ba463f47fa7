"""Means with intervals: what is drawn is what the statistics say."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from dlbench import draw_means, stats


@pytest.fixture
def axes():
    return Figure().add_subplot()


def test_line_and_whiskers_are_the_t_intervals(axes):
    samples = [[0.1, 0.2, 0.3], [0.5, math.nan, 0.7]]
    draw_means(axes, [2, 1], samples, color="red", label="a")
    [line] = axes.lines
    assert line.get_xdata().tolist() == [1, 2]
    assert line.get_ydata() == pytest.approx([0.6, 0.2])
    [whiskers] = axes.collections
    [first, second] = [segment[:, 1] for segment in whiskers.get_segments()]
    assert first == pytest.approx(stats.t_interval([0.5, 0.7])[1:3])
    assert second == pytest.approx(stats.t_interval(samples[0])[1:3])


def test_geometric_means_leave_out_what_has_no_logarithm(axes):
    draw_means(axes, [1], [[1.0, 4.0, 0.0, math.nan]], log=True, color="red")
    assert axes.lines[0].get_ydata() == pytest.approx([2.0])


def test_intervals_end_where_the_quantity_does(axes):
    draw_means(axes, [1], [[0.0, 1.0]], limits=(0, 1), color="red")
    assert axes.collections[0].get_segments()[0][:, 1].tolist() == [0, 1]


def test_one_seed_has_no_interval_and_nothing_draws_nothing(axes):
    draw_means(axes, [1, 2], [[3.0], []], band=True, color="red")
    assert axes.lines[0].get_xydata().tolist() == [[1, 3]]
    draw_means(axes, [], [], color="red")
    draw_means(axes, [1], [np.array([math.nan])], color="red")
    assert len(axes.lines) == 1
