"""Attacks that follow the gradient of the loss on the input, with weights and label fixed."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from dlbench.attacks import checks
from dlbench.attacks.checks import Bounds
from dlbench.attacks.climb import Climb, Manner
from dlbench.attacks.modes import Model, undisturbed
from dlbench.attacks.oracle import Transform, oracles
from dlbench.attacks.rewrite import Rewritten, original, pieces_of
from dlbench.attacks.search import AttackResult, Keep, Loss, Norm, Search, Stop
from dlbench.ops.limits import Number


def perturb(
    model: Model | Rewritten,
    x: Tensor,
    y: Tensor,
    *,
    eps: Number,
    norm: Norm = "linf",
    steps: int = 40,
    step_size: Number | None = None,
    random_start: bool = True,
    start: Tensor | None = None,
    restarts: int = 1,
    loss: Loss = "ce",
    target: Tensor | int | None = None,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
    momentum: float | None = None,
    sparsity: float = 0.05,
    eot_samples: int = 1,
    transform: Transform | None = None,
    keep: Keep | None = None,
    stop: Stop = "cycle",
    compact: bool = True,
    rewrite: Literal["auto", "compile", "off"] = "auto",
    autocast: torch.dtype | None = None,
    mask: Tensor | None = None,
) -> AttackResult:
    """Projected gradient steps inside a ball, the worst of several random starts for each sample.

    It does only what can still change the answer: gradients are taken with respect to inputs alone; samples leave the
    batch when they are decided; a restart ends where it comes back to a point at which it has been, since it would then
    go round for ever; when few points are left, the restarts to come are run beside them. And it is exact: every such
    shortcut is taken only where it proves itself on the model at hand (rewritten models against the original's logits,
    cycles against a model that gives different answers to the same question), and labels are the original model's.

    The model is in eval mode meanwhile; its parameters, their ``.grad``, its buffers and training flags and torch's
    random state are afterwards what they were, also after an exception. Bounds hold exactly; ``eps=0`` returns x bit by
    bit. A random start depends on the seed, the restart and the sample's id alone, so results do not depend on how
    samples are split into batches, as long as ``sample_ids`` go with them; what the model answers may still differ by
    rounding, where its kernels depend on the size of the batch. Only the costs vary: restarts run side by side may
    turn out not to have been needed.

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, any callable, or a :class:`Rewritten` model.
        x: [N, C, ...] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: radius of the ball, in the units of x: a number, [N], or, in the L-infinity norm, [N or 1, C or 1, 1, ...],
            which is how a model with normalised inputs is attacked without a wrapper (eps / std).
        norm: of the ball: ``"linf"``, ``"l2"`` or ``"l1"``.
        steps: gradient steps a restart.
        step_size: length of a step in that norm, in the same forms; 2.5 eps / steps where not given, enough to cross
            the ball.
        random_start: start at a uniformly drawn point of the ball, else at x.
        start: [N, C, ...], where the first restart begins in place of a random point, such as where another attack or
            library ended; what is not in the ball and the bounds goes to the nearest point that is.
        restarts: random starts; a later one only attacks what withstood the earlier ones.
        loss: ``"ce"`` (cross-entropy), ``"margin"`` (best other logit minus the label's own), ``"dlr"`` (the margin
            over the spread of the logits), or a function of logits [n, K] and labels [n] that gives [n].
        target: the label to reach, one for all or [N]; without it any wrong label is the goal.
        bounds: least and greatest value that an input can have; numbers, or [C] each.
        seed: of random starts and draws.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        momentum: the decay of MI-FGSM's accumulated gradient (Dong et al. 2018); None for none. Only ``"linf"``.
        sparsity: the share of coordinates that a step in ``"l1"`` moves (Tramèr & Boneh 2019).
        eot_samples: how often each point is asked about, for random models and transforms; the gradient is that of the
            mean loss, and the goal is reached where more than half of the answers reach it.
        transform: ``transform(points [m, ...], draws [m] int64)`` gives what the model sees, differentiably; row i
            undergoes the random transform that the word ``draws[i]`` names, always the same for the same word.
        keep: ``"first"`` keeps the first point that reaches the goal, else the one of best loss; ``"best_loss"`` the
            one of best loss among those that reach it; ``"last"`` the last. ``"first"`` unless ``stop="never"``.
        stop: ``"success"`` drops a sample as soon as the goal is reached; ``"cycle"`` also ends restarts that have come
            back; ``"never"`` takes every step, for training, transfer and confidence.
        compact: whether decided samples leave the batch; otherwise they stay, and change nothing.
        rewrite: ``"auto"`` looks for a faster form of the model where the work is large enough to pay for it, which may
            change the last bits of a result from run to run; ``"compile"`` also tries ``torch.compile``; ``"off"``.
        autocast: run the model in this type during the search (``torch.bfloat16``), which is faster where the processor
            has instructions for it; the model as it is has the last word on every label.
        mask: [N] bool, which samples to attack; the others are only looked at.

    Raises:
        ValueError: labels the model does not have, x outside the bounds, an impossible setting.
    """
    checks.samples(x, y, bounds)
    checks.whole(steps=steps, restarts=restarts, eot_samples=eot_samples)
    checks.one_of(checks.MODES, rewrite=rewrite)
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts is {restarts} without a random start: all of them would be the same")
    if momentum is not None and (norm != "linf" or not 0 <= momentum < math.inf):
        raise ValueError(f"momentum is {momentum} with norm {norm!r}; it must be zero or more, and goes with 'linf'")
    if not 0 < sparsity <= 1:
        raise ValueError(f"sparsity is {sparsity!r}; it is a share of the coordinates, above 0 and up to 1")
    if start is not None:
        checks.like("start", start, x)
    eps = checks.lengths("eps", eps, x)
    step_size = 2.5 * eps / steps if step_size is None else checks.lengths("step_size", step_size, x)
    with undisturbed(original(model), x.device):
        search = Search(
            x,
            y,
            target=target,
            bounds=bounds,
            norm=norm,
            loss=loss,
            keep=keep or ("best_loss" if stop == "never" else "first"),
            stop=stop,
            sample_ids=sample_ids,
            mask=mask,
        )
        pieces = pieces_of(model, search.x, steps * restarts, "off" if stop == "never" else rewrite)
        oracle, judge = oracles(pieces, search.loss_of, eot_samples, transform, seed, autocast)
        manner = Manner(steps, momentum, sparsity)
        climb = Climb(
            search,
            oracle,
            judge,
            manner,
            eps,
            step_size,
            start=start,
            random_start=random_start,
            seed=seed,
            compact=compact,
        )
        return climb.run(restarts if checks.positive(eps) else 0)


def fgsm(model: Model | Rewritten, x: Tensor, y: Tensor, *, eps: Number, **settings: Any) -> AttackResult:
    """The fast gradient sign method (Goodfellow et al., ICLR 2015): one step of length eps, from x.

    On a linear model no perturbation of this size is worse: it costs the margin exactly eps times the 1-norm of the
    weights' difference. Settings and result as in :func:`perturb`.
    """
    for name in ("steps", "step_size", "random_start", "start", "restarts", "momentum"):
        if name in settings:
            raise TypeError(f"fgsm takes no {name}: it is one step of length eps, from x; perturb does")
    return perturb(model, x, y, eps=eps, step_size=eps, steps=1, random_start=False, **settings)


def pgd(model: Model | Rewritten, x: Tensor, y: Tensor, *, eps: Number, **settings: Any) -> AttackResult:
    """Projected gradient descent (Madry et al., ICLR 2018): :func:`perturb` as it is, with all its settings.

    40 steps of 2.5 eps / 40 from one random start where nothing else is said. In ``norm="l2"`` a step goes along the
    gradient (Madry et al. 2018), in ``"l1"`` along its largest coordinates (Tramèr & Boneh 2019), and both project
    exactly on the ball and the box together.
    """
    if "momentum" in settings:
        raise TypeError("pgd takes no momentum; mifgsm does")
    return perturb(model, x, y, eps=eps, **settings)


def mifgsm(
    model: Model | Rewritten, x: Tensor, y: Tensor, *, eps: Number, steps: int = 10, decay: float = 1.0, **settings: Any
) -> AttackResult:
    """Momentum iterative FGSM (Dong et al., CVPR 2018): sign steps along an accumulated gradient, from x.

    The gradients are accumulated after division by their 1-norms, as in the paper. ``step_size`` is eps / steps where
    not given; other settings as in :func:`perturb`.
    """
    checks.whole(steps=steps)
    checks.samples(x, y, settings.get("bounds", (0.0, 1.0)))
    given = {"step_size": checks.lengths("eps", eps, x) / steps, "random_start": False} | settings
    return perturb(model, x, y, eps=eps, steps=steps, momentum=decay, **given)
