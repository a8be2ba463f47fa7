"""audit_explanation: models whose explanation is known, models without any, rules on made frames."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context
from dlbench.audit import Examples, Subject
from dlbench.errors import NotApplicable
from dlbench_plugins.audits.audit_explanation import (
    ALL,
    LAST,
    LINEAR,
    METHODS,
    NONE,
    RANDOM,
    AuditExplanation,
    area,
    linear_of_means,
)

from .drawing import drawn


def images(n=16, channels=1, size=8):
    """A bright patch whose place is the class, on noise."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    x = rng.uniform(0.2, 0.5, (n, channels, size, size)).astype(np.float32)
    for image, label in zip(x, y, strict=True):
        image[:, 1:3, 1 + 4 * label : 3 + 4 * label] = 1
    return Examples(torch.from_numpy(x), torch.from_numpy(y), ("left", "right"), None, None)


def patches():
    """A linear model that looks at both places and at nothing else."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    weight = torch.zeros(2, 8, 8)
    weight[0, 1:3, 1:3] = weight[1, 1:3, 5:7] = 2
    with torch.no_grad():
        net[1].weight.copy_(weight.flatten(1))
        net[1].bias.zero_()
    return net


def measured(net, shown, **changes):
    context = Context(seed=0)
    rows = list(AuditExplanation(**{"judged": 8} | changes).measure(Subject("net", net, context), shown, context))
    return pd.DataFrame(rows).assign(subject="net"), context


# -------------------------------------------------------------------------------------------------------- what is told


def test_of_a_model_that_looks_at_two_places_deletion_gains_and_weights_matter():
    net = patches()
    before = copy.deepcopy(net.state_dict())
    rows, context = measured(net, images())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    deletion = rows[rows.over == "deletion"].set_index("method")
    assert set(deletion.index) == {*METHODS, RANDOM, LINEAR}
    assert (deletion.gain[list(METHODS)] > 0.1).all() and deletion.gain[LINEAR] > 0.1
    assert abs(deletion.gain[RANDOM]) < 0.05
    assert np.allclose(deletion.gain["gradient x input"], deletion.gain["integrated gradients"], atol=1e-6)
    kept = rows[rows.over == "randomisation"].pivot(index="method", columns="layers", values="correlation")
    assert (kept[NONE] > 1 - 1e-9).all() and (kept[[LAST, ALL]].abs() < 0.9).all(axis=None)
    assert kept[LAST].equals(kept[ALL])  # there is but one layer
    captions = context.kept["captions " + json.dumps(["net", "an image, and what speaks for the answer"])]
    pictures = context.kept["shown " + json.dumps(["net", "an image, and what speaks for the answer"])]
    assert pictures.shape == (8, 1, 8, 16) and len(captions) == 8
    side = 1 if captions[0].startswith("left") else 5
    seen = np.argwhere(pictures[0, 0, :, 8:] > 0)
    assert seen[:, 0].min() >= 1 and seen[:, 0].max() <= 2 and side <= seen[:, 1].min() <= seen[:, 1].max() <= side + 1


def test_a_model_that_answers_always_the_same_has_blank_maps_that_name_nothing():
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(1, 2)

        def forward(self, x):
            return self.last(0 * x.flatten(1)[:, :1])

    rows, _ = measured(Blind(), images())
    deletion = rows[rows.over == "deletion"].set_index("method")
    assert (deletion.gain[[*METHODS, RANDOM]].abs() < 1e-12).all()
    kept = rows[rows.over == "randomisation"].pivot(index="method", columns="layers", values="correlation")
    assert (kept[ALL] == 0).all() and kept[NONE].isna().all()


def test_two_layers_are_drawn_anew_from_the_last_on_and_colour_is_summed_up():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    rows, context = measured(net, images(channels=3))
    kept = rows[rows.over == "randomisation"].pivot(index="method", columns="layers", values="correlation")
    assert (kept[LAST] != kept[ALL]).all()
    assert next(value for name, value in context.kept.items() if name.startswith("shown")).shape[1:] == (3, 8, 16)


class Rounds(nn.Module):
    """Goes by way of numpy, where no gradient follows."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(64, 2).requires_grad_(False)

    def forward(self, x):
        return self.last(torch.from_numpy(x.detach().flatten(1).numpy()))


class Bare(nn.Module):
    """Has no layer that could be drawn anew."""

    def forward(self, x):
        return x.flatten(1)[:, :2]


@pytest.mark.parametrize(("net", "why"), [(Rounds, "net has no gradients"), (Bare, "cannot be drawn anew")])
def test_models_that_cannot_be_asked_do_not_apply(net, why):
    with pytest.raises(NotApplicable, match=why):
        measured(net(), images())


def test_of_one_class_there_is_no_linear_model():
    shown = images()
    with pytest.raises(NotApplicable, match="one class"):
        linear_of_means(shown.x, torch.zeros_like(shown.y))


def test_the_linear_model_answers_the_nearest_mean():
    shown = images()
    net = linear_of_means(shown.x, shown.y + 5)  # classes that are not there are left out
    assert torch.equal(net(shown.x).argmax(1), shown.y)


def test_equal_pixels_go_by_lot():
    shown, net = images(), patches()
    y = net(shown.x).argmax(1)
    blank = np.zeros((len(y), 8, 8))
    expected = np.mean(
        [area(net, shown.x, y, np.random.default_rng(n).random(blank.shape), Context(seed=0)).mean() for n in range(30)]
    )
    by_lot = np.mean([area(net, shown.x, y, blank, Context(seed=seed)).mean() for seed in range(30)])
    assert abs(by_lot - expected) < 0.02


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(gain=0.2, kept=0.1, random=0.0, linear=0.2, same=1.0):
    rows = []
    for seed in range(6):
        jitter = 0.001 * (seed % 3 - 1)
        for method in METHODS:
            at = {"seed": seed, "method": method}
            for layers, value in ((NONE, same), (LAST, kept), (ALL, kept)):
                rows.append({**at, "over": "randomisation", "layers": layers, "correlation": value + jitter})
            rows.append({**at, "over": "deletion", "layers": NONE, "gain": gain + jitter, "lost": 2 * gain})
        for method, value in ((RANDOM, random), (LINEAR, linear)):
            at = {"seed": seed, "method": method, "over": "deletion", "layers": NONE}
            rows.append({**at, "gain": value + jitter, "lost": -1.0})
    return pd.DataFrame(rows).assign(subject="net").set_index("seed", drop=False)


@pytest.mark.parametrize(
    ("changed", "failed"),
    [
        ({}, None),
        ({"kept": -0.8}, 0),
        ({"gain": 0.01}, 1),
        ({"random": 0.2}, 2),
        ({"linear": -0.2}, 3),
        ({"same": 0.5}, 4),
    ],
)
def test_each_rule_can_fail(changed, failed):
    outcomes = ["holds"] * 5
    if failed is not None:
        outcomes[failed] = "does not hold"
    rows = frame(**changed)
    assert [claim.rule(rows).outcome for claim in AuditExplanation.claims] == outcomes


def test_the_axis_is_the_mean_of_the_explanations_alone():
    [axis] = AuditExplanation.axes
    assert axis.rule(frame(gain=0.2)).round(6).tolist() == [0.4] * 6
    assert axis.rule(frame(gain=-0.2)).tolist() == [0.0] * 6


def test_the_picture_has_a_line_a_model():
    rows = pd.concat([frame(), frame(0.1).assign(subject="other")])
    figure = drawn(AuditExplanation(), rows, {})
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["net", "other"]
