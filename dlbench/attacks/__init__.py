"""Bounded perturbations that make a classifier err: by the gradient on its input, by queries alone, by chance.

``perturb`` is the engine; ``pgd``, ``fgsm`` and ``mifgsm`` are methods that it runs, which follow the gradient on the
input with the weights fixed. So do ``apgd``, which finds its own step sizes, and ``fab``, ``deepfool`` and ``cw``,
which look for the nearest point that is misclassified. ``square`` and ``spsa`` only ask for the model's logits;
``noise`` asks for nothing and is the control. ``autoattack`` runs several on what is left, ``robustness_curve`` one
over a grid of radii, and ``diagnose`` asks whether what they found can be believed. All of them leave the model as they
found it.
"""

from dlbench.attacks.apgd import apgd
from dlbench.attacks.blackbox import noise
from dlbench.attacks.curve import RobustnessCurve, robustness_curve
from dlbench.attacks.cw import cw
from dlbench.attacks.deepfool import deepfool
from dlbench.attacks.diagnosis import Diagnosis, Finding, diagnose
from dlbench.attacks.ensemble import autoattack
from dlbench.attacks.fab import fab
from dlbench.attacks.gradient import fgsm, mifgsm, perturb, pgd
from dlbench.attacks.modes import attack_mode, input_grad_only
from dlbench.attacks.rewrite import Rewritten
from dlbench.attacks.search import AttackResult
from dlbench.attacks.spsa import spsa
from dlbench.attacks.square import square

__all__ = [
    "AttackResult",
    "Diagnosis",
    "Finding",
    "Rewritten",
    "RobustnessCurve",
    "apgd",
    "attack_mode",
    "autoattack",
    "cw",
    "deepfool",
    "diagnose",
    "fab",
    "fgsm",
    "input_grad_only",
    "mifgsm",
    "noise",
    "perturb",
    "pgd",
    "robustness_curve",
    "spsa",
    "square",
]
