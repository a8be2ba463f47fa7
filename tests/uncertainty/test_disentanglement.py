"""Decompositions against closed forms and simulation, and the disentanglement error by hand."""

import numpy as np
import pytest
import torch

from dlbench.uncertainty import decompose
from dlbench.uncertainty.disentanglement import (
    dirichlet_decomposition,
    disentanglement_error,
    gaussian_logits_decomposition,
)


def test_dirichlet_entropies_by_hand():
    """Of a uniform distribution of two probabilities the expected entropy is 1/2 nat."""
    found = dirichlet_decomposition([[1.0, 1.0], [1e6, 1e6]])
    assert found.total == pytest.approx([np.log(2)] * 2)
    assert found.aleatoric == pytest.approx([0.5, np.log(2)], abs=1e-5)
    assert found.epistemic == pytest.approx([np.log(2) - 0.5, 0], abs=1e-5)


def test_dirichlet_entropies_are_those_of_draws():
    alpha = np.array([0.7, 2.0, 5.0])
    draws = np.random.default_rng(0).dirichlet(alpha, 200_000)[:, None, :]
    sampled, exact = decompose(draws), dirichlet_decomposition(alpha[None])
    assert exact.aleatoric == pytest.approx(sampled.aleatoric, abs=5e-3)
    assert exact.epistemic == pytest.approx(sampled.epistemic, abs=5e-3)


def test_concentrations_of_nothing_are_refused():
    with pytest.raises(ValueError, match="go down to 0"):
        dirichlet_decomposition([[0.0, 1.0]])


def test_gaussian_logits_without_noise_have_the_softmaxs_entropy():
    means = torch.tensor([[[0.0, np.log(3)]]]).expand(4, 1, 2)
    expected = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    for part in gaussian_logits_decomposition(means, torch.zeros(4, 1, 2)):
        assert part == pytest.approx([expected], abs=1e-6)


def test_gaussian_logits_answer_to_their_own_variance():
    certain = torch.tensor([[[4.0, 0.0]]]).expand(2, 1, 2)
    noisy = gaussian_logits_decomposition(certain, torch.full((2, 1, 2), 100.0), samples=2000)
    assert noisy.aleatoric[0] > noisy.epistemic[0] + 0.3
    assert noisy.total[0] == pytest.approx(noisy.aleatoric[0])
    divided = gaussian_logits_decomposition(
        torch.tensor([[[14.0, 0.0]], [[-6.0, 0.0]]]), torch.zeros(2, 1, 2), samples=2000
    )
    assert divided.epistemic[0] > divided.aleatoric[0] + 0.3
    with pytest.raises(ValueError, match="must not be negative"):
        gaussian_logits_decomposition(certain, -torch.ones(2, 1, 2))
    with pytest.raises(ValueError, match=r"expected both \[members, n, C\]"):
        gaussian_logits_decomposition(certain, torch.ones(2, 2))


def test_the_disentanglement_error_by_hand():
    falling, rising, still = [0.9, 0.7, 0.5], [0.1, 0.2, 0.3], [0.4, 0.4, 0.4]
    assert disentanglement_error((falling, still, rising), (falling, rising, still)) == pytest.approx(0)
    assert disentanglement_error((falling, rising, rising), (falling, rising, rising)) == pytest.approx(0.5)
    assert disentanglement_error((falling, rising, falling), (falling, falling, rising)) == pytest.approx(1.5)
    assert disentanglement_error((falling, still, still), (falling, still, still)) == pytest.approx(0.5)
    bent = [0.1, 0.3, 0.1]  # correlates with nothing here
    assert disentanglement_error((falling, bent, rising), (falling, rising, bent)) == pytest.approx(0)


def test_levels_that_show_nothing_are_refused():
    with pytest.raises(ValueError, match="size: accuracies and uncertainties have shapes"):
        disentanglement_error(([1, 0], [1, 0], [1, 0]), ([1, 0, 0], [1, 0, 0], [1, 0, 0]))
    with pytest.raises(ValueError, match="noise: accuracies"):
        disentanglement_error(([1, 0, 0], [1, 0, 0], [1, 0, 0]), ([1, 0, 0], [1, 0], [1, 0, 0]))
