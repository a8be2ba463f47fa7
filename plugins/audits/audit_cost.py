"""What does an answer of the model cost? Parameters, operations, memory, time, and energy where the machine tells.

Counted are parameters and the bytes of the weights, floating-point operations an example (matrix products, convolutions
and attention, by torch's own counter: :mod:`dlbench.cost`) and the most memory that a forward pass of 64 examples holds
at once. These are the model's, the same on every machine. Read off a clock are the times to answer one example and 64
at once, median and 95th percentile, how many answers a second that makes, and energy; they are this machine's, of that
moment, on the threads of a trial (one, unless more are asked for), and stand beside the others only if they were
measured there, too.

There is no best cost, hence no axis on the report card: what a model may cost depends on who pays. The claim has the
100 ms within which an answer seems to come at once (Nielsen, Usability engineering, 1993).

Controls: of twice as many examples the operations are twice as many, exactly; followed by one more linear layer, from
logits to logits, a model has classes² + classes more parameters and costs 2 · classes² more operations an example,
exactly. ``unexplained`` is what is counted beyond that. (The first does not hold of a model that works on its weights
in each pass, say, since its cost an example depends on the batch.) On one core all of it took 4 seconds for images of
3 × 32 × 32 and a convolutional network of 11 million operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import nn

from dlbench import Claim, Context, Control, Measurement, Metric, all_of, attacks, below, between, cost, every, where
from dlbench.audit import Audit, Examples, Subject
from dlbench_plugins.limits.serving import CLOCKED, SERVED, cycled, serving

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbench import Artefacts, Verdict

AT_ONCE = 0.1  # seconds
BATCH = max(SERVED)
EXACT = 0.5  # operations and parameters are whole numbers
COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # of models, in turn


def itself(rows: pd.DataFrame) -> pd.DataFrame:
    """What the model costs, without the controls."""
    return where(rows, measured="itself")


def exactly(values: pd.Series) -> Verdict:
    """Nothing is unexplained."""
    return below(values.abs(), EXACT)


@dataclass(frozen=True)
class AuditCost(Audit):
    repeats: int = between(5, 10_000, default=50)  # of a timing

    title = "What does an answer of the model cost?"
    sources = (
        "Dehghani et al., The efficiency misnomer, ICLR 2022, arXiv:2110.12894",
        "Nielsen, Usability engineering, Academic Press 1993, chapter 5",
    )
    metrics = {
        "flops": Metric("operations an example", "FLOP", "lower", main=True, low=0),
        "parameters": Metric("numbers that are learnt", better="lower", low=0),
        "weight_bytes": Metric("parameters and buffers in memory", "B", "lower", low=0),
        "peak_bytes": Metric(f"tensors at once in a forward pass of {BATCH}", "B", "lower", low=0),
        **CLOCKED,
        "throughput": Metric(f"answers a second, {BATCH} at once", "1/s", "higher", low=0, timed=True),
        "unexplained_flops": Metric("operations counted beyond what there should be, in a control", "FLOP"),
        "unexplained_parameters": Metric("parameters counted beyond what there should be, in a control"),
    }
    presets = {"quick": {}, "full": {"repeats": 500}}

    def measure(self, subject: Subject, shown: Examples, context: Context) -> Iterator[Measurement]:
        net, x, classes = subject.net, cycled(shown.x, BATCH), len(shown.classes)
        followed = nn.Sequential(net, nn.Linear(classes, classes, device=x.device))
        counted = cost.measure(net, x)
        with attacks.attack_mode(net), torch.no_grad():
            times = serving(net, x, repeats=self.repeats)
            flops = cost.count_flops(lambda: net(x))
            of_twice = cost.count_flops(lambda: net(cycled(x, 2 * BATCH)))
            of_followed = cost.count_flops(lambda: followed(x))
        yield {
            "measured": "itself",
            **counted._asdict(),
            "weight_bytes": cost.weight_bytes(net),
            **times,
            "throughput": BATCH / times[f"latency_{BATCH}_p50"],
        }
        yield {"measured": "twice", "unexplained_flops": of_twice - 2 * flops}
        yield {
            "measured": "followed",
            "unexplained_flops": of_followed - flops - 2 * classes**2 * BATCH,
            "unexplained_parameters": cost.parameters(followed) - counted.parameters - (classes**2 + classes),
        }

    claims = [
        Claim(
            f"it answers one example within {1000 * AT_ONCE:g} ms at the 95th percentile",
            lambda rows: every(itself(rows), "subject", lambda r: below(r.latency_1_p95, AT_ONCE)),
            source="Nielsen 1993",
        ),
        Control(
            "twice as many examples cost exactly twice as many operations",
            lambda rows: every(where(rows, measured="twice"), "subject", lambda r: exactly(r.unexplained_flops)),
            kind="negative",
        ),
        Control(
            "followed by a linear layer from logits to logits, it has exactly classes² + classes more parameters and "
            "costs 2 · classes² more operations an example",
            lambda rows: every(
                where(rows, measured="followed"),
                "subject",
                lambda r: all_of(exactly(r.unexplained_flops), exactly(r.unexplained_parameters)),
            ),
            kind="positive",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Seconds an answer over operations, both logarithmic: alone (filled), and one of 64 (hollow)."""
        axes = figure.subplots()
        axes.set_xlabel("operations an example")
        axes.set_ylabel("seconds an answer, here: median, and 95th percentile")
        mine = itself(rows) if len(rows) else rows
        for number, (name, one) in enumerate(mine.groupby("subject", sort=False) if len(mine) else ()):
            colour = COLOURS[number % len(COLOURS)]
            for n in SERVED:
                median, high = (one[f"latency_{n}_{p}"].mean() / n for p in ("p50", "p95"))
                flops = one.flops.mean()
                if not (0 < flops < math.inf and 0 < median <= high < math.inf):
                    continue
                axes.vlines(flops, median, high, color=colour, linewidth=1.2)
                face = colour if n == SERVED[0] else "none"
                label = f"{name}, {n} at once"
                axes.plot(flops, median, "o", color=colour, markerfacecolor=face, markersize=6, label=label)
        axes.axhline(AT_ONCE, color="0.6", linestyle=":", linewidth=0.8, zorder=0, label=f"{1000 * AT_ONCE:g} ms")
        if len(axes.lines) > 1:  # beside the threshold
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.tick_params(which="minor", labelbottom=False, labelleft=False)
        axes.legend(fontsize=7)
