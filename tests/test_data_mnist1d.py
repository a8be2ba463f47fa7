"""MNIST-1D: the templates, and that each step of the recipe is there."""

import numpy as np
import pytest

from dlbench.data.mnist1d import LENGTH, mnist1d, templates


def test_templates_begin_at_nought_and_vary_alike():
    curves = templates()
    assert curves.shape == (10, 12)
    assert (curves[:, 0] == 0).all()
    assert curves.std(1) == pytest.approx(1 / 6)
    assert curves[4, 4] == pytest.approx(min(curves[4]))  # the downstroke of a four


def test_curves_are_standard_and_of_every_digit_as_often():
    x, y = mnist1d(1000, np.random.default_rng(0))
    assert x.shape == (1000, LENGTH)
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert x.mean() == pytest.approx(0, abs=1e-5)
    assert x.std() == pytest.approx(1, abs=1e-5)
    assert np.bincount(y).tolist() == [100] * 10


def test_the_same_seed_gives_the_same_curves_and_another_others():
    first, again, other = (mnist1d(20, np.random.default_rng(seed))[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_template_lies_in_its_curve_somewhere():
    """Correlation with the best stretched and shifted template tells digits far better than chance does."""
    x, y = mnist1d(300, np.random.default_rng(0))
    best = []
    for curve in templates():
        scores = []
        for length in np.linspace(12 * 40 / 72, 18 * 40 / 72, 5):
            shape = np.interp(np.linspace(0, 11, round(length)), np.arange(12), curve)
            shape = (shape - shape.mean()) / shape.std()
            windows = np.lib.stride_tricks.sliding_window_view(np.concatenate([x, x[:, :12]], 1), len(shape), axis=1)
            windows = windows - windows.mean(2, keepdims=True)
            scores.append((windows @ shape / np.sqrt(len(shape)) / np.linalg.norm(windows, axis=2)).max(1))
        best.append(np.max(scores, 0))
    assert (np.argmax(best, 0) == y).mean() > 0.4


def test_no_curves_are_refused():
    with pytest.raises(ValueError, match="n is 0; expected at least 1"):
        mnist1d(0, np.random.default_rng(0))


def test_curves_that_stay_and_the_same_curves_elsewhere():
    """Without noise a curve that stays begins where it stays; a move by no number of points is refused."""
    (here, digits), (there, _) = (mnist1d(2000, np.random.default_rng(0), moved=(at, at + 1)) for at in (0, 36))
    of_each = [np.stack([x[digits == digit].mean(0) for digit in range(10)]) for x in (here, there)]
    spread = [means.std(0) for means in of_each]  # digits differ where the curves are
    assert spread[0][:6].mean() > 3 * spread[0][20:].mean()
    assert spread[1][20:26].mean() > 3 * spread[1][:20].mean()
    with pytest.raises(ValueError, match="moved is"):
        mnist1d(2, np.random.default_rng(0), moved=(3, 3))
