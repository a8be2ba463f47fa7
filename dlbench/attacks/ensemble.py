"""AutoAttack: several attacks, each on what withstood the ones before, so that each sample's worst case counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from dlbench.attacks import checks
from dlbench.attacks.apgd import apgd
from dlbench.attacks.checks import Bounds
from dlbench.attacks.fab import fab
from dlbench.attacks.modes import Model
from dlbench.attacks.oracle import Transform
from dlbench.attacks.rewrite import Rewritten, worth_rewriting
from dlbench.attacks.rows import of
from dlbench.attacks.search import AttackResult
from dlbench.attacks.square import square
from dlbench.ops.limits import Number

Attack = Callable[..., AttackResult]
Version = Literal["standard", "plus", "rand", "custom"]

# The official budgets (Croce & Hein, ICML 2020, and the authors' implementation).
ATTACKS: dict[str, tuple[Attack, dict[str, Any]]] = {
    "apgd-ce": (apgd, {"loss": "ce", "steps": 100}),
    "apgd-dlr": (apgd, {"loss": "dlr", "steps": 100}),
    "apgd-t": (apgd, {"loss": "dlr_targeted", "steps": 100, "target_classes": 9}),
    "fab-t": (fab, {"steps": 100, "target_classes": 9}),
    "fab": (fab, {"steps": 100, "targeted": False, "target_classes": 9}),
    "square": (square, {"queries": 5000}),
}
RESTARTS_PLUS = {"apgd-ce": 5, "apgd-dlr": 5, "fab": 5}
VERSIONS: dict[str, tuple[str, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
}
ANSWERS_RAND = 20  # of a random model, to each question


def autoattack(
    model: Model | Rewritten,
    x: Tensor,
    y: Tensor,
    *,
    eps: Number,
    norm: Literal["linf", "l2"] = "linf",
    version: Version = "standard",
    attacks: Sequence[str] | None = None,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
    eot_samples: int | None = None,
    transform: Transform | None = None,
    rewrite: Literal["auto", "compile", "off"] = "auto",
    autocast: torch.dtype | None = None,
    **settings: Any,
) -> AttackResult:
    """The ensemble of Croce & Hein (ICML 2020, arXiv:2003.01690), with its official budgets.

    ``"standard"`` runs APGD on the cross-entropy (100 steps), targeted APGD on the difference of logits ratio (100
    steps for each of 9 classes), targeted FAB (the same) and Square (5,000 queries). ``"plus"`` gives APGD five
    restarts and adds the untargeted ratio and five restarts of untargeted FAB, to the nine likeliest classes;
    ``"rand"`` is for random models, APGD on both losses with 20 answers to each question; ``"custom"`` runs the
    ``attacks`` named. A ``transform``, and how often a random model is asked, hold for all of them: they are what an
    attacker faces. In the result ``broken_by`` says which one each sample fell to.

    A point is a success where more than half of the answers are wrong when it is asked about, and of many points some
    get wrong answers by luck. So with few answers the robust accuracy of a random model is a lower end: ask it about
    ``x_adv`` anew, many times, for what a point is worth.

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, any callable, or a :class:`Rewritten` model.
        x: [N, C, H, W] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: radius of the ball, in the units of x: a number, [N], or, in the L-infinity norm, [N or 1, C or 1, 1, ...].
        norm: of the ball.
        version: which attacks.
        attacks: with ``"custom"``, their names: apgd-ce, apgd-dlr, apgd-t, fab-t, fab, square.
        bounds: least and greatest value that an input can have.
        seed: of all random numbers.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        eot_samples: how often each point is asked about, by every attack; where not given, 20 times in ``"rand"``, else
            once.
        transform: what the model sees of a point, as in :func:`perturb`; the same for every attack.
        rewrite: as in :func:`perturb`.
        autocast: as in :func:`perturb`.
        settings: budgets to change, by attack with underscores: ``square={"queries": 1000}``, ``apgd_t={"steps": 20}``.

    Raises:
        ValueError: an unknown version or attack, and whatever the attacks refuse.
    """
    names = _names(version, attacks)
    if wrong := set(settings) - {name.replace("-", "_") for name in names}:
        raise ValueError(f"there is no attack {sorted(wrong)} in this run; it consists of {', '.join(names)}")
    checks.samples(x, y, bounds)
    checks.one_of(checks.MODES, rewrite=rewrite)
    eps = checks.lengths("eps", eps, x)
    ids = torch.arange(len(x), device=x.device) if sample_ids is None else sample_ids
    ids = checks.numbers_of("sample_ids", ids, len(x), x.device)
    answers = (ANSWERS_RAND if version == "rand" else 1) if eot_samples is None else eot_samples
    checks.whole(eot_samples=answers)
    asked_once = version != "rand" and answers == 1
    if rewrite != "off" and not isinstance(model, Rewritten) and asked_once and worth_rewriting(x, 100):
        model = Rewritten(model, x, compiled=rewrite == "compile")

    result: AttackResult | None = None
    broken_by = torch.full_like(y, -1)
    left = torch.arange(len(x), device=x.device)
    for number, name in enumerate(names):
        attack, budget = ATTACKS[name]
        budget = budget | {"eot_samples": answers, "transform": transform}
        budget |= {"restarts": RESTARTS_PLUS[name]} if version == "plus" and name in RESTARTS_PLUS else {}
        budget |= settings.get(name.replace("-", "_"), {})
        where = {
            "eps": of(eps, left),
            "norm": norm,
            "bounds": bounds,
            "seed": seed,
            "sample_ids": ids[left],
            "rewrite": rewrite,
            "autocast": autocast,
        }
        found = attack(model, x[left], y[left], **where, **budget)
        broken_by[left[found.success & found.clean_correct]] = number
        result = found if result is None else result.followed_by(left, found)
        left = (result.clean_correct & ~result.success).nonzero().squeeze(1)
        if not len(left):
            break
    assert result is not None  # noqa: S101  names are not empty
    return replace(result, attacks=names, broken_by=broken_by)


def _names(version: str, attacks: Sequence[str] | None) -> tuple[str, ...]:
    if version == "custom":
        if not attacks or not set(attacks) <= set(ATTACKS):
            raise ValueError(f"attacks is {attacks!r}; version 'custom' needs some of {', '.join(ATTACKS)}")
        return tuple(attacks)
    if version not in VERSIONS:
        raise ValueError(f"version is {version!r}; there are {', '.join(VERSIONS)} and custom")
    if attacks is not None:
        raise ValueError(f"attacks are given, and version is {version!r}; choose them with version='custom'")
    return VERSIONS[version]
