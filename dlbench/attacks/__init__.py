"""Bounded perturbations that make a classifier err: by the gradient on its input, by queries alone, by chance.

``pgd`` and ``fgsm`` follow the gradient on the input with the weights fixed, ``random_search`` only asks for the
model's logits, ``noise`` asks for nothing and is the control. All of them return an :class:`AttackResult` and leave the
model as they found it. ``diagnose`` asks whether what they found can be believed.
"""

from dlbench.attacks.blackbox import noise, random_search
from dlbench.attacks.diagnosis import Diagnosis, Finding, diagnose
from dlbench.attacks.gradient import fgsm, mifgsm, perturb, pgd
from dlbench.attacks.modes import attack_mode, input_grad_only
from dlbench.attacks.search import AttackResult

__all__ = [
    "AttackResult",
    "Diagnosis",
    "Finding",
    "attack_mode",
    "diagnose",
    "fgsm",
    "input_grad_only",
    "mifgsm",
    "noise",
    "perturb",
    "pgd",
    "random_search",
]
