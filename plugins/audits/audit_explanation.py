"""Do explanations of the model's answers say what they hang on? (Adebayo et al., NeurIPS 2018, arXiv:1810.03292.)

Three ways to explain (:mod:`dlbench.explain`) are asked why the model gave its own answers to test images: gradient
times input, integrated gradients from black (16 steps), and occlusion by black squares. What is explained is the
answer's logit less the mean of all logits, as softmax does not change when all of them grow alike. Two tests:

*Randomisation*: the last layer, or every layer that can be, is drawn anew in a copy of the model. A map that stays as
it was, by the rank correlation of its pixels, does not explain what the model has learnt. A blank map counts 0.

*Deletion* (Bach et al. 2015; Samek et al. 2017): pixels are made black, the most relevant first, and the probability of
the answer is followed. ``gain`` is how far its mean over all steps lies below that with pixels in random order, and
``lost`` is what share of the latter that is. Images with black pixels in them are like none that the model was taught,
and in a dark image there is little to remove; the same holds for the random order that they are compared with.

Neither says that people would understand the model better; :mod:`~dlbench_plugins.limits.interpretability` asks more,
on images whose true explanation is known.

Controls: a copy with the same weights has the same maps; a random map is as good as random order; and of a linear model
of class means, made of the test images, gradient times input is what decides, and removing it must tell.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlbench import (
    Axis,
    Claim,
    Context,
    Control,
    Measurement,
    Metric,
    above,
    below,
    between,
    equivalent,
    every,
    per_seed,
    where,
)
from dlbench import explain as e
from dlbench.audit import Audit, Examples, Subject
from dlbench.brought import told
from dlbench.errors import NotApplicable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

Array = NDArray[np.float64]
Method = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, images, classes → attributions

GRADIENT, INTEGRATED, OCCLUSION = "gradient x input", "integrated gradients", "occlusion"
RANDOM, LINEAR = "random", "gradient x input of a linear model"  # of the controls
NONE, LAST, ALL = "none", "the last", "all"  # layers that are drawn anew
STEPS = 16  # of integrated gradients
CELLS = 4  # squares of occlusion from side to side, of which each is half covered by the next
REMOVALS = 32  # steps of deletion
ORDERS = 5  # random ones, of which one is judged by the others
MARGIN = 0.03  # of deletion gains
KEPT = 0.5  # of the rank correlation, at most
CONFIDENT = 4.0  # mean difference between the two greatest logits of the linear model


def occlusion(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """By squares of a quarter of the image's shorter side."""
    window = max(1, min(x.shape[2:]) // CELLS)
    return e.occlusion(net, x, y, window=window, stride=max(1, window // 2))


METHODS: dict[str, Method] = {
    GRADIENT: e.gradient_times_input,
    INTEGRATED: lambda net, x, y: e.integrated_gradients(net, x, y, steps=STEPS),
    OCCLUSION: occlusion,
}
COLORS = {GRADIENT: "#D55E00", INTEGRATED: "#0072B2", OCCLUSION: "#009E73"}


def by_method(rows: pd.DataFrame, rule: Callable[[pd.DataFrame], Verdict], **settings: str) -> Verdict:
    """The rule for every model and way to explain."""
    rows = where(rows, **settings)
    return every(rows[rows.method.isin(METHODS)], ["subject", "method"], rule)


def faithful(rows: pd.DataFrame) -> pd.Series:
    """The share of confidence that is lost, its mean over ways to explain, a seed."""
    rows = where(rows, over="deletion")
    return per_seed(rows[rows.method.isin(METHODS)], lambda r: r.lost.mean()).clip(0, 1)


@dataclass(frozen=True)
class AuditExplanation(Audit):
    judged: int = between(4, 10_000, default=30)  # images a fold at most

    title = "Do explanations of its answers say what they hang on?"
    sources = (
        "Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, arXiv:1810.03292",
        "Samek et al., Evaluating the visualization of what a deep neural network has learned, IEEE TNNLS 2017, "
        "arXiv:1509.06321",
        "Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017, arXiv:1703.01365",
    )
    takes = ("images",)
    metrics = {
        "gain": Metric("deletion: confidence lost beyond random order", better="higher", main=True, low=-1, high=1),
        "lost": Metric("the same as a share of what random order leaves", better="higher", high=1),
        "correlation": Metric("rank correlation of maps before and after", low=-1 - 1e-9, high=1 + 1e-9),
    }
    presets = {"quick": {}, "full": {"judged": 300}}

    def measure(self, subject: Subject, shown: Examples, context: Context) -> Iterator[Measurement]:
        few = shown.few(self.judged, context.rng("judged"))
        net, x, y = Centred(subject.net), few.x, subject.logits(few.x).argmax(1)
        maps = explained(net, x, y, subject.name)
        yield from self.randomised(net, x, y, maps, context)

        at_random = context.rng("orders").random((ORDERS, *maps[GRADIENT].shape))
        areas = [area(net, x, y, order, context) for order in at_random]
        expected = np.mean(areas[1:], axis=0)
        gains = {name: expected - area(net, x, y, found, context) for name, found in maps.items()}
        for name, gain in {**gains, RANDOM: expected - areas[0]}.items():
            lost = float(gain.mean() / expected.mean())
            yield {"over": "deletion", "method": name, "layers": NONE, "gain": float(gain.mean()), "lost": lost}
        yield {"over": "deletion", "method": LINEAR, "layers": NONE, "gain": self.of_linear(shown, few.x, context)}
        self.looks_at(subject, few, maps[INTEGRATED], gains[INTEGRATED])

    @staticmethod
    def randomised(
        net: nn.Module, x: Tensor, y: Tensor, maps: dict[str, Tensor], context: Context
    ) -> Iterator[Measurement]:
        """How far maps stay as they are when layers of a copy are drawn anew."""
        try:
            last, whole = first_and_last(e.randomised(net, seed=context.integer("weights")))
        except ValueError as error:
            raise NotApplicable(f"its weights cannot be drawn anew: {error}") from None
        for layers, other in ((NONE, copy.deepcopy(net)), (LAST, last), (ALL, whole)):
            for method, explain in METHODS.items():
                found = e.rank_correlation(maps[method], explain(other, x, y).sum(1))
                found = found[np.isfinite(found)] if layers == NONE else np.nan_to_num(found)
                correlation = float(found.mean()) if len(found) else np.nan
                yield {"over": "randomisation", "method": method, "layers": layers, "correlation": correlation}

    @staticmethod
    def of_linear(shown: Examples, x: Tensor, context: Context) -> float:
        """The deletion gain where the explanation is right by construction."""
        net = linear_of_means(shown.x, shown.y)
        with torch.no_grad():
            y = net(x).argmax(1)
        orders = context.rng("orders of the linear model").random((ORDERS - 1, len(x), *x.shape[2:]))
        expected = np.mean([area(net, x, y, order, context) for order in orders], axis=0)
        found = area(net, x, y, e.gradient_times_input(net, x, y).sum(1), context)
        return float((expected - found).mean())

    @staticmethod
    def looks_at(subject: Subject, few: Examples, maps: Tensor, gains: Array) -> None:
        """Keep images beside what speaks for the answer, those first of which deletion shows least."""
        p = subject.probabilities(few.x)
        relevance = maps.clamp_min(0)
        relevance = relevance / relevance.amax((1, 2), keepdim=True).clamp_min(1e-12)
        pairs = torch.cat([few.x, relevance[:, None].expand_as(few.x).to(few.x)], 3)
        rows = np.argsort(gains, kind="stable")
        captions = [f"{few.classes[p[row].argmax()]} at {p[row].max():.0%}" for row in rows]
        subject.show("an image, and what speaks for the answer", pairs[torch.from_numpy(rows)], captions)

    claims = [
        Claim(
            f"its explanations hang on its weights: with all drawn anew, the rank correlation is below {KEPT:g}",
            lambda rows: by_method(rows, lambda r: below(r.correlation.abs(), KEPT), layers=ALL),
        ),
        Claim(
            f"they name what matters: removing it loses more confidence than random order, by more than {MARGIN:g}",
            lambda rows: by_method(rows, lambda r: above(r.gain, MARGIN), over="deletion"),
        ),
        Control(
            f"a random map is as good as random order, but for {MARGIN:g}",
            lambda rows: every(where(rows, method=RANDOM), "subject", lambda r: equivalent(r.gain, MARGIN)),
            kind="negative",
        ),
        Control(
            f"what decides in a linear model is found: removing it gains more than {MARGIN:g}",
            lambda rows: every(where(rows, method=LINEAR), "subject", lambda r: above(r.gain, MARGIN)),
            kind="positive",
        ),
        Control(
            "a copy with the same weights has the same maps",
            lambda rows: by_method(rows, lambda r: above(r.correlation, 0.99), over="randomisation", layers=NONE),
            kind="gate",
        ),
    ]
    axes = [
        Axis(
            "explanations",
            faithful,
            "of the confidence that stays when pixels go in random order, the share that is lost when the most "
            "relevant go first; mean of three explanations",
        )
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """What deletion gains by each explanation, and what of it stays under other weights."""
        deletion, randomisation = figure.subplots(1, 2, sharey=True)
        subjects = list(rows.subject.unique())
        draw_methods(deletion, where(rows, over="deletion") if len(rows) else rows, "gain", subjects)
        deletion.set_xlabel("confidence lost beyond random order")
        draw_methods(randomisation, where(rows, layers=ALL) if len(rows) else rows, "correlation", subjects)
        randomisation.axvspan(-KEPT, KEPT, color="0.93", zorder=0)
        randomisation.set_xlim(-1, 1)
        randomisation.set_xlabel("rank correlation, all weights drawn anew")
        deletion.set_yticks(range(len(subjects)), [subject.replace("$", r"\$") for subject in subjects], fontsize=8)
        deletion.set_ylabel("model")
        deletion.set_ylim(max(len(subjects), 1) - 0.5, -0.5)
        deletion.legend(fontsize=7)


class Centred(nn.Module):
    """A model's logits less their mean: the same probabilities, and scores that no common shift moves."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits - logits.mean(1, keepdim=True)


def explained(net: nn.Module, x: Tensor, y: Tensor, name: str) -> dict[str, Tensor]:
    """Relevance [n, height, width] by method, or NotApplicable where there are no gradients."""
    try:
        return {method: explain(net, x, y).sum(1) for method, explain in METHODS.items()}
    except RuntimeError as error:  # as autograd tells it
        raise NotApplicable(f"{name} has no gradients with respect to its inputs ({told(error)})") from error


def first_and_last(copies: Iterator[tuple[str, nn.Module]]) -> tuple[nn.Module, nn.Module]:
    """Of copies with ever more random layers."""
    _, first = next(copies)
    last = first
    for _, one in copies:
        last = one
    return first, last


def area(net: nn.Module, x: Tensor, y: Tensor, maps: Tensor | Array, context: Context) -> Array:
    """[n]: the mean probability of the answer while pixels go, the most relevant first; of equal ones by lot."""
    flat = np.asarray(maps.detach().cpu() if isinstance(maps, Tensor) else maps, dtype=float).reshape(len(x), -1)
    shuffled = context.rng("ties").permuted(np.tile(np.arange(flat.shape[1]), (len(flat), 1)), axis=1)
    places = np.argsort(np.take_along_axis(flat, shuffled, 1), axis=1, kind="stable")
    ranks = np.empty_like(flat)
    np.put_along_axis(ranks, np.take_along_axis(shuffled, places, 1), np.arange(flat.shape[1])[None], 1)
    pixels = max(1, flat.shape[1] // REMOVALS)
    return e.pixel_flipping(net, x, ranks.reshape(len(x), *x.shape[2:]), y, pixels=pixels).mean(1)


def linear_of_means(x: Tensor, y: Tensor) -> nn.Module:
    """A linear model whose answer is the class of the nearest mean, of those classes that there are examples of."""
    flat, classes = x.flatten(1), y.unique()
    if len(classes) < 2:
        raise NotApplicable("all examples of a fold are of one class; give examples of others, too")
    means = torch.stack([flat[y == label].mean(0) for label in classes])
    linear = nn.Linear(flat.shape[1], len(classes)).to(x.device)
    with torch.no_grad():
        weight, bias = means - means.mean(0), -means.square().sum(1) / 2
        top = (flat @ weight.T + bias).topk(2).values
        scale = CONFIDENT / (top[:, 0] - top[:, 1]).mean().clamp_min(1e-12)
        linear.weight.copy_(scale * weight)
        linear.bias.copy_(scale * bias)
    return nn.Sequential(nn.Flatten(), linear)


def draw_methods(axes: Axes, rows: pd.DataFrame, metric: str, subjects: list[str]) -> None:
    """A metric of each model and explanation, with its interval over folds."""
    from dlbench import stats

    axes.axvline(0, color="0.6", linestyle=":")
    for shift, (method, color) in zip((-0.2, 0.0, 0.2), COLORS.items(), strict=True):
        axes.plot([], [], "o", color=color, label=method)
        for place, subject in enumerate(subjects):
            values = where(rows, subject=subject, method=method)[metric]
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            interval = stats.t_interval(values)
            if interval.n > 1:
                axes.hlines(place + shift, interval.low, interval.high, color=color, linewidth=1)
            axes.plot(interval.estimate, place + shift, "o", color=color, markersize=4)
