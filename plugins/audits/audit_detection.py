"""Does the model know what it does not know? (Hendrycks & Gimpel, ICLR 2017, arXiv:1610.02136.)

It is shown test examples, and as many outsiders of each kind (:mod:`~dlbench_plugins.audits.outsiders`), which are
nothing that it has been taught. How well its confidence, the greatest class probability (*max softmax*), tells the two
apart is said by AUROC, the chance that a test example scores higher than an outsider, by the average precision with
outsiders as what is sought, and by how many outsiders pass where 95 % of the test examples do (FPR95). ``sure`` is how
many are answered with a confidence above 0.9.

Claims and the axis are about max softmax, the model's own say-so. Beside it stand detectors that could be put in front
of it, none of which is tuned: energy of the logits, and where there are training examples, the distance to the 50th
nearest of them and Mahalanobis' to the classes' means, both of what enters the last ``nn.Linear``. The best of them can
be seen in the picture; taking it for the model's would be to choose it by the outsiders that it is judged on.

Controls: test examples shown again, in another order, are no outsiders: each detector tells halves of them apart by
chance. What lies a hundred ranges off is told, by the measures used here, from its distance to the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

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
    contains,
    every,
    per_seed,
    where,
)
from dlbench import uncertainty as u
from dlbench.audit import Audit, Examples, Subject
from dlbench.errors import NotApplicable
from dlbench_plugins.audits.outsiders import OF_IMAGES, OF_TABLES, outsiders

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbench import Artefacts

Array = NDArray[np.float64]
Scores = dict[str, Array]  # detector → [n], the higher the more familiar

MSP, ENERGY, KNN, MAHALANOBIS = "max softmax", "energy", "nearest neighbours", "Mahalanobis"
COLORS = {MSP: "#D55E00", ENERGY: "#E69F00", KNN: "#0072B2", MAHALANOBIS: "#56B4E9"}
KINDS = tuple(dict.fromkeys([*OF_IMAGES, *OF_TABLES]))
AGAIN, BEYOND, DISTANCE = "test examples again", "a hundred ranges off", "distance to examples"  # of the controls
FEWEST = 10  # examples, without which there is nothing to tell apart
SURE = 0.9
HALVINGS = 100
NEIGHBOUR = 50  # as published
OF_EACH = 2  # of a kind, among the pictures


def mean_of(rows: pd.DataFrame, metric: str) -> pd.Series:
    """A metric of the model's own confidence, its mean over kinds of outsiders, a seed."""
    own = where(rows, detector=MSP)
    return per_seed(own[own.outsiders.isin(KINDS)], lambda r: r[metric].mean())


