"""The rules, in the order of their numbers: what each asks of the evidence, where it comes from, and what to do.

    Athalye et al., Obfuscated gradients give a false sense of security, ICML 2018, arXiv:1802.00420
    Carlini et al., On evaluating adversarial robustness, 2019, arXiv:1902.06705: the checklist
    Tramèr et al., On adaptive attacks to adversarial example defenses, NeurIPS 2020, arXiv:2002.08347
    AutoAttack: Croce & Hein, ICML 2020, arXiv:2003.01690, and the flags that its code raises (flags_doc.md, checks.py)
    GradAlign: Andriushchenko & Flammarion, NeurIPS 2020, arXiv:2007.02617
    IoAF: Pintor et al., Indicators of attack failure, NeurIPS 2022, arXiv:2106.09947

Thresholds without a source are ours.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dlbench import ops
from dlbench.attacks.checks import are_probabilities
from dlbench.attacks.diagnosis import probes
from dlbench.attacks.diagnosis.evidence import DIRECTIONS, LAST_STEPS, NEIGHBOURS, REPEATS, Evidence
from dlbench.attacks.diagnosis.findings import Verdict
from dlbench.attacks.diagnosis.probes import CannotAskError

LEAST_TOLERANCE = 0.002  # of accuracy (AutoAttack: check_square_sr)
FLAT_DECADES = 2  # over which the accuracy of a model that attacks can see through has to move
BAD_GRADIENTS = 0.01  # share of samples; AutoAttack and IoAF warn from the first
SATURATED = 0.01  # share of samples whose cross-entropy or probability has run out of digits
RESOLUTION = 64  # steps of the float type that the logits of a sample should span; bfloat16 gives 128 and more
RANDOMISED = 1e-4  # L2 distance of normalised logits (AutoAttack: check_randomized)
SLOPE_COSINE = 0.9
SLOPE_SIGNS = 0.8  # share of directions
ROUGHNESS = 0.1  # IoAF: unstable predictions
AT_REST = 0.05  # of the way that the loss has come (IoAF: incomplete optimisation)
ALIGNMENT = 0.3  # cosine of gradients at two points of the ball (after GradAlign)
OVERFITTED = 0.5  # of the clean accuracy, which holds against FGSM and not against PGD
ROUNDING = 0.05  # share of successes
DLR_CLASSES = 4  # AutoAttack's targeted DLR; the untargeted one needs 3
TARGETS = 9  # of AutoAttack's targeted attacks


@dataclass(frozen=True, eq=False)
class Answer:
    """What a rule says; ``samples`` [N] bool marks those that speak against the model."""

    verdict: Verdict
    value: float
    threshold: float
    samples: Tensor | None = None
    reason: str = ""


Ask = Callable[[Evidence], Answer]


@dataclass(frozen=True)
class Rule:
    """A question to the evidence; ``title`` says what is true where nothing is masked."""

    name: str
    title: str
    source: str
    advice: str
    ask: Ask


RULES: dict[str, Rule] = {}


def rule(name: str, source: str, *, do: str) -> Callable[[Ask], Ask]:
    """Enter a function into the list of rules; its docstring begins with the title."""

    def enter(ask: Ask) -> Ask:
        title = (ask.__doc__ or name).splitlines()[0].rstrip(".")
        RULES[name] = Rule(name, title, source, do, ask)
        return ask

    return enter


def share(flags: Tensor) -> float:
    """Of the flags, how many are set."""
    return float(flags.double().mean())


def tolerance(p: float, n: int) -> float:
    """By how much an accuracy p on n samples may be off: two standard errors, and 0.2 points at least."""
    return max(LEAST_TOLERANCE, 2 * math.sqrt(p * (1 - p) / n))


def lost(before: Tensor, after: Tensor) -> tuple[float, float]:
    """By how much accuracy is less afterwards, and by how much it may be, at the mean of the two."""
    a, b = share(before), share(after)
    return a - b, tolerance((a + b) / 2, len(before))


def at_most(value: float, threshold: float, beyond: Verdict, samples: Tensor | None = None, reason: str = "") -> Answer:
    """A pass up to the threshold, the other verdict beyond it, and for a NaN."""
    return Answer("pass" if value <= threshold else beyond, value, threshold, samples, reason)


# ------------------------------------------------------------------------------------------------------------- rules


@rule(
    "M1",
    "Carlini et al. 2019, basic sanity tests; Athalye et al. 2018",
    do="the iterative attack is stuck: look at M5, M6 and M9, change the step size, attack the margin",
)
def one_step(e: Evidence) -> Answer:
    """Many steps are no weaker than one."""
    fgsm, pgd = e.fgsm.held, e.pgd[-1].held
    return at_most(*lost(pgd, fgsm), "fail", pgd & ~fgsm)


@rule(
    "M2",
    "Carlini et al. 2019; AutoAttack, Square flag; Athalye et al. 2018",
    do="gradients mislead here: give queries and draws a larger budget, then write an adaptive attack",
)
def black_box(e: Evidence) -> Answer:
    """Attacks without gradients break nothing that held against those with.

    But for 0.2 points, or two standard errors of so small a share where samples are few: PGD misses one in a few
    hundred of sound models, too. The share is of all samples, as in AutoAttack: of three images that are left, one is
    no third of the evidence.
    """
    outcomes = e.black_box
    broken = torch.stack([outcome.broken for outcome in outcomes.values()]).any(0)
    counts = ", ".join(f"{name} broke {int(outcome.broken.sum())}" for name, outcome in outcomes.items())
    unasked = "" if "square" in outcomes else "; no queries, which need images [N, channels, height, width]"
    reason = f"{int(e.white_box_held.sum())} held against gradients; of them {counts}{unasked}"
    return at_most(share(broken), tolerance(LEAST_TOLERANCE, e.n), "fail", broken, reason)


@rule(
    "M3",
    "Carlini et al. 2019, basic sanity tests; Athalye et al. 2018; IoAF, unconstrained attack failure",
    do="no robust model can do this: the attack does not see the model, look at M5, M6, M7 and M9",
)
def unbounded(e: Evidence) -> Answer:
    """Where every input is in reach, accuracy is chance at most."""
    half, full = e.held_at(e.full_range / 2), e.held_at(e.full_range)
    chance = 1 / e.classes
    value = min(share(half), share(full))
    return at_most(value, chance + tolerance(chance, e.n), "fail", half & full, "the less of half the range and all")


@rule(
    "M4",
    "Carlini et al. 2019, success against budget",
    do="look at the curve: where it rises or does not move, the attack fails there",
)
def curve(e: Evidence) -> Answer:
    """Accuracy falls as eps grows, and reaches 0."""
    radii = e.radii
    held = [e.held_at(radius) for radius in radii]
    accuracy = [share(h) for h in held]
    faults = []
    for i in range(1, len(radii)):
        rise, allowed = lost(held[i], held[i - 1])
        if rise > allowed:
            faults.append(f"rises by {rise:.2g} from eps {radii[i - 1]:.2g} to {radii[i]:.2g}")
    if span := _flat(radii, accuracy):
        faults.append(f"does not move from eps {span[0]:.2g} to {span[1]:.2g}")
    if accuracy[-1] > 0:
        faults.append(f"is {accuracy[-1]:.2g} at the full range")
    points = ", ".join(f"{a:.2g} at {radius:.2g}" for radius, a in zip(radii, accuracy, strict=True))
    reason = "; ".join([*faults, f"accuracy {points}"])
    return Answer("warn" if faults else "pass", accuracy[-1], 0.0, held[-1], reason)


def _flat(radii: list[float], accuracy: list[float]) -> tuple[float, float] | None:
    """The first two decades and more over which accuracy stays where it is, above 0."""
    for i, low in enumerate(radii):
        for j in range(i + 1, len(radii)):
            within = accuracy[i : j + 1]
            wide = radii[j] >= low * 10**FLAT_DECADES * (1 - 1e-9)
            if wide and min(within) > 0 and max(within) - min(within) <= LEAST_TOLERANCE:
                return low, radii[j]
    return None


@rule(
    "M5",
    "Athalye et al. 2018, vanishing gradients; AutoAttack, zero-gradient flag; IoAF, unavailable gradients",
    do="find what stops it (a cast, a rounding, an argmax) and replace it in the backward pass (BPDA), or attack the "
    "margin where only cross-entropy is flat",
)
def gradient_there(e: Evidence) -> Answer:
    """The gradient on x is there: finite and not zero."""
    correct = e.correct
    try:
        gradients = e.gradients
    except CannotAskError as error:
        return Answer("fail", 1.0, BAD_GRADIENTS, correct, str(error))
    bad = {name: correct & ~_usable(gradient) for name, gradient in gradients.items()}
    found = torch.stack(list(bad.values())).any(0)
    value = share(found[correct])
    scale_free = "DLR" if e.classes >= 3 else "the margin"
    names = {"ce": "of cross-entropy", "dlr": f"of {scale_free}", "ce at start": "of cross-entropy at a random start"}
    reason = "bad gradients " + ", ".join(f"{names[name]}: {int(flags.sum())}" for name, flags in bad.items())
    verdict: Verdict = "fail" if value > BAD_GRADIENTS else "warn" if value > 0 else "pass"
    return Answer(verdict, value, BAD_GRADIENTS, found, reason)


def _usable(gradient: Tensor) -> Tensor:
    """[n] bool: somewhere not zero, everywhere finite."""
    rows = gradient.flatten(1)
    return (rows != 0).any(1) & rows.isfinite().all(1)


@rule(
    "M6",
    "Carlini et al. 2019; Tramèr et al. 2020; AutoAttack",
    do="attack the margin or DLR, or divide the logits before the softmax; take constant offsets out of them",
)
def saturation(e: Evidence) -> Answer:
    """Cross-entropy has digits left, or attacks that need none find no more."""
    coarse = e.correct & ~_resolved(e.logits)
    if share(coarse[e.correct]) > SATURATED:
        reason = f"the logits of a sample span fewer than {RESOLUTION} steps of {e.logits.dtype}: a large offset"
        return Answer("fail", share(coarse[e.correct]), SATURATED, coarse, reason)
    full = e.correct & _saturated(e.logits, e.y)
    value = share(full[e.correct])
    if value <= SATURATED:
        return Answer("pass", value, SATURATED, full, "share of samples whose loss is 0 or whose probability is 1")
    plain, others = e.pgd[-1].held, e.pgd_margin.held & e.pgd_rescaled.held
    reason = f"{value:.1%} saturated; accuracy against cross-entropy less that against the margin and rescaled logits"
    return at_most(*lost(plain, others), "fail", plain & ~others, reason)


def _saturated(logits: Tensor, labels: Tensor) -> Tensor:
    """[n] bool: no digit is left between the loss and 0, or between the largest probability and 1."""
    return (probes.cross_entropy(logits, labels) == 0) | (logits.softmax(1).amax(1) == 1)


def _resolved(logits: Tensor) -> Tensor:
    """[n] bool: enough numbers of the float type lie between the smallest logit and the largest, or they are equal."""
    spread = logits.amax(1) - logits.amin(1)
    spacing = logits.abs().amax(1) * torch.finfo(logits.dtype).eps
    return (spread >= RESOLUTION * spacing) | (spread == 0)


@rule(
    "M7",
    "AutoAttack, softmax flag (check_range_output)",
    do="return what goes into the softmax; a second softmax in the loss flattens its gradient",
)
def probabilities(e: Evidence) -> Answer:
    """The model returns logits, not probabilities."""
    rows = are_probabilities(e.logits)
    verdict: Verdict = "fail" if rows.all() else "pass"
    return Answer(verdict, share(rows), 1.0, rows, "share of rows in [0, 1] that sum to 1; it fails when all do")


@rule(
    "M8",
    "AutoAttack, randomised flag (check_randomized); Athalye et al. 2018, stochastic gradients",
    do="average the gradient over 20 draws and more (EOT), and judge every adversarial point by many forward passes",
)
def randomised(e: Evidence) -> Answer:
    """The same x gives the same logits."""
    repeats = e.repeats
    directions = (repeats / (repeats.norm(dim=2, keepdim=True) + 1e-10)).transpose(0, 1)
    apart = torch.cdist(directions, directions, compute_mode="donot_use_mm_for_euclid_dist").amax((1, 2))
    relabelled = (repeats.argmax(2) != repeats[0].argmax(1)).any(0)
    value = float(apart.max())
    verdict: Verdict = "fail" if relabelled.any() or not value <= RANDOMISED else "pass"
    reason = f"largest distance of normalised logits in {REPEATS} passes; {int(relabelled.sum())} labels changed"
    return Answer(verdict, value, RANDOMISED, relabelled | (apart > RANDOMISED), reason)


@rule(
    "M9",
    "Athalye et al. 2018, shattered gradients; Carlini et al. 2019, non-differentiable components",
    do="something in the forward pass has no derivative, or a wrong one: approximate it in the backward pass (BPDA)",
)
def slopes(e: Evidence) -> Answer:
    """The gradient is the slope of the loss."""
    cosine, signs, dtype = e.slopes
    alike, agreeing = float(cosine.mean()), float(signs.mean())
    samples = torch.zeros_like(e.correct)
    samples[e.probed] = (cosine < SLOPE_COSINE) | (signs < SLOPE_SIGNS)
    reason = (
        f"cosine with differences along {DIRECTIONS} directions, in {dtype}, {len(cosine)} samples; "
        f"{agreeing:.0%} of signs agree, of {SLOPE_SIGNS:.0%} that should"
    )
    verdict: Verdict = "fail" if alike < SLOPE_COSINE or agreeing < SLOPE_SIGNS else "pass"
    return Answer(verdict, alike, SLOPE_COSINE, samples, reason)


@rule(
    "M10",
    "IoAF, unstable predictions",
    do="average the gradient over a neighbourhood (smoothed PGD), or take larger steps",
)
def roughness(e: Evidence) -> Answer:
    """The loss is smooth around a sample."""
    rough = e.roughness
    samples = torch.zeros_like(e.correct)
    samples[e.probed] = rough > ROUGHNESS
    reason = f"mean relative change of the margin over {NEIGHBOURS} draws from ±eps/2, {len(rough)} samples"
    return at_most(float(rough.mean()), ROUGHNESS, "warn", samples, reason)


@rule(
    "M11",
    "Carlini et al. 2019, converged attacks; IoAF, incomplete optimisation",
    do="give it more steps until nothing changes, or a step size that falls (APGD)",
)
def converged(e: Evidence) -> Answer:
    """The attack has come to rest, and twice the steps find no more."""
    held, longer = e.pgd[-1].held, e.pgd_longer.held
    drop, allowed = lost(held, longer)
    if drop > allowed:
        return Answer("fail", drop, allowed, held & ~longer, "accuracy lost to twice the steps")
    begin, before, end = probes.cross_entropy(e.logits, e.y), e.pgd_shorter.loss, e.pgd[0].loss
    moving = ((end - before) / (end - begin)).nan_to_num(0.0, posinf=0.0, neginf=0.0)
    value = float(moving[held].double().mean()) if held.any() else 0.0
    reason = f"share of the loss that the last {LAST_STEPS} steps gained, of {int(held.sum())} samples that held"
    return at_most(value, AT_REST, "warn", held & (moving > AT_REST), reason)


@rule(
    "M12",
    "Carlini et al. 2019, converged attacks",
    do="give it more restarts until the last finds nothing",
)
def restarts(e: Evidence) -> Answer:
    """The last restart finds no more."""
    if len(e.pgd) < 2:
        raise CannotAskError("there is one restart only")
    last = e.pgd[-1].broken
    return at_most(share(last), LEAST_TOLERANCE, "warn", last, f"broken by restart {len(e.pgd)} of {len(e.pgd)}")


@rule(
    "M13",
    "IoAF, silent success",
    do="a success that a second forward pass denies, or the reverse: the model changes between calls (M8, M15), or "
    "the attack loses its best point",
)
def silent_success(e: Evidence) -> Answer:
    """What the attack returns is what it claims."""
    held, logits = e.held, e.logits_adv
    margin = ops.margin_loss(logits, e.y)
    slack = 16 * torch.finfo(logits.dtype).eps * logits.abs().amax(1)  # other batches are rounded otherwise
    false = e.correct & torch.where(held, margin > slack, margin < -slack)
    return at_most(share(false), 0.0, "fail", false, "share of samples whose label at x_adv is not the one reported")


@rule(
    "M14",
    "AutoAttack, dynamic-defense flag (check_dynamic); Tramèr et al. 2020",
    do="attack the optimisation with an adaptive attack: unroll it, or go around it",
)
def optimises(e: Evidence) -> Answer:
    """The forward pass does not optimise."""
    _, calls, _ = e.clean
    return at_most(calls, 0.0, "warn", None, "calls of autograd in one forward pass")


@rule(
    "M15",
    "AutoAttack issue 74, RobustBench issue 7: accuracies that came from batch norm in training",
    do="call model.eval() before any attack of your own, and save running statistics; attacks here do so themselves",
)
def modes(e: Evidence) -> Answer:
    """The model is in eval mode, and answering does not change it."""
    layers, relabelled, changed_as_given = e.as_given
    _, _, changed = e.clean
    counts = [f"{n} {layer} in training" for layer, n in Counter(layers).items()]
    for names, when in ((changed_as_given, "as given"), (changed, "in eval mode")):
        if names:
            counts.append(f"a forward pass {when} changed {', '.join(names[:3])}{', …' if len(names) > 3 else ''}")
    verdict: Verdict = "fail" if changed or changed_as_given else "warn" if layers or relabelled.any() else "pass"
    reason = "; ".join([*counts, "share of labels that differ from those in eval mode"])
    return Answer(verdict, share(relabelled), 0.0, relabelled, reason)


@rule(
    "M16",
    "GradAlign; Wong et al. 2020, catastrophic overfitting",
    do="the model was fitted to one-step attacks: train on PGD, or with GradAlign, and never report FGSM alone",
)
def overfitted(e: Evidence) -> Answer:
    """Gradients in the ball are alike, and one step breaks about as much as many."""
    cosine = probes.cosine(e.gradients["ce"], e.gradients["ce at start"])
    value = float(cosine[e.correct].mean())
    only_one_step = e.fgsm.held & ~e.pgd[-1].held
    gap, allowed = lost(e.fgsm.held, e.pgd[-1].held)
    bent, far = value < ALIGNMENT and gap > allowed, gap > OVERFITTED * share(e.correct)
    verdict: Verdict = "fail" if bent and far else "warn" if bent or far else "pass"
    reason = f"cosine of gradients at x and in the ball; accuracy {gap:+.2f} against FGSM over PGD"
    return Answer(verdict, value, ALIGNMENT, only_one_step, reason)


@rule(
    "M17",
    "Carlini et al. 2019, per-example success rate",
    do="report this number, the mean of the samples' worst cases, and not the least of the attacks' means",
)
def aggregated(e: Evidence) -> Answer:
    """Robust accuracy is that against the worst attack of each sample."""
    counts = ", ".join(f"{name} {int(flags.sum())}" for name, flags in e.broken_by.items())
    return Answer("pass", share(e.held), math.nan, e.correct & ~e.held, f"reported; first broken by {counts}")


@rule(
    "M18",
    "foolbox issues 264 and 308, nn_robust_attacks issue 3: successes lost when saved",
    do="report success after rounding too, or attack on the grid of 8-bit values",
)
def rounding(e: Evidence) -> Answer:
    """What the attack found survives 8 bits."""
    broken, right_again = e.rounded
    reason = f"share of {int(broken.sum())} successes at the best loss"
    return at_most(share(right_again[broken]), ROUNDING, "warn", right_again, reason)


@rule(
    "M19",
    "fra31/auto-attack issue 51",
    do="attack in autocast if you must, but judge the final points in full float32",
)
def numerics(e: Evidence) -> Answer:
    """Autocast does not decide who is robust."""
    asked, low, exact = e.in_autocast
    difference, allowed = lost(low[asked], exact[asked])
    reason = f"accuracy against PGD on {int(asked.sum())} samples, {e.settings.attack_autocast} against float32"
    return at_most(abs(difference), allowed, "fail", low ^ exact, reason)


@rule(
    "M20",
    "AutoAttack, check_n_classes",
    do="with fewer, use the margin, and as many targets as there are other classes",
)
def enough_classes(e: Evidence) -> Answer:
    """There are classes enough for DLR and its targets."""
    k = e.classes
    if k < 3:
        reason = "DLR is not defined: the margin stands in for it"
    elif k < DLR_CLASSES:
        reason = "targeted DLR is not defined, DLR is"
    else:
        reason = f"targeted attacks have {min(TARGETS, k - 1)} targets" + ("" if k > TARGETS else ": all there are")
    return Answer("warn" if k < DLR_CLASSES else "pass", k, DLR_CLASSES, None, reason)
