"""Reference models for audits: small networks on the digits, made by ``dlbench models train``.

One of them is trained on PGD's images, and one is sure of itself where it should not be. All are trained on two thirds
of the digits, and measured on the others (``digits_split``). Nothing is tuned. A linear model, made of the
classes' means, is there without any training: what a network should beat.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from dlbench.models import Model
from dlbench.models.trained import Trained

if TYPE_CHECKING:
    from torch import nn

    from dlbench import Context

DATA = "digits_split"
EPS, PGD_STEPS = 0.1, 5  # of the attack in training, as robust_accuracy has it
WRONG = 1 / 3  # of the labels of the model that is too sure, each drawn by a die


def build(kind: str) -> nn.Module:
    """An untrained network for images of eight by eight pixels."""
    import torch

    from dlbench_plugins.robustness.classifiers import network

    return network(kind, torch.Size((1, 8, 8)))


def fit(net: nn.Module, context: Context, *, attacked: bool = False, by_heart: bool = False) -> Mapping[str, float]:
    """Train with the recipe of the studies on robustness; returns accuracy, confidence and calibration on the rest.

    Args:
        net: the network.
        context: gives data and seed.
        attacked: train on PGD's images.
        by_heart: train until wrong labels are known by heart, without weight decay.
    """
    import torch

    from dlbench import attacks, uncertainty
    from dlbench_plugins.images import CLASSES, images
    from dlbench_plugins.robustness.classifiers import Recipe, pgd_images
    from dlbench_plugins.robustness.classifiers import fit as train

    data = context.data(DATA)
    (x, y), (test_x, test_y) = images(DATA, len(data["test_x"]), context)
    recipe = Recipe(epochs=20)
    if by_heart:
        rng = context.rng("labels")
        chosen = torch.from_numpy(rng.random(len(y)) < WRONG)
        y = torch.where(chosen, torch.from_numpy(rng.integers(CLASSES, size=len(y))), y)
        recipe = Recipe(epochs=200, weight_decay=0.0)
    train(net, x, y, recipe, context, perturb=pgd_images(net, context, EPS, PGD_STEPS) if attacked else None)
    with torch.no_grad(), attacks.attack_mode(net):
        probabilities = net(test_x).double().softmax(1).numpy()
    return {
        "accuracy": uncertainty.accuracy(probabilities, test_y.numpy()),
        "confidence": float(probabilities.max(1).mean()),
        "ece": uncertainty.expected_calibration_error(probabilities, test_y.numpy()),
    }


def means() -> nn.Module:
    """A linear layer whose class is that of the nearest mean of the training images: |x - m|² is least."""
    import torch
    from torch import nn

    from dlbench import data
    from dlbench_plugins.images import CLASSES

    arrays = data.load(DATA)
    x = torch.from_numpy(arrays["train_x"]).flatten(1)
    y = torch.from_numpy(arrays["train_y"])
    of_class = torch.stack([x[y == label].mean(0) for label in range(CLASSES)])
    linear = nn.Linear(x.shape[1], CLASSES)
    with torch.no_grad():
        linear.weight.copy_(of_class)
        linear.bias.copy_(-of_class.square().sum(1) / 2)
    return nn.Sequential(nn.Flatten(), linear).eval()


DIGITS_MEANS = Model(build=means, dataset=DATA, about="The nearest of the classes' mean images; nothing is trained.")
DIGITS_MLP = Trained(
    name="digits_mlp",
    about="A perceptron with two hidden layers of 128.",
    dataset=DATA,
    build=partial(build, "mlp"),
    fit=fit,
)
DIGITS_CNN = Trained(
    name="digits_cnn",
    about="Two convolutions and a linear layer.",
    dataset=DATA,
    build=partial(build, "cnn"),
    fit=fit,
)
DIGITS_CNN_PGD = Trained(
    name="digits_cnn_pgd",
    about=f"The same, trained on PGD's images: {PGD_STEPS} steps in a cube of {EPS:g} to each side.",
    dataset=DATA,
    build=partial(build, "cnn"),
    fit=partial(fit, attacked=True),
)
DIGITS_MLP_OVERCONFIDENT = Trained(
    name="digits_mlp_overconfident",
    about="The perceptron, which knows its training labels by heart, a third of them drawn by a die: far too sure.",
    dataset=DATA,
    build=partial(build, "mlp"),
    fit=partial(fit, by_heart=True),
)
