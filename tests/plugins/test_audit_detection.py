"""audit_detection: made models of which the answer is known, outsiders, rules on made frames."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context
from dlbench.audit import Examples, Subject
from dlbench.audit.examples import Training
from dlbench.errors import NotApplicable
from dlbench_plugins.audits import audit_detection as study
from dlbench_plugins.audits.audit_detection import AGAIN, BEYOND, DISTANCE, KNN, MSP, AuditDetection
from dlbench_plugins.audits.outsiders import OF_IMAGES, OF_TABLES, outsiders

from .drawing import drawn

WIDTH = 0.3  # of a made model's trust around what it knows


class Near(nn.Module):
    """Sure of the class of the nearest example, and of nothing where none is near."""

    def __init__(self, x, y, classes):
        super().__init__()
        self.x, self.y, self.classes = x, y, classes

    def forward(self, x):
        trust = torch.exp(-((torch.cdist(x.flatten(1), self.x.flatten(1)) / WIDTH) ** 2))
        return 20 * torch.stack([trust[:, self.y == c].amax(1) for c in range(self.classes)], 1)


class Far(Near):
    """The other way round: sure of the class of the nearest example the farther off it is."""

    def forward(self, x):
        distance, nearest = torch.cdist(x.flatten(1), self.x.flatten(1)).min(1)
        return nn.functional.one_hot(self.y[nearest], self.classes) * 20 * distance[:, None]


def images(n=40, channels=1, height=6, width=8, seed=0):
    """Dark images with a bright bar, whose place is the class, and who all have been taught."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.uniform(0, 0.05, (n, channels, height, width)).astype(np.float32)
    for image, label in zip(x, y, strict=True):
        image[:, :, 1 + 4 * label : 3 + 4 * label] += 0.9
    training = Training(x, y.astype(np.int64), "cpu")
    return Examples(torch.from_numpy(x), torch.from_numpy(y), ("left", "right"), None, training)


def table(n=40, features=4):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    x = (rng.normal(0, 0.1, (n, features)) + y[:, None]).astype(np.float32)
    return Examples(torch.from_numpy(x), torch.from_numpy(y), ("a", "b"), None, None)


def measured(net, shown, **changes):
    context = Context(seed=0)
    rows = list(AuditDetection(**changes).measure(Subject("net", net, context), shown, context))
    return pd.DataFrame(rows).assign(subject="net"), context


# -------------------------------------------------------------------------------------------------------- what is told


@pytest.mark.parametrize(("made", "right"), [(Near, True), (Far, False)])
def test_a_model_that_trusts_what_is_near_tells_outsiders_and_its_opposite_does_not(made, right):
    shown = images()
    rows, _ = measured(made(shown.x, shown.y, 2), shown)
    own = rows[(rows.detector == MSP) & rows.outsiders.isin(OF_IMAGES)]
    assert set(own.outsiders) == set(OF_IMAGES)
    assert (own.auroc == 1).all() if right else (own.auroc < 0.1).all()
    assert (own.sure == 0).all() if right else (own.sure > 0.9).all()
    assert (rows[rows.outsiders == AGAIN].auroc - 0.5).abs().max() < 0.06
    assert rows[rows.outsiders == BEYOND][["detector", "auroc"]].values.tolist() == [[DISTANCE, 1.0]]


def test_features_are_looked_at_where_there_are_any_and_training_examples():
    shown = images()
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    detectors = measured(net, shown, trained=20)[0].detector.unique()
    assert set(detectors) == {*study.COLORS, DISTANCE}
    untaught = Examples(shown.x, shown.y, shown.classes, None, None)
    assert KNN not in set(measured(net, untaught)[0].detector)
    assert KNN not in set(measured(Near(shown.x, shown.y, 2), shown)[0].detector)


def test_an_answer_that_is_no_number_is_not_familiar():
    class Breaks(nn.Module):
        def forward(self, x):
            return torch.where(x.abs().amax(1, keepdim=True) > 1.5, torch.nan, x[:, :2])

    rows, _ = measured(Breaks(), table())
    far = rows[(rows.outsiders == "far") & (rows.detector == MSP)].iloc[0]
    assert far.auroc == 1 and far.sure == 0


def test_an_answer_that_hangs_on_its_neighbours_fails_the_negative_control():
    class Batch(nn.Module):
        seen = None  # the first batch: what is shown in another order comes later

        def forward(self, x):
            self.seen = x.clone() if self.seen is None else self.seen
            place = torch.arange(len(x)) / len(x) * (1 if torch.equal(x, self.seen) else 30)
            return torch.stack([place, -place], 1)

    rows, _ = measured(Batch(), table())
    assert rows[(rows.outsiders == AGAIN) & (rows.detector == MSP)].auroc.iloc[0] < 0.4


