"""Scalings find what the logits were scaled with, and sets cover what they promise."""

import math

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from dlbench import uncertainty as u


def logits_and_labels(n=4000, classes=4, seed=0):
    """Logits that are calibrated as they are."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.standard_normal((n, classes))
    return z, (rng.random((n, 1)) > softmax(z, 1).cumsum(1)[:, :-1]).sum(1)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_scaling_finds_the_temperature(temperature):
    z, y = logits_and_labels()
    found = u.TemperatureScaling.fit(z * temperature, y)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    test_z, test_y = logits_and_labels(seed=1)
    p = found(test_z * temperature)
    assert np.array_equal(p.argmax(1), test_z.argmax(1))
    assert u.expected_calibration_error(p, test_y) < 0.03


def test_no_other_temperature_is_likelier():
    z, y = logits_and_labels(n=200)
    at = [u.negative_log_likelihood(softmax(z / t, 1), y) for t in np.geomspace(0.2, 5, 200)]
    assert u.negative_log_likelihood(u.TemperatureScaling.fit(z, y)(z), y) <= min(at)


def test_the_temperature_of_faultless_logits_is_finite():
    assert 0 < u.TemperatureScaling.fit(np.eye(3), np.arange(3)).temperature < 0.1


def test_vector_scaling_undoes_a_scale_and_an_offset_a_class():
    z, y = logits_and_labels()
    scale, offset = np.array([0.5, 1.0, 2.0, 3.0]), np.array([1.0, -2.0, 0.0, 3.0])
    found = u.VectorScaling.fit(z * scale + offset, y)
    assert found.scale * scale == pytest.approx(1, abs=0.15)
    p = found(z * scale + offset)
    assert u.negative_log_likelihood(p, y) <= u.negative_log_likelihood(softmax(z, 1), y)
    assert u.TemperatureScaling.fit(z * scale + offset, y)(z * scale + offset).argmax(1).tolist() != y.tolist()


def test_vector_scaling_is_at_its_minimum():
    from scipy.optimize import check_grad

    z, y = logits_and_labels(n=300)
    found = u.VectorScaling.fit(z, y)

    def loss(parameters):
        scale, offset = parameters.reshape(2, 4)
        return -log_softmax(z * scale + offset, axis=1)[np.arange(300), y].mean()

    at = np.concatenate([found.scale, found.offset])
    assert check_grad(loss, lambda _: np.zeros(8), at) < 1e-3


@pytest.mark.parametrize("scaling", [u.TemperatureScaling, u.VectorScaling])
@pytest.mark.parametrize(
    ("z", "y", "says"),
    [
        (np.zeros((3, 4, 2)), [0, 1, 2], r"logits has shape \[3, 4, 2\]"),
        ([[0.0, math.inf]], [0], "1 of 2 values are not finite"),
        (np.zeros((3, 2)), [0, 1, 2], "labels go from 0 to 2"),
    ],
)
def test_bad_input_to_a_scaling_is_named(scaling, z, y, says):
    with pytest.raises(ValueError, match=says):
        scaling.fit(z, y)


def test_vector_scaling_asks_for_every_class_and_as_many():
    z, y = logits_and_labels(n=50)
    with pytest.raises(ValueError, match="no held-out example of class 3"):
        u.VectorScaling.fit(z[y < 3], y[y < 3])
    with pytest.raises(ValueError, match="logits have 3 classes; this scaling was fitted on 4"):
        u.VectorScaling.fit(z, y)(z[:, :3])


# --------------------------------------------------------------------------------------------------- conformal sets


def test_quantile_by_hand():
    scores = np.arange(9.0)[::-1]
    assert u.conformal_quantile(scores, 0.1) == 8  # ⌈10 · 0.9⌉ = 9th of nine
    assert u.conformal_quantile(scores, 0.2) == 7
    assert u.conformal_quantile(scores, 0.05) == math.inf  # it would be the tenth


def test_scores_by_hand():
    p = np.array([[0.5, 0.2, 0.3]])
    assert u.lac_scores(p).tolist() == [[0.5, 0.8, 0.7]]
    assert u.aps_scores(p).tolist() == [pytest.approx([0.5, 1.0, 0.8])]


@pytest.mark.parametrize("scores", [u.lac_scores, u.aps_scores])
def test_sets_cover_what_they_promise_even_of_a_bad_model(scores):
    z, y = logits_and_labels()
    p = softmax(3 * z, 1)  # over-confident
    covered = []
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(len(y))
        held_out, new = order[:100], order[100:]
        sets = u.ConformalSets.fit(p[held_out], y[held_out], 0.1, scores)(p[new])
        covered.append(sets[np.arange(len(new)), y[new]].mean())
    assert 0.89 < np.mean(covered) < (0.92 if scores is u.lac_scores else 0.97)


def test_too_few_held_out_examples_leave_every_label_possible():
    p = np.array([[0.9, 0.1], [0.8, 0.2]])
    assert u.ConformalSets.fit(p, [0, 0], 0.1)(p).all()


def test_bad_input_to_sets_is_named():
    with pytest.raises(ValueError, match=r"miss is 1\.0"):
        u.ConformalSets.fit([[0.5, 0.5]], [0], 1.0)
    with pytest.raises(ValueError, match="softmax"):
        u.ConformalSets.fit([[0.5, 2.5]], [0], 0.1)
    with pytest.raises(ValueError, match=r"scores have shape \[0\]"):
        u.conformal_quantile([], 0.1)
