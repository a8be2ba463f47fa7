"""interpretability: a tiny trial, what is read of linear models and trees, audits, rules on frames of known verdict."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench_plugins.limits import interpretability as study
from dlbench_plugins.limits.interpretability import CNN, EDGES, IDEAL, LINEAR, METHODS, RANDOM, TREE, Interpretability

from .drawing import drawn

TINY = {"train_size": 120, "test_size": 60, "judged": 4, "width": 4, "steps": 2, "batch_size": 8, "draws": 2}
ALL = {*METHODS, RANDOM, EDGES}


def context(seed=100):
    return Context(seed=seed, loader={"digits": DIGITS.load()}.get)


@pytest.fixture(scope="module")
def trial():
    of = context()
    return pd.DataFrame(measurements(Interpretability(**TINY), of)), of.kept


# --------------------------------------------------------------------------------------------------------- the trial


def test_what_is_measured(trial):
    rows, kept = trial
    subjects = rows.groupby("over").subject.agg(set)
    assert subjects["test"] == {CNN, LINEAR, TREE}
    assert subjects["sign"] == subjects["place"] == ALL | {LINEAR, IDEAL, TREE}
    assert subjects["faithfulness"] == subjects["randomised"] == ALL
    assert (rows.over == "agreement").sum() == len(METHODS) * (len(METHODS) - 1) // 2
    assert sorted(rows[rows.over == "randomised"].layers.unique()) == [1, 2, 3, 4]
    assert rows[rows.over == "sign"].chance.unique() == pytest.approx([9 / 256])
    assert rows[rows.over == "place"].chance.unique() == pytest.approx([25 / 256])
    for name, metric in Interpretability.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name
    assert kept["maps cnn"].shape == (9, 5, 16, 16) and kept["picture"].shape == (1, 16, 16)
    assert kept["methods cnn"].tolist() == [*METHODS, RANDOM, EDGES]


def test_edges_are_the_same_whatever_the_network_is(trial):
    rows = trial[0]
    edges = rows[(rows.subject == EDGES) & (rows.over == "randomised")]
    assert edges.spearman.tolist() == pytest.approx([1.0] * 4)
    assert edges.rank_accuracy.nunique() == 1


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    again = pd.DataFrame(measurements(Interpretability(**TINY), context()))
    pd.testing.assert_frame_equal(again, trial[0], check_exact=True)


def test_pictures_that_are_explained_are_answered_rightly():
    experiment = Interpretability(**TINY | {"train_size": 800, "steps": 60, "learning_rate": 0.01, "width": 16})
    of = context()
    seen = {}

    def explained(name, net, x, truth, context):
        seen.update(net=net, x=x, truth=truth)
        return iter(())

    object.__setattr__(experiment, "explained", explained)
    list(experiment.trial(of))
    assert (study.answered(seen["net"], seen["x"]).numpy() == seen["truth"].y).all() and len(seen["x"]) == 4
    assert np.array_equal(seen["x"][:, 0].numpy(), seen["truth"].x)


def test_a_tree_adds_up_to_its_answers_probability():
    task = Interpretability(**TINY).split(context())
    tree = study.Tree(task, 0)
    maps, answers = tree.read(task.test_x), tree(task.test_x)
    start = tree.tree.tree_.value[0, 0]
    expected = answers.max(1).values.numpy() - start[answers.argmax(1).numpy()]
    assert np.allclose(maps.sum((1, 2)), expected)
    assert ((maps != 0).sum((1, 2)) <= study.LEVELS).all()


def test_sensitivities_count_by_size_and_contributions_by_sign():
    given = torch.tensor([[[[1.0, -3.0]], [[-2.0, 1.0]]]])
    assert study.relevance("gradient", given).tolist() == [[[3.0, 4.0]]]
    assert study.relevance("occlusion", given).tolist() == [[[-1.0, -2.0]]]


# -------------------------------------------------------------------------------------------------------------- audits


def test_a_model_that_a_user_brings(tmp_path, monkeypatch):
    source = "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    (tmp_path / "readnets.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    experiment = Interpretability(**TINY | {"dataset": "digits", "models": ("readnets:build",)})
    assert experiment.datasets() == ("digits",)
    rows = pd.DataFrame(measurements(experiment, context()))
    sys.modules.pop("readnets")
    assert set(rows[rows.over == "randomised"].subject) == ALL - set(study.NEEDS)
    assert set(rows[rows.over == "faithfulness"].subject) == ALL - set(study.NEEDS)
    assert not {"sign", "place"} & set(rows.over) and "rank_accuracy" not in rows
    known = rows[(rows.over == "faithfulness") & (rows.subject == "gradient x input")]
    assert known.infidelity.item() == pytest.approx(0, abs=1e-9)  # a linear model's contributions are all there is
    frame = rows.assign(seed=0, **{name: np.nan for name in Interpretability.metrics if name not in rows})
    outcomes = {claim.rule(frame.set_index("seed")).outcome for claim in Interpretability.claims}
    assert outcomes == {"inconclusive"}


def test_our_network_is_judged_on_other_data_too():
    rows = pd.DataFrame(measurements(Interpretability(**TINY | {"dataset": "digits"}), context()))
    assert set(rows[rows.over == "randomised"].subject) == ALL
    assert "answers_kept" not in rows and rows.agreement.notna().sum() == 21


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"models": ("vgg",)}, "'vgg' is neither a reference"),
        ({"models": ()}, "name at least one"),
        ({"models": ("cnn", "cnn")}, "none twice"),
    ],
)
def test_impossible_parameters(wrong, message):
    with pytest.raises(ParameterError, match=message):
        Interpretability(**wrong)


def test_full_networks_fit_their_pictures():
    full = Interpretability.preset("full")
    assert study.network((1, 16, 16), 4, full.width)(torch.zeros(2, 1, 16, 16)).shape == (2, 4)
    assert study.network((3, 7, 9), 10, 4)(torch.zeros(2, 3, 7, 9)).shape == (2, 10)
    assert sum(isinstance(layer, nn.Conv2d) for layer in study.network((1, 16, 16), 4, 4)) == 3


# ------------------------------------------------------------------------------------------------------------- rules

GOOD = {"best": 0.5, "linear": 0.8, "guided": 0.8, "gradient": -0.1, "sizes": 0.7, "agreement": 0.3, "random": 0.0}
GOOD |= {"found_by_random": 9 / 256, "edges": 1.0, "cnn": 0.99, "linear_knows": 0.95, "kept": 0.99}


def made_rows(data="shapes", **changes):
    of = GOOD | changes
    rows = []
    for seed in range(6):
        jitter = 0.002 * (seed - 2.5)
        common = {"seed": seed, "data": data, "model": CNN}
        for name, accuracy in ((CNN, of["cnn"]), (LINEAR, of["linear_knows"])):
            row = {"subject": name, "over": "test", "accuracy": accuracy + jitter}
            rows.append(common | row | ({"answers_kept": of["kept"] + jitter} if data == "shapes" else {}))
        located = {RANDOM: of["found_by_random"], "gradient": 0.3, "occlusion": of["best"]}
        for over in ("sign", "place") if data == "shapes" else ():
            chance = 9 / 256
            rows += [
                common | {"subject": name, "over": over, "rank_accuracy": value + jitter, "chance": chance}
                for name, value in located.items()
            ]
            rows.append(common | {"model": LINEAR, "subject": LINEAR, "over": over, "rank_accuracy": of["linear"]})
        after = {EDGES: of["edges"], RANDOM: of["random"] + jitter, "guided backpropagation": of["guided"] + jitter}
        after |= {"gradient": of["gradient"] + jitter, "Grad-CAM": 0.1 + jitter}
        after |= {"gradient x input": 0.0, "integrated gradients": 0.0}
        for layers in (1, 4):
            rows += [
                common
                | {"subject": name, "over": "randomised", "layers": layers, "spearman": value if layers == 4 else 0.4}
                | {"spearman_of_sizes": of["sizes"] + jitter}
                for name, value in after.items()
            ]
        for other, shift in (("occlusion", 0.1), ("Grad-CAM", -0.1)):
            shared = of["agreement"] + shift + jitter
            rows.append(common | {"subject": "gradient", "other": other, "over": "agreement", "agreement": shared})
    columns = dict.fromkeys(Interpretability.metrics, np.nan)
    return pd.DataFrame([columns | row for row in rows]).set_index("seed")


def failing(frame):
    return [number for number, claim in enumerate(Interpretability.claims) if claim.rule(frame).outcome != "holds"]


def test_every_rule_can_hold():
    assert failing(made_rows()) == []


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"best": 0.75}, [0]),
        ({"guided": 0.4}, [1]),
        ({"guided": -0.8}, []),  # turned upside down is kept, too
        ({"gradient": -0.8}, [2]),
        ({"sizes": 0.4}, [3]),
        ({"agreement": 0.55}, [4]),
        ({"random": 0.2}, [5]),
        ({"found_by_random": 0.2}, [5]),
        ({"edges": 0.9}, [6]),
        ({"linear": 0.45, "best": 0.2}, [6]),
        ({"cnn": 0.9}, [7]),
        ({"linear_knows": 0.85}, [7]),
        ({"kept": 0.9}, [8]),
    ],
)
def test_each_rule_can_fail(changes, numbers):
    assert failing(made_rows(**changes)) == numbers


def test_what_is_compared_by_hand():
    assert study.best_minus_linear(made_rows()).tolist() == pytest.approx([-0.3 + 0.002 * (s - 2.5) for s in range(6)])
    assert study.kept(made_rows(), "gradient").tolist() == pytest.approx([0.1 - 0.002 * (s - 2.5) for s in range(6)])


def test_where_no_sign_is_known_all_but_where_it_is_can_be_judged():
    assert failing(made_rows(data="digits")) == [0]


def test_rules_decide_nothing_on_less_than_six_seeds():
    assert {claim.rule(made_rows().loc[:4]).outcome for claim in Interpretability.claims} == {"inconclusive"}


def test_kinds_of_controls():
    kinds = [claim.kind for claim in Interpretability.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate", "gate"]


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), made_rows(), made_rows().loc[[3]]], ids=["none", "six", "one seed"])
@pytest.mark.parametrize("kept", [False, True])
def test_the_picture(rows, kept, trial):
    figure = drawn(Interpretability(**TINY), rows, {3: trial[1]} if kept else {})
    grid, *panels = figure.axes
    assert len(grid.images) == (9 * 6 if kept else 0) and len(panels) == len(study.PANELS)
    assert len(panels[0].lines) == (4 if len(rows) else 0)  # three methods, and the linear model
