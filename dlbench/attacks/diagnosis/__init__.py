"""Is a model robust, or do its gradients only lead attacks astray? Twenty rules ask."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlbench.attacks.checks import Bounds
from dlbench.attacks.diagnosis.evidence import CORNER, Evidence, Settings
from dlbench.attacks.diagnosis.findings import Diagnosis, Finding
from dlbench.attacks.diagnosis.probes import CannotAskError, steady
from dlbench.attacks.diagnosis.rules import RULES, Rule
from dlbench.attacks.gradient import pgd
from dlbench.attacks.modes import Model, attack_mode, input_grad_only
from dlbench.attacks.search import Norm
from dlbench.errors import did_you_mean

__all__ = ["RULES", "Diagnosis", "Finding", "diagnose"]


def diagnose(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: Norm = "linf",
    bounds: Bounds = (0.0, 1.0),
    steps: int = 40,
    restarts: int = 2,
    queries: int = 1000,
    noise_draws: int = 1000,
    seed: int = 0,
    sample_ids: Tensor | None = None,
    rules: Sequence[str] | None = None,
    attack_autocast: torch.dtype | None = None,
) -> Diagnosis:
    """Ask whether robustness measured on these samples could be an illusion (gradient masking).

    A defence can withstand attacks because it is robust, or because its gradients lead attacks nowhere; the second is
    the usual case among published defences that were broken later (Athalye et al. 2018, Tramèr et al. 2020). No rule
    proves robustness. Each one that fails proves that an accuracy under attack, measured by gradients, says little::

        print(attacks.diagnose(model, x, y, eps=8 / 255))

    =======  ===========================================================  ==============================================
    rule     asks                                                         where it fails or warns
    =======  ===========================================================  ==============================================
    M1       does PGD break what one step (FGSM) breaks?                  PGD is stuck: see M5, M6, M9; other step size
    M2       do noise and queries break what held against gradients?      an adaptive attack; more queries meanwhile
    M3       with every input in reach, is accuracy chance at most?       the attack does not see the model: M5, M6, M9
    M4       does accuracy fall with eps, to 0?                           read the curve; attack where it sticks
    M5       is the gradient on x finite and not zero?                    BPDA for what stops it; margin loss
    M6       has cross-entropy run out of digits?                         margin or DLR loss, logits divided, offset off
    M7       are the outputs logits, not probabilities?                   return what enters the softmax
    M8       does the same x give the same logits?                        EOT over 20 draws or more; judge points often
    M9       is the gradient the slope of the loss?                       BPDA for what has no derivative
    M10      is the loss smooth around a sample?                          average the gradient (smoothed PGD)
    M11      has PGD converged; do twice the steps find more?             more steps, falling step size (APGD)
    M12      does the last restart still find some?                       more restarts
    M13      do x_adv's labels hold in another pass?                      see M8 and M15; an attack that loses its best
    M14      does the forward pass optimise by itself?                    an adaptive attack: unroll it
    M15      is it in eval mode, and left alone by forward passes?        ``model.eval()`` in attacks of your own
    M16      are gradients alike in the ball, and FGSM near PGD?          overfitted to FGSM: PGD training, GradAlign
    M17      what holds against the worst attack of each sample?          nothing: this is the number to report
    M18      do adversarial points survive rounding to 8 bits?            report both, or attack on the grid
    M19      is accuracy under autocast that in float32?                  judge final points in float32
    M20      are there classes enough for DLR (3) and targets (4)?        margin loss, fewer targets
    =======  ===========================================================  ==============================================

    A rule that cannot be asked (no gradient, one restart, bounds that are not of 8-bit images) is a ``"skip"`` with its
    reason. Accuracies are compared up to two standard errors or 0.2 points, whichever is more, so 100 samples see what
    is coarse and 1,000 what matters. Thresholds and their sources are in :mod:`dlbench.attacks.diagnosis.rules`.

    The model is left as it was, bit by bit: parameters, buffers, gradients, training flags, random state. Attacks see
    it in eval mode; the mode it came in is what M15 judges. The same seed gives the same diagnosis, of models that
    draw torch's random numbers too; where attacks look for a faster form of the model, but for the last bits.

    Passes: what several rules need is done once, and only samples that still hold are attacked. For one that the model
    gets right and nothing breaks, with T ``steps`` and R ``restarts``, at most (restarts that come back to where they
    have been end early):

    =========================  ===========================  ==========================================================
    rules                      forward, backward passes
    =========================  ===========================  ==========================================================
    any                        2, 0
    M8; M15                    4, 0; 1, 0                   M15: where the model came in training mode
    M1-M6, M11-M13, M16-M19    2, 3                         the gradients that M5 looks at
    M1, M2, M13, M16, M17      2, 1                         FGSM
    M1, M2, M6, M11-M13,       R (T + 2), R T               PGD, which M6 asks for where cross-entropy is saturated
    M16-M18
    M2, M6, M13, M17           1 + R (T + 1), R T           PGD on the margin, for M6 likewise
    M2, M13, M17               ``noise_draws + queries``    and 2; without queries where x are not images, and 1
    M3, M4                     T + 1, T                     for each radius: M3 has two; M4 two a decade, and those
    M6                         2 (T + 2), 2 T               where cross-entropy is saturated
    M9                         41, 1 and a copy in float64  on 64 samples; 164, 4 where the model stays in float32
    M10                        100, 0                       on 64 samples
    M11                        3 T - 6, 3 T - 10            twice the steps, and all but 10
    M13                        1, 0
    M18                        T + 3, T                     for samples that PGD broke
    M19                        2 (T + 2), 2 T               on 256 samples
    =========================  ===========================  ==========================================================

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, or any callable. M15 wants it as it is attacked.
        x: [N, ...] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: radius of the ball, in the units of x; above 0.
        norm: of the ball, ``"linf"``, ``"l2"`` or ``"l1"``.
        bounds: least and greatest value that an input can have; numbers, or [C] each, as normalised images have them.
        steps: of PGD.
        restarts: of PGD; M12 needs two.
        queries: of the random search.
        noise_draws: of uniform noise; 1,000 at least, 10,000 for a paper (Carlini et al. 2019).
        seed: of all that is drawn.
        sample_ids: [N] int64, what findings call the samples; 0 to N - 1 where not given.
        rules: names of those to ask; all where not given.
        attack_autocast: the type in which autocast ran *your* attack, for M19; the attacks here run without.

    Raises:
        ValueError: a rule that does not exist, no samples, and what :func:`~dlbench.attacks.pgd` raises.
    """
    asked = _chosen(rules)
    settings = Settings(eps, norm, bounds, steps, restarts, queries, noise_draws, seed, attack_autocast)
    _check(settings, x)
    with torch.inference_mode(False), steady(x.device, seed):
        ids = torch.arange(len(x), device=x.device) if sample_ids is None else sample_ids.to(x.device)
        evidence = Evidence(model, x, y, ids, settings)  # before eval mode: it notes the modes that the model came in
        with attack_mode(model), input_grad_only(model):
            # This checks the arguments, as every attack does, before anything is asked of the model.
            checked = pgd(lambda points: evidence.by_logits(points), x, y, eps=0.0, bounds=bounds, sample_ids=ids)
            evidence.forwards += checked.forwards
            findings = tuple(_finding(rule, evidence) for rule in asked)
            broken_by = {}
            if any(finding.rule == "M17" and finding.verdict != "skip" for finding in findings):
                broken_by = {name: ids[flags] for name, flags in evidence.broken_by.items()}
    return Diagnosis(findings, broken_by, evidence.forwards, evidence.backwards)


def _finding(rule: Rule, evidence: Evidence) -> Finding:
    nobody = evidence.ids[:0]
    try:
        answer = rule.ask(evidence)
    except CannotAskError as error:
        return Finding(rule.name, rule.title, "skip", math.nan, math.nan, nobody, rule.advice, str(error), rule.source)
    samples = nobody if answer.samples is None else evidence.ids[answer.samples]
    return Finding(
        rule.name,
        rule.title,
        answer.verdict,
        answer.value,
        answer.threshold,
        samples,
        rule.advice,
        answer.reason,
        rule.source,
    )


def _chosen(names: Sequence[str] | None) -> list[Rule]:
    if names is None:
        return list(RULES.values())
    for name in names:
        if name not in RULES:
            raise ValueError(f"there is no rule {name!r}{did_you_mean(name, RULES)}")
    if not names:
        raise ValueError("rules is empty; name some, or leave it out to ask all")
    return [rule for name, rule in RULES.items() if name in names]


def _check(settings: Settings, x: Tensor) -> None:
    s = settings
    if not (math.isfinite(s.eps) and s.eps > 0):
        raise ValueError(f"eps is {s.eps!r}; a diagnosis needs a finite radius above zero")
    if s.norm not in CORNER:
        raise ValueError(f"norm is {s.norm!r}; there are {', '.join(map(repr, CORNER))}")
    for name in ("steps", "restarts", "queries", "noise_draws"):
        if getattr(s, name) < 1:
            raise ValueError(f"{name} is {getattr(s, name)}; it must be 1 or more")
    if not len(x):
        raise ValueError("there are no samples to diagnose")
