"""Bounded perturbations that make a classifier err: by the gradient on its input, by queries alone, by chance.

``pgd`` and ``fgsm`` follow the gradient on the input with the weights fixed, ``fab`` walks along the decision boundary
to its nearest point, ``square`` only asks for the model's logits, ``noise`` asks for nothing and is the control. All of
them return an :class:`AttackResult` and leave the model as they found it.
"""

from dlbench.attacks.blackbox import noise
from dlbench.attacks.fab import NearestResult, fab
from dlbench.attacks.gradient import fgsm, pgd
from dlbench.attacks.modes import attack_mode, input_grad_only
from dlbench.attacks.search import AttackResult
from dlbench.attacks.square import square

__all__ = [
    "AttackResult",
    "NearestResult",
    "attack_mode",
    "fab",
    "fgsm",
    "input_grad_only",
    "noise",
    "pgd",
    "square",
]