def test_what_it_is_surest_of_is_shown_with_what_it_says():
    shown = images()
    _, context = measured(Far(shown.x, shown.y, 2), shown)
    captions = context.kept["captions " + json.dumps(["net", "nothing it knows, and sure"])]
    assert len(captions) == 8 and all(" at 100%" in caption for caption in captions)
    assert {caption.split(": says ")[1].split(" at ")[0] for caption in captions} <= {"left", "right"}


def test_few_examples_are_refused():
    with pytest.raises(NotApplicable, match="ask for fewer folds"):
        measured(nn.Identity(), table(n=6))


# ----------------------------------------------------------------------------------------------------------- outsiders


@pytest.mark.parametrize("channels", [1, 3])
def test_outsiders_of_images_are_images_of_the_same_shape(channels):
    shown = images(channels=channels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = outsiders(shown, Context(seed=1))
    assert list(made) == list(OF_IMAGES)
    for kind, x in made.items():
        assert x.shape == shown.x.shape and x.dtype == torch.float32, kind
        assert x.min() >= 0 and x.max() <= 1, kind
    assert torch.equal(made["inverted"], 1 - shown.x)
    assert torch.equal(made["shuffled"].flatten(2).sort(2).values, shown.x.flatten(2).sort(2).values)
    assert made["constant"].flatten(2).std(2).max() == 0
    assert torch.equal(made["halves"][..., :4], shown.x[..., :4])
    bars = (made["halves"][..., 1] > 0.5).all((1, 2)) == (made["halves"][..., 5] > 0.5).all((1, 2))
    assert bars.all()  # of both classes, or of none
    again = outsiders(shown, Context(seed=1))
    assert all(torch.equal(made[kind], again[kind]) for kind in made)


def test_outsiders_of_tables_leave_what_goes_together():
    shown = table(n=400)
    made = outsiders(shown, Context(seed=1))
    assert list(made) == list(OF_TABLES)
    together = {kind: np.corrcoef(x.numpy().T)[0, 1] for kind, x in made.items()}
    assert np.corrcoef(shown.x.numpy().T)[0, 1] > 0.9 and abs(together["shuffled"]) < 0.2
    assert torch.equal(made["shuffled"].sort(0).values, shown.x.sort(0).values)
    spread = (made["far"] - shown.x.mean(0)).abs() / shown.x.std(0, correction=0)
    assert torch.allclose(spread, torch.full_like(spread, 10), atol=0.01)


def test_of_one_class_halves_are_of_any_other():
    shown = images()
    one = Examples(shown.x, torch.zeros_like(shown.y), shown.classes, None, None)
    assert outsiders(one, Context(seed=0))["halves"].shape == one.x.shape


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(auroc=0.95, sure=0.05, again=0.5, beyond=1.0):
    rows = []
    for seed in range(6):
        jitter = 0.001 * (seed % 3 - 1)
        rows += [
            {"seed": seed, "outsiders": kind, "detector": MSP, "auroc": auroc + shift + jitter, "sure": sure + jitter}
            for kind, shift in (("noise", 0.04), ("halves", -0.04))
        ]
        rows.append({"seed": seed, "outsiders": "noise", "detector": KNN, "auroc": 0.1})
        rows.append({"seed": seed, "outsiders": AGAIN, "detector": MSP, "auroc": again + jitter, "sure": 1.0})
        rows.append({"seed": seed, "outsiders": BEYOND, "detector": DISTANCE, "auroc": beyond})
    return pd.DataFrame(rows).assign(subject="net").set_index("seed", drop=False)


@pytest.mark.parametrize(
    ("changed", "outcomes"),
    [
        ({}, ["holds"] * 4),
        ({"auroc": 0.88}, ["does not hold", "holds", "holds", "holds"]),
        ({"sure": 0.12}, ["holds", "does not hold", "holds", "holds"]),
        ({"again": 0.6}, ["holds", "holds", "does not hold", "holds"]),
        ({"beyond": 0.0}, ["holds", "holds", "holds", "does not hold"]),
    ],
)
def test_each_rule_can_fail(changed, outcomes):
    rows = frame(**changed)
    assert [claim.rule(rows).outcome for claim in AuditDetection.claims] == outcomes


def test_the_axis_is_of_its_own_confidence_alone():
    [axis] = AuditDetection.axes
    values = axis.rule(frame(auroc=0.8))
    assert values.index.tolist() == list(range(6)) and abs(values.mean() - 0.8) < 1e-9


def test_the_picture_has_a_panel_a_model_and_all_detectors():
    rows = pd.concat([frame(), frame(0.7).assign(subject="other $x$")])
    figure = drawn(AuditDetection(), rows, {})
    assert [axes.get_title() for axes in figure.axes] == ["net", r"other \$x\$"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(study.COLORS)
