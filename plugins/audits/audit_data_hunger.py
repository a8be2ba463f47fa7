"""How many examples does the model need? (Hestness et al. 2017, arXiv:1712.00409.)

A fresh network of the model's kind, every weight drawn anew by ``reset_parameters``, is trained on a tenth of the
training examples and on ever twice as many, up to all of them (or the first ``most``, drawn by lot); larger sets
contain the smaller ones, and classes are as frequent in all. Beside it learn logistic regression, of standardised
inputs, and a random forest, as scikit-learn has them, from the same examples. All are tested on this fold's.

The recipe is one for all models: Adam, ``steps`` batches, rates that fall to 0 along a cosine. The first rate is the
best of three by a fifth of what there is to learn from, which is then learnt, too. It is not the recipe that the model
was made with, and no augmentation or pre-training is: what is measured is the architecture. The model itself is left
alone; but since this takes time and trains, it must be allowed: ``retrain``, or ``dlbench audit --retrain``.

Error is fitted by a power law of the number of examples, without a floor (:mod:`dlbench.learning_curves`); so that it
has a logarithm where nothing was wrong, half an example counts as wrong besides.

Controls: from shuffled labels no more is learnt than chance, which is the agreement that answers and labels as frequent
as these have by lot; and all examples teach more than the fewest.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench import (
    Axis,
    Claim,
    Context,
    Control,
    Measurement,
    Metric,
    above,
    all_of,
    between,
    draw_means,
    equivalent,
    every,
    paired,
    per_seed,
    where,
)
from dlbench.audit import Audit, Examples, Subject
from dlbench.errors import NotApplicable
from dlbench.learning_curves import fit_power_law
from dlbench.stacking import batches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

Labels = NDArray[np.int64]

ITSELF, LOGISTIC, FOREST = "itself", "logistic regression", "forest"
COLORS = {ITSELF: "#D55E00", LOGISTIC: "#0072B2", FOREST: "#009E73"}
TRUE, SHUFFLED = "true", "shuffled"
TENTH = 10
FEWEST = 20  # examples to learn from, and as many as there are classes
HELD = 5  # every fifth chooses the rate
SHUFFLES = 8  # orders of the labels, whose mean counts: by chance one order is learnt to good use
TREES, ITERATIONS = 100, 300
SHARE, BEHIND, CHANCE = 0.9, 0.05, 0.05


# ------------------------------------------------------------------------------------------------- rows that rules see


def learnt(rows: pd.DataFrame, learner: str, n: int) -> pd.Series:
    """A learner's accuracy from so many examples, a seed."""
    return where(rows, over="size", labels=TRUE, learner=learner, n=n).accuracy


def ends(rows: pd.DataFrame) -> tuple[int, int, int]:
    """Of sizes the smallest, a tenth of all, and all."""
    n = where(rows, over="size").n
    return int(n.min()), int(n.max()) // TENTH, int(n.max())


def kept(rows: pd.DataFrame) -> pd.Series:
    """Accuracy with a tenth of the examples over that with all, a seed."""
    _, tenth, everything = ends(rows)
    return (learnt(rows, ITSELF, tenth) / learnt(rows, ITSELF, everything)).replace(np.inf, np.nan)


def little_data(rows: pd.DataFrame) -> pd.Series:
    """Accuracy with a tenth of the examples over the best learner's with all: who never learns has no good ratio."""
    _, tenth, everything = ends(rows)
    best = per_seed(where(rows, over="size", labels=TRUE, n=everything), lambda r: r.accuracy.max())
    return (learnt(rows, ITSELF, tenth) / best).clip(0, 1)


def keeps_up(rows: pd.DataFrame) -> Verdict:
    """With a tenth of the examples it is not far behind either classical learner."""
    _, tenth, _ = ends(rows)
    few = where(rows, over="size", labels=TRUE, n=tenth)
    return all_of(
        *(above(paired(few, "accuracy", ITSELF, other, by="learner"), -BEHIND) for other in (LOGISTIC, FOREST))
    )


def gained(rows: pd.DataFrame) -> pd.Series:
    """What all examples teach beyond the fewest, a seed."""
    fewest, _, everything = ends(rows)
    return learnt(rows, ITSELF, everything) - learnt(rows, ITSELF, fewest)


# -------------------------------------------------------------------------------------------------------------- audit


