"""Predictions that come as several: of a network with its dropout left on, of the members of an ensemble.

Both give probabilities [members, n, C], whose mean over members is the prediction, and :func:`decompose` splits its
entropy. A :class:`dlbench.stacking.Stack` gives the same of many nets at once: ``stack(x).softmax(-1)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from dlbench.uncertainty import checks
from dlbench.uncertainty.checks import Array
from dlbench.uncertainty.metrics import entropy, mutual_information
from dlbench.uncertainty.modes import evaluating

BATCH = 1024  # inputs at a time


def mc_dropout(model: nn.Module, x: Tensor, samples: int = 30, seed: int = 0) -> Tensor:
    """[samples, n, C] probabilities of a classifier whose dropout is left on (Gal & Ghahramani 2016).

    Only dropout layers are switched on; batch normalization and the rest predict as they do in evaluation. All modules
    are afterwards in the modes they were in.

    Args:
        model: takes [n, ...] and gives logits [n, C]; its dropout layers are modules of :mod:`torch.nn`.
        x: [n, ...], on the model's device.
        samples: passes.
        seed: of the dropout; the generators of the caller go on as if nothing had been drawn.

    Raises:
        ValueError: the model has no dropout layer with a rate above 0, or not one sample is asked for.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; expected at least 1")
    if not any(layer.p > 0 for layer in model.modules() if isinstance(layer, _DropoutNd)):
        raise ValueError("the model has no dropout layer with a rate above 0, so that all samples would be the same")
    with evaluating(model), torch.random.fork_rng([x.device] if x.is_cuda else []):
        torch.manual_seed(seed)
        for layer in model.modules():
            if isinstance(layer, _DropoutNd):
                layer.train()
        return torch.stack([_probabilities(model, x) for _ in range(samples)])


def ensemble(models: Sequence[nn.Module], x: Tensor) -> Tensor:
    """[members, n, C] probabilities of several classifiers (Lakshminarayanan et al. 2017), each in evaluation mode.

    Args:
        models: each takes [n, ...] and gives logits [n, C].
        x: [n, ...], on the models' device.

    Raises:
        ValueError: there is no model.
    """
    if not models:
        raise ValueError("an ensemble needs at least one model; none was given")
    found = []
    for model in models:
        with evaluating(model):
            found.append(_probabilities(model, x))
    return torch.stack(found)


class Decomposition(NamedTuple):
    """Entropies [n] in nats; total = aleatoric + epistemic."""

    total: Array  # of the members' mean
    aleatoric: Array  # the members' mean entropy: what each of them holds for noise in the label
    epistemic: Array  # mutual information of label and member: what they disagree about


def decompose(members: ArrayLike) -> Decomposition:
    """The entropy of an ensemble's prediction, split into two (Depeweg et al. 2018).

    Args:
        members: probabilities [members, n, C].

    Raises:
        ValueError: members that are not of that shape, or no probabilities.
    """
    p = checks.members(members)
    return Decomposition(entropy(p.mean(0)), entropy(p).mean(0), mutual_information(p))


@torch.no_grad()
def _probabilities(model: nn.Module, x: Tensor) -> Tensor:
    answers = torch.cat([model(x[start : start + BATCH]) for start in range(0, max(len(x), 1), BATCH)])
    if answers.dim() != 2 or len(answers) != len(x):
        raise ValueError(f"the model returned {list(answers.shape)} for {len(x)} inputs; expected logits [n, classes]")
    return answers.softmax(1)
