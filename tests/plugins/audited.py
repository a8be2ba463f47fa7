"""What tests of audits share: made examples, a linear model of them, and frames as rules see them."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from dlbench import Context
from dlbench.audit import Examples, Subject

SIDE = 6
SEEDS = range(6)


def examples(n=40, classes=4, seed=0):
    """Images of mid-grey noise in which one of the classes' columns is brighter."""
    rng = np.random.default_rng(seed)
    y = torch.arange(n) % classes
    x = torch.from_numpy(rng.uniform(0.3, 0.5, (n, 1, SIDE, SIDE))).float()
    x[torch.arange(n), 0, :, y] += torch.from_numpy(rng.uniform(0.1, 0.2, (n, 1))).float()
    return Examples(x=x, y=y, classes=tuple("abcdefgh"[:classes]), groups=None, training=None)


def linear(classes=4, scale=5.0):
    """A class's logit is the brightness of its column."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, classes, bias=False))
    with torch.no_grad():
        for label in range(classes):
            mask = torch.zeros(SIDE, SIDE)
            mask[:, label] = scale
            net[1].weight[label] = mask.flatten()
    return net.eval()


def measured(audit, net, shown, seed=0):
    """The rows that an audit yields of one model, and what it kept."""
    context = Context(seed=seed)
    rows = [{"subject": "mine", **row} for row in audit.measure(Subject("mine", net, context), shown, context)]
    return rows, context.kept


def frame(rows):
    """As rules see rows of one seed that six seeds gave."""
    return pd.concat([pd.DataFrame(rows, index=[seed] * len(rows)) for seed in SEEDS])


def failing(audit, rows):
    """The numbers of the claims and controls that do not hold."""
    return [number for number, claim in enumerate(audit.claims) if claim.rule(rows).outcome != "holds"]


def changed(rows, where, **changes):
    """The frame with other values in the rows that have these."""
    rows = rows.copy()
    chosen = np.logical_and.reduce([rows[name] == value for name, value in where.items()])
    assert chosen.any()
    for name, value in changes.items():
        rows.loc[chosen, name] = value
    return rows