@dataclass(frozen=True)
class AuditDataHunger(Audit):
    retrain: bool = False
    most: int = between(TENTH * FEWEST, 10**7, default=2000)  # training examples
    steps: int = between(1, 10**7, default=150)
    batch_size: int = between(2, 10**5, default=64)
    rates: tuple[float, ...] = between(1e-7, 1.0, default=(1e-3, 3e-3, 1e-2))

    title = "How many examples does the model need?"
    sources = (
        "Hestness et al., Deep learning scaling is predictable, empirically, 2017, arXiv:1712.00409",
        "Loog, Viering et al., The shape of learning curves: a review, IEEE TPAMI 2023, arXiv:2103.10948",
    )
    metrics = {
        "accuracy": Metric("test accuracy", better="higher", main=True, low=0, high=1),
        "rate": Metric("the learning rate that was chosen", low=0),
        "above_chance": Metric("accuracy from shuffled labels above that of chance", low=-1, high=1),
        "exponent": Metric("exponent of the number of examples in the error", better="higher"),
        "misfit": Metric("how far the power law is off, as a share", better="lower", low=0),
    }
    presets = {"quick": {"retrain": True}, "full": {"retrain": True, "most": 100_000, "steps": 5000}}

    def measure(self, subject: Subject, shown: Examples, context: Context) -> Iterator[Measurement]:
        if not self.retrain:
            raise NotApplicable("retraining was not allowed; dlbench audit --retrain")
        x, y = in_turn(
            *shown.taught("it learns from ever more of them").drawn(self.most, context.rng("drawn")), context
        )
        errors: dict[str, list[float]] = {learner: [] for learner in COLORS}
        tried = self.sizes(len(y), len(shown.classes))
        for n in tried:
            net, rate = self.tuned(subject, x[:n], y[:n], context)
            said = {ITSELF: answers(net, subject, shown.x)} | classical(x[:n], y[:n], shown.x, context)
            for learner, classes in said.items():
                accuracy = float((classes == shown.labels).mean())
                errors[learner].append(accuracy)
                row = {"over": "size", "labels": TRUE, "learner": learner, "n": n, "accuracy": accuracy}
                yield row | ({"rate": rate} if learner == ITSELF else {})
        yield {"over": "size", "labels": SHUFFLED, "learner": ITSELF, "n": len(y)} | self.shuffled(
            subject, x, y, rate, shown, context
        )
        for learner, accuracies in errors.items():
            wrong = (1 - np.array(accuracies)) * len(shown.y)
            law = fit_power_law(tried, (wrong + 0.5) / (len(shown.y) + 1), floor=False)
            place = {"over": "curve", "labels": TRUE, "learner": learner, "n": 0}
            yield place | {"exponent": law.exponent, "misfit": law.misfit}

    @staticmethod
    def sizes(n: int, classes: int) -> list[int]:
        """All, ever halved, and a tenth; or NotApplicable."""
        least = max(FEWEST, classes)
        if n < TENTH * least:
            raise NotApplicable(
                f"{n} training examples of {classes} classes; of at least {TENTH * least} a tenth will do"
            )
        return sorted({n // TENTH, *(n // 2**k for k in range(int(math.log2(n / least)) + 1))})

    def tuned(self, subject: Subject, x: Tensor, y: Tensor, context: Context) -> tuple[nn.Module, float]:
        """A network trained on all of these, at the rate that was best on a fifth of them."""
        held = torch.arange(len(y), device=y.device) % HELD == HELD - 1

        def merit(rate: float) -> tuple[float, float]:
            net = self.trained(subject, x[~held], y[~held], rate, context)
            logits = Subject(subject.name, net, context).logits(x[held])
            right = (logits.argmax(1) == y[held]).double().mean()
            return float(right), -float(F.cross_entropy(logits, y[held]).nan_to_num(math.inf))

        rate = max(self.rates, key=merit) if len(self.rates) > 1 else self.rates[0]
        return self.trained(subject, x, y, rate, context), rate

    def trained(self, subject: Subject, x: Tensor, y: Tensor, rate: float, context: Context) -> nn.Module:
        """A fresh network after so many steps."""
        net = fresh(subject, context).train()
        adam = torch.optim.Adam(net.parameters(), lr=rate, fused=True)
        orders = [context.generator("order")]
        with context.seeded("training"):  # dropout, and whatever else a network draws
            drawn = batches([len(y)], min(self.batch_size, len(y)), steps=self.steps, generators=orders)
            for step, rows in enumerate(drawn):
                adam.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / self.steps)) / 2
                chosen = rows[0].to(y.device)
                loss = F.cross_entropy(net(x[chosen]), y[chosen])
                if not loss.requires_grad:
                    raise NotApplicable(f"{subject.name} cannot be trained: its logits have no gradient")
                adam.zero_grad()
                loss.backward()
                adam.step()
        return net.eval()

    def shuffled(
        self, subject: Subject, x: Tensor, y: Tensor, rate: float, shown: Examples, context: Context
    ) -> Mapping[str, float]:
        """What is learnt from labels of others, the mean over orders."""
        found = []
        for order in range(SHUFFLES):
            labels = y[torch.from_numpy(context.rng("shuffled", order).permutation(len(y))).to(y.device)]
            said = answers(self.trained(subject, x, labels, rate, context), subject, shown.x)
            shares = [np.bincount(of, minlength=len(shown.classes)) / len(of) for of in (said, shown.labels)]
            accuracy = float((said == shown.labels).mean())
            found.append((accuracy, accuracy - float(shares[0] @ shares[1])))
        return dict(zip(("accuracy", "above_chance"), np.mean(found, axis=0).tolist(), strict=True))

    claims = [
        Claim(
            f"a tenth of the examples is enough for {SHARE:.0%} of the accuracy that it has with all",
            lambda rows: every(rows, "subject", lambda r: above(kept(r), SHARE)),
        ),
        Claim(
            f"with a tenth it is at most {BEHIND:g} behind logistic regression and a random forest",
            lambda rows: every(rows, "subject", keeps_up),
        ),
        Control(
            f"from shuffled labels it learns no more than chance, but for {CHANCE:g}",
            lambda rows: every(where(rows, labels=SHUFFLED), "subject", lambda r: equivalent(r.above_chance, CHANCE)),
            kind="negative",
        ),
        Control(
            "all examples teach it more than the fewest",
            lambda rows: every(rows, "subject", lambda r: above(gained(r), 0.0)),
            kind="positive",
        ),
    ]
    axes = [
        Axis(
            "little data",
            little_data,
            "accuracy with a tenth of the examples over the best accuracy of any learner with all",
        )
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Accuracy by the number of examples, a panel a model."""
        sizes = where(rows, over="size", labels=TRUE) if len(rows) else rows
        subjects = list(sizes.subject.unique()) if len(sizes) else [""]
        for axes, subject in zip(
            figure.subplots(1, len(subjects), sharey=True, squeeze=False)[0], subjects, strict=True
        ):
            draw_curves(axes, where(sizes, subject=subject) if len(sizes) else sizes)
            axes.set_title(subject.replace("$", r"\$"), fontsize=8)
            axes.set_xlabel("training examples")
        figure.axes[0].set_ylabel("test accuracy")
        figure.axes[0].legend(fontsize=7, loc="lower right")


# -------------------------------------------------------------------------------------------------------------- parts


def in_turn(x: Tensor, y: Tensor, context: Context) -> tuple[Tensor, Tensor]:
    """Examples in an order whose beginnings have the classes as often as the whole, and one of each at once."""
    classes = np.asarray(y.cpu())
    order = context.rng("in turn").permutation(len(classes))
    share = np.empty(len(classes))
    for label in np.unique(classes):
        of = order[classes[order] == label]
        share[of] = np.arange(len(of)) / len(of)
    rows = torch.from_numpy(order[np.argsort(share[order], kind="stable")]).to(y.device)
    return x[rows], y[rows]


def fresh(subject: Subject, context: Context) -> nn.Module:
    """A copy with every weight drawn anew, or NotApplicable where one could not be."""
    net = copy.deepcopy(subject.net)
    with context.seeded("init"):
        for name, module in net.named_modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise NotApplicable(
                    f"{subject.name}: {name or 'the model'} ({type(module).__name__}) has weights and no "
                    "reset_parameters() to draw them anew; give it one"
                )
    if next(net.parameters(), None) is None:
        raise NotApplicable(f"{subject.name} has no weights to train")
    return net.requires_grad_(True)


def answers(net: nn.Module, subject: Subject, x: Tensor) -> Labels:
    """[n]: the likeliest class of each."""
    return np.asarray(Subject(subject.name, net, subject.context).logits(x).argmax(1).cpu())


def classical(x: Tensor, y: Tensor, tests: Tensor, context: Context) -> dict[str, Labels]:
    """The answers to tests of scikit-learn's learners."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known, classes, asked = (np.asarray(part.cpu()) for part in (x.flatten(1), y, tests.flatten(1)))
    learners = {
        LOGISTIC: make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS)),
        FOREST: RandomForestClassifier(TREES, random_state=context.integer("forest") % 2**32),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged yet
        return {name: np.asarray(learner.fit(known, classes).predict(asked)) for name, learner in learners.items()}


def draw_curves(axes: Axes, rows: pd.DataFrame) -> None:
    """The learners' curves for one model."""
    for learner, color in COLORS.items():
        by_size = dict(list(where(rows, learner=learner).groupby("n"))) if len(rows) else {}
        samples = [group.accuracy.to_numpy() for group in by_size.values()]
        draw_means(axes, by_size, samples, limits=(0, 1), color=color, marker="o", markersize=4, label=learner)
    if axes.lines:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
