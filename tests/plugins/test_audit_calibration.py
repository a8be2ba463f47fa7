"""The audit of calibration: a model that is calibrated by construction, one that is not, and unbalanced classes."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context, where
from dlbench.audit.examples import Examples
from dlbench.audit.subject import Subject
from dlbench.verdicts import judged
from dlbench_plugins.audits.audit_calibration import AuditCalibration, softmax


class Logits(nn.Module):
    """A table's columns are its logits, times ``sure``."""

    def __init__(self, sure=1.0):
        super().__init__()
        self.sure = sure

    def forward(self, x):
        return self.sure * x


def measured(net, positives=0.5, n=400, seeds=6):
    """Rows of all seeds; labels are drawn from what the columns of the table say."""
    parts = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=(n, 2)) * 1.5 + np.log([1 - positives, positives])
        y = (rng.random(n) < softmax(logits)[:, 1]).astype(int)
        x = torch.from_numpy(logits).float()
        shown = Examples(x, torch.from_numpy(y), ("no", "yes"), None, None)
        context = Context(seed=seed)
        audit = AuditCalibration(draws=20)
        rows = pd.DataFrame(audit.measure(Subject("net", net, context), shown, context))
        parts.append(rows.assign(subject="net", seed=seed))
    return pd.concat(parts).set_index("seed")


def verdicts(rows):
    return {claim.statement: judged(claim.rule(rows), claim.statement).outcome for claim in AuditCalibration.claims}


@pytest.mark.parametrize("positives", [0.5, 0.1])
def test_a_calibrated_model_passes_whatever_the_shares_of_classes(positives):
    rows = measured(Logits(), positives)
    assert set(verdicts(rows).values()) == {"holds"}
    mine = where(rows, labels="own")
    assert abs(mine.excess_ece.mean()) < 0.02 and (mine.ece >= 0).all()


def test_one_that_is_too_sure_is_refuted_and_mended():
    found = verdicts(measured(Logits(3.0)))
    believed, promises, mended = list(found)[:3]
    assert found[believed] == found[promises] == "does not hold" and found[mended] == "holds"
    assert set(list(found.values())[3:]) == {"holds"}  # controls


def test_few_examples_say_nothing():
    rows = measured(Logits(), n=12)
    gate = AuditCalibration.claims[-1]
    assert judged(gate.rule(rows), gate.statement).outcome == "does not hold"


def test_axes():
    rows = measured(Logits())
    accuracy, calibration = AuditCalibration.axes
    right = where(rows, labels="own").accuracy
    assert accuracy.rule(rows).equals(right) and (accuracy.examples(rows) == 400).all()
    assert calibration.rule(rows).mean() == pytest.approx(1, abs=0.02)