@dataclass(frozen=True)
class AuditDetection(Audit):
    most: int = between(FEWEST, 10**6, default=250)  # examples, and outsiders of each kind, at most
    trained: int = between(FEWEST, 10**6, default=2000)  # training examples that detectors are fitted on, at most

    title = "Does the model know what it does not know?"
    sources = (
        "Hendrycks & Gimpel, A baseline for detecting misclassified and out-of-distribution examples, ICLR 2017, "
        "arXiv:1610.02136",
        "Liu et al., Energy-based out-of-distribution detection, NeurIPS 2020, arXiv:2010.03759",
        "Sun et al., Out-of-distribution detection with deep nearest neighbors, ICML 2022, arXiv:2204.06507",
        "Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018, "
        "arXiv:1807.03888",
    )
    metrics = {
        "auroc": Metric("AUROC of test examples against outsiders", better="higher", main=True, low=0, high=1),
        "aupr": Metric("average precision, outsiders being sought", better="higher", low=0, high=1),
        "fpr95": Metric("outsiders that pass where 95 % of test examples do", better="lower", low=0, high=1),
        "sure": Metric(f"answered with a confidence above {SURE:g}", better="lower", low=0, high=1),
    }
    presets = {"quick": {}, "full": {"most": 2000, "trained": 10_000}}

    def measure(self, subject: Subject, shown: Examples, context: Context) -> Iterator[Measurement]:
        if len(shown.y) < FEWEST:
            raise NotApplicable(
                f"{len(shown.y)} examples in a fold; {FEWEST} are needed at least, so ask for fewer folds"
            )
        shown = shown.few(self.most, context.rng("shown"))
        x = shown.x
        scores = self.detectors(subject, shown, context)
        inside = scores(x)
        strange = outsiders(shown, context)
        for kind, made in strange.items():
            for detector, outside in scores(made).items():
                yield {"outsiders": kind, "detector": detector} | told(inside[detector], outside, detector)
        yield from self.again(x, inside, scores, context)
        yield self.beyond(x)
        self.surest(subject, shown, strange)

    def detectors(self, subject: Subject, shown: Examples, context: Context) -> Callable[[Tensor], Scores]:
        """From inputs to scores: of logits, and of features where there are any and training examples to fit on."""
        fitted: dict[str, u.KNN | u.Mahalanobis] = {}
        if shown.training is not None and has_features(subject, shown.x):
            x, y = shown.training.drawn(self.trained, context.rng("training"))
            features = u.extract(subject.net, x).features
            fitted = {KNN: u.KNN(features, min(NEIGHBOUR, len(x))), MAHALANOBIS: u.Mahalanobis(features, y)}

        def scores(x: Tensor) -> Scores:
            logits = subject.logits(x)
            found = {MSP: u.max_softmax(logits), ENERGY: u.energy(logits)}
            if fitted:
                features = u.extract(subject.net, x).features
                found |= {name: detector(features) for name, detector in fitted.items()}
            return {name: as_array(score) for name, score in found.items()}

        return scores

    def again(
        self, x: Tensor, inside: Scores, scores: Callable[[Tensor], Scores], context: Context
    ) -> Iterator[Measurement]:
        """Halves of the test examples, one as it was scored and one as it is in another order; means over halvings."""
        rng = context.rng("again")
        order = rng.permutation(len(x))
        outside = {name: found[np.argsort(order)] for name, found in scores(x[torch.from_numpy(order)]).items()}
        halved = [np.array_split(rng.permutation(len(x)), 2) for _ in range(HALVINGS)]
        for detector, first in inside.items():
            each = [told(first[a], outside[detector][b], detector) for a, b in halved]
            means = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
            yield {"outsiders": AGAIN, "detector": detector} | means

    def beyond(self, x: Tensor) -> Measurement:
        """Half of the examples are known, and told from the other half moved far away is the other half itself."""
        known, others = (half.flatten(1).double() for half in x.tensor_split(2))
        off = others + 100 * (x.max() - x.min()).double()
        inside, outside = (as_array(-torch.cdist(half, known).amin(1)) for half in (others, off))
        return {"outsiders": BEYOND, "detector": DISTANCE} | told(inside, outside, DISTANCE)

    @staticmethod
    def surest(subject: Subject, shown: Examples, strange: dict[str, Tensor]) -> None:
        """Keep the outsiders that it is surest of, a few of each kind."""
        found = []
        for kind, made in strange.items():
            p = subject.probabilities(made)
            for row in np.argsort(-p.max(1), kind="stable")[:OF_EACH]:
                caption = f"{kind}: says {shown.classes[p[row].argmax()]} at {p[row].max():.0%}"
                found.append((p[row].max(), caption, made[row]))
        found.sort(key=lambda one: -one[0])
        subject.show("nothing it knows, and sure", torch.stack([one[2] for one in found]), [one[1] for one in found])

    claims = [
        Claim(
            "its confidence tells outsiders from test examples, with a mean AUROC above 0.9",
            lambda rows: every(rows, "subject", lambda r: above(mean_of(r, "auroc"), 0.9)),
        ),
        Claim(
            f"fewer than one in ten outsiders are answered with a confidence above {SURE:g}",
            lambda rows: every(rows, "subject", lambda r: below(mean_of(r, "sure"), 0.1)),
        ),
        Control(
            "test examples shown again are told from each other by chance, by any detector",
            lambda rows: every(
                where(rows, outsiders=AGAIN), ["subject", "detector"], lambda r: contains(r.auroc, 0.5, margin=0.05)
            ),
            kind="negative",
        ),
        Control(
            "what lies a hundred ranges off is told from the examples by its distance to them",
            lambda rows: every(where(rows, outsiders=BEYOND), "subject", lambda r: above(r.auroc, 0.95)),
            kind="positive",
        ),
    ]
    axes = [
        Axis(
            "unknown inputs",
            lambda rows: mean_of(rows, "auroc"),
            "AUROC of its confidence, test examples against outsiders, mean over kinds; 0.5 is chance",
        )
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """AUROC by kind of outsider and detector, a panel a model."""
        from dlbench import stats

        mine = rows[rows.outsiders.isin(KINDS)] if len(rows) else rows
        subjects = list(mine.subject.unique()) if len(mine) else [""]
        panels = figure.subplots(1, len(subjects), sharey=True, squeeze=False)[0]
        kinds = [kind for kind in KINDS if len(mine) and (mine.outsiders == kind).any()]
        for axes, subject in zip(panels, subjects, strict=True):
            axes.axvline(0.5, color="0.6", linestyle=":")
            for shift, (detector, color) in zip((-0.24, -0.08, 0.08, 0.24), COLORS.items(), strict=True):
                found = where(mine, subject=subject, detector=detector) if len(mine) else mine
                for place, kind in enumerate(kinds):
                    values = where(found, outsiders=kind).auroc
                    if not np.isfinite(values).any():
                        continue
                    interval = stats.t_interval(values)
                    if interval.n > 1:
                        axes.hlines(place + shift, interval.low, interval.high, color=color, linewidth=1)
                    axes.plot(interval.estimate, place + shift, "o", color=color, markersize=4)
                axes.plot([], [], "o", color=color, label=detector)
            axes.set_title(subject.replace("$", r"\$"), fontsize=8)
            axes.set_xlabel("AUROC")
        panels[0].set_yticks(range(len(kinds)), kinds)
        panels[0].set_ylabel("outsiders")
        panels[0].set_ylim(max(len(kinds), 1) - 0.5, -0.5)
        panels[0].legend(fontsize=7, loc="lower left")


def told(inside: Array, outside: Array, detector: str) -> Measurement:
    """How well scores tell outsiders."""
    found = u.detection(inside, outside)
    row = {"auroc": found.auroc, "aupr": found.aupr_out, "fpr95": found.fpr95}
    return row | {"sure": float((outside > SURE).mean())} if detector == MSP else row


def as_array(scores: Tensor) -> Array:
    """An answer that is no number is none that one is familiar with."""
    return np.asarray(scores.double().nan_to_num(-np.inf, np.inf, -np.inf).cpu())


def has_features(subject: Subject, x: Tensor) -> bool:
    """Whether it has a last linear layer that runs."""
    try:
        u.extract(subject.net, x[:2])
    except ValueError:
        return False
    return True
