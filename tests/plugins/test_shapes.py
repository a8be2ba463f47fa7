"""Pictures with a sign and a distractor: what is drawn is what the masks say, and only the sign knows the class."""

import numpy as np
import pytest

from dlbench_plugins.limits.shapes import CELL, SIGNS, ideal_weights, shapes


@pytest.fixture(scope="module")
def pictures():
    return shapes(600, np.random.default_rng(100), noise=0.0)


def test_the_same_generator_gives_the_same_pictures():
    first, again = (shapes(5, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first.x, again.x) and first.x.dtype == np.float32


def test_without_noise_there_are_nine_pixels_of_each(pictures):
    assert pictures.x.shape == (600, 16, 16)
    assert np.array_equal(pictures.x == 1, pictures.sign | pictures.distractor)
    assert not (pictures.sign & pictures.distractor).any() and (pictures.place | ~pictures.sign).all()
    sizes = [set(mask.sum((1, 2)).tolist()) for mask in (pictures.sign, pictures.distractor, pictures.place)]
    assert sizes == [{9}, {9}, {25}]


def test_the_label_is_the_sign_that_is_drawn(pictures):
    for x, y, place in zip(pictures.x[:50], pictures.y, pictures.place, strict=False):
        sign = list(SIGNS.values())[y]
        assert ["".join("#" if pixel else "." for pixel in row) for row in x[place].reshape(5, 5)] == list(sign)


def test_sign_and_distractor_are_in_different_cells_and_every_cell_has_both_at_times(pictures):
    cells = [
        mask.reshape(600, 2, CELL, 2, CELL).any((2, 4)).reshape(600, 4) for mask in (pictures.sign, pictures.distractor)
    ]
    assert not (cells[0] & cells[1]).any() and all((of.sum(1) == 1).all() for of in cells)
    counts = np.einsum("na,nb->ab", cells[0].astype(int), cells[1].astype(int))
    assert (counts[~np.eye(4, dtype=bool)] > 20).all()


def test_the_distractor_knows_nothing_of_the_class(pictures):
    means = np.array([pictures.distractor[pictures.y == y].mean(0) for y in range(4)])
    assert np.abs(means - means.mean(0)).max() < 0.1


def test_what_is_left_without_a_part_is_the_noise():
    pictures = shapes(300, np.random.default_rng(0), cells=3, noise=0.5)
    assert pictures.x.shape == (300, 24, 24)
    left = pictures.without(pictures.sign | pictures.distractor)
    assert float(left.std()) == pytest.approx(0.5, rel=0.02) and abs(float(left.mean())) < 0.01
    few = pictures.only(np.array([7, 2]))
    assert np.array_equal(few.x, pictures.x[[7, 2]]) and np.array_equal(few.sign, pictures.sign[[7, 2]])


def test_a_linear_model_that_knows_the_signs_is_right_without_noise(pictures):
    weights = ideal_weights()
    assert weights.shape == (4, 16, 16) and np.allclose(weights.sum(0), 0, atol=1e-6)
    scores = np.einsum("nhw,chw->nc", pictures.without(pictures.distractor), weights)
    assert (scores.argmax(1) == pictures.y).all()
