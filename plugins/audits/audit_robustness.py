"""Is the model right when somebody wants it to be wrong? (Croce & Hein, ICML 2020, arXiv:2003.01690.)

Each image may change by up to eps in every value (the L-infinity ball; 8/255 can hardly be seen in a photograph), and
counts as robust if the model is right whatever APGD on the cross-entropy, targeted APGD and Square, which sees no
gradient, make of it. Radii are tried from the least to the largest, each on what has withstood the smaller ones, so the
curve over them cannot rise. The number is an upper bound: more steps and queries may lower it (``full`` has the
budgets that papers report, but for FAB, which costs most and finds least).

A model can also withstand because its gradients lead nowhere (Athalye et al., ICML 2018). So on some of the images
twenty rules ask whether they do (:func:`dlbench.attacks.diagnose`), and ``masked`` is 1 where one of them fails: then
the model may be far less robust than the number beside it, which stays as it is.

Controls: at a radius of zero nothing may fall, but for ties. And the same model with its logits multiplied by 10,000,
whose labels are the same and whose cross-entropy has no digits left to descend on, must be found out.

An image that nothing breaks costs, a radius of three, (1 + ``target_classes``) · ``steps`` gradients, as many forward
passes, and ``queries`` more; the diagnosis, with the defaults, about 860 forward passes and 490 gradients. On one core
a fold of 100 images of 3 × 32 × 32 took 80 seconds with a convolutional network of 11 million operations an image, of
which nothing fell at two radii of three; what falls at once costs far less. For larger networks there are ``tested``
and ``diagnosed``, or a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from torch import Tensor

from dlbench import (
    Axis,
    Claim,
    Context,
    Control,
    Measurement,
    Metric,
    above,
    attacks,
    below,
    between,
    every,
    where,
)
from dlbench.audit import Audit, Examples, Subject
from dlbench_plugins.robustness.attacked import ALONG, Scaled, budgets, draw_curve, in_rows, passes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts

SHARES = (0.0, 0.5, 1.0, 2.0)  # of eps: the radii
SATURATION = ("M5", "M6")  # the rules that see logits which are too large
NEEDED = 4  # classes, for the targeted ratio of logits
TIES = 0.02  # of accuracy, in the negative control
FAILS = 1.5  # verdicts above are nearer to a failure than to a warning


def at_eps(rows: pd.DataFrame) -> pd.DataFrame:
    """What is left at eps, and whether it is to be believed."""
    return where(rows, attack="worst_case")


def clean(rows: pd.DataFrame) -> pd.Series:
    """Accuracy on images as they are, asked without any attack."""
    return where(rows, attack="none").robust_accuracy


@dataclass(frozen=True)
class AuditRobustness(Audit):
    eps: float = between(1e-4, 1, default=8 / 255)
    tested: int = between(1, 10_000, default=100)  # images of a fold at most
    steps: int = between(1, 1000, default=20)  # of APGD
    target_classes: int = between(1, 999, default=3)  # of targeted APGD
    queries: int = between(1, 100_000, default=100)  # of Square, and in the diagnosis
    diagnosed: int = between(1, 10_000, default=20)  # of the images tested
    pgd_steps: int = between(1, 1000, default=40)  # this and below: of the diagnosis
    restarts: int = between(2, 100, default=2)
    draws: int = between(1, 100_000, default=100)  # of noise

    title = "Is the model right when somebody wants it to be wrong?"
    takes = ("images",)
    sources = (
        "Croce & Hein, Reliable evaluation of adversarial robustness (AutoAttack), ICML 2020, arXiv:2003.01690",
        "Athalye, Carlini & Wagner, Obfuscated gradients give a false sense of security, ICML 2018, arXiv:1802.00420",
        "Carlini et al., On evaluating adversarial robustness, 2019, arXiv:1902.06705",
    )
    metrics = {
        "robust_accuracy": Metric("right whatever the attacks tried", better="higher", main=True, low=0, high=1),
        "masked": Metric("1 where a rule of the diagnosis fails: not to be believed", better="lower", low=0, high=1),
        "verdict": Metric("of a rule of the diagnosis: 0 pass, 1 warn, 2 fail", better="lower", low=0, high=2),
        "finding": Metric("what the rule measured", optional=True),
        "examples": Metric("how many were attacked", low=0),
        "forwards": Metric("forward passes of an image", "passes", low=0),
        "backwards": Metric("gradients of an image", "passes", low=0),
    }
    presets = {
        "quick": {},
        "full": {
            "tested": 1000,
            "steps": 100,
            "target_classes": 9,
            "queries": 5000,
            "diagnosed": 100,
            "restarts": 10,
            "draws": 1000,
        },
    }

    def measure(self, subject: Subject, shown: Examples, context: Context) -> Iterator[Measurement]:
        few = shown.few(self.tested, context.rng("tested"))
        x, y = few.x, few.y
        yield {"attack": "none", "eps": 0.0, "robust_accuracy": float(subject.right(x, y).mean())}

        curve = self.curve(subject, x, y, len(shown.classes), context)
        for eps, accuracy in zip(curve.eps, curve.robust_accuracy, strict=True):
            yield {"attack": "curve", "eps": eps, "robust_accuracy": accuracy}

        diagnosis = self.diagnosis(subject, x, y, context)
        for row in in_rows(diagnosis):
            yield {"attack": "diagnosis", "logits": "own", "eps": self.eps, **row}
        yield {
            "attack": "worst_case",
            "eps": self.eps,
            "robust_accuracy": curve.robust_accuracy[curve.eps.index(self.eps)],
            "masked": float(diagnosis.verdict == "fail"),
            "examples": len(y),
            **passes(curve),
        }

        scaled = Subject(subject.name, Scaled(subject.net), context)
        for row in in_rows(self.diagnosis(scaled, x, y, context, SATURATION)):
            yield {"attack": "diagnosis", "logits": "scaled", "eps": self.eps, **row}
        self.fallen(subject, shown, y, curve)

    def curve(self, subject: Subject, x: Tensor, y: Tensor, classes: int, context: Context) -> attacks.RobustnessCurve:
        """What falls at which radius."""
        settings = budgets(self, ALONG)
        if classes < NEEDED:
            settings["apgd_t"] |= {"loss": "margin"}
        radii = sorted({min(share * self.eps, 1.0) for share in SHARES})
        # faster forms of a model may change the last bits from run to run
        exact = {"seed": context.integer("attack"), "rewrite": "off"}
        return attacks.robustness_curve(subject.net, x, y, radii, attack=attacks.autoattack, **settings, **exact)

    def diagnosis(
        self, subject: Subject, x: Tensor, y: Tensor, context: Context, rules: tuple[str, ...] | None = None
    ) -> attacks.Diagnosis:
        """Whether gradients lead attacks astray, of the model in evaluation mode, in which it is attacked."""
        with attacks.attack_mode(subject.net):
            return attacks.diagnose(
                subject.net,
                x[: self.diagnosed],
                y[: self.diagnosed],
                eps=self.eps,
                steps=self.pgd_steps,
                restarts=self.restarts,
                queries=self.queries,
                noise_draws=self.draws,
                seed=context.integer("diagnosis"),
                rules=rules,
            )

    @staticmethod
    def fallen(subject: Subject, shown: Examples, y: Tensor, curve: attacks.RobustnessCurve) -> None:
        """Keep the images that fell at the least radius."""
        order = curve.broken_at.argsort(stable=True)
        order = order[(curve.broken_at[order] > 0) & curve.broken_at[order].isfinite()]
        said = subject.logits(curve.x_adv).argmax(1)
        captions = [
            f"{shown.classes[y[row]]} → {shown.classes[said[row]]} at eps {curve.broken_at[row]:.2g}"
            for row in order.tolist()
        ]
        subject.show("fell to the least change", curve.x_adv[order], captions)

    claims = [
        Claim(
            "its gradients are to be believed: in most folds no rule of the diagnosis fails",
            lambda rows: every(at_eps(rows), "subject", lambda r: below(r.masked, 0.5)),
            source="Athalye et al. 2018; Carlini et al. 2019",
        ),
        Claim(
            "at eps it still gets right more than half of the images that it gets right unharmed",
            lambda rows: every(rows, "subject", lambda r: above((at_eps(r).robust_accuracy / clean(r)).dropna(), 0.5)),
        ),
        Control(
            f"at eps = 0 robust accuracy is accuracy, but for ties: less than {TIES:g} apart",
            lambda rows: every(
                rows,
                "subject",
                lambda r: below((where(r, attack="curve", eps=0.0).robust_accuracy - clean(r)).abs(), TIES),
            ),
            kind="negative",
        ),
        Control(
            "the same model with its logits multiplied by 10,000 is found out: a rule of the diagnosis fails",
            lambda rows: every(
                where(rows, attack="diagnosis", logits="scaled", rule="all"),
                "subject",
                lambda r: above(r.verdict, FAILS),
            ),
            kind="positive",
        ),
    ]
    axes = [
        Axis(
            "robustness",
            lambda rows: at_eps(rows).robust_accuracy,
            "right whatever the attacks tried at eps; where it is masked, it may be far less",
            examples=lambda rows: at_eps(rows).examples,
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Robust accuracy against eps; beside it what the rules of the diagnosis say of each model."""
        figure.set_size_inches(10, 4)
        curves, rules = figure.subplots(1, 2)
        for number, (name, mine) in enumerate(rows.groupby("subject", sort=False) if len(rows) else ()):
            colour = draw_curve(curves, mine, str(name), number)
            measured = at_eps(mine)
            face = "none" if (measured.masked > 0).any() else colour
            point = measured.robust_accuracy.mean()
            curves.plot(self.eps, point, marker="*", markersize=11, color=colour, markerfacecolor=face)
        curves.axvline(self.eps, color="0.6", linewidth=0.8, linestyle=":", zorder=0, label=f"eps = {self.eps:.2g}")
        curves.set_ylim(-0.03, 1.03)
        curves.set_xlabel("eps (hollow star: a rule fails)", fontsize=9)
        curves.set_ylabel("robust accuracy", fontsize=9)
        curves.legend(fontsize=7, frameon=False)
        draw_rules(rules, rows)
        figure.tight_layout()


def draw_rules(axes: Axes, rows: pd.DataFrame) -> None:
    """The mean verdict of each rule of each model: light where it passes, dark where it fails."""
    axes.set_xlabel("rule of the diagnosis: light passes, dark fails", fontsize=9)
    axes.set_ylabel("model", fontsize=9)
    if not len(rows):
        return
    asked = where(rows, attack="diagnosis", logits="own")
    table = asked[asked["rule"] != "all"].pivot_table("verdict", "subject", "rule", sort=False)
    if table.empty:
        return
    seen = np.where(np.isfinite(table), table, np.nan)
    axes.imshow(seen, cmap="Oranges", vmin=0, vmax=2, aspect="auto")
    axes.set_xticks(range(len(table.columns)), table.columns, fontsize=6)
    axes.set_yticks(range(len(table.index)), [str(name) for name in table.index], fontsize=7)
