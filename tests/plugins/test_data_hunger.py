"""data_hunger: what is trained on, who chooses, what is summed up, rules on frames of known verdict."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from dlbench import Context, Control
from dlbench.errors import ParameterError
from dlbench.runner.trial import measurements
from dlbench.stacking import Stack
from dlbench_plugins.limits import data_hunger as study
from dlbench_plugins.limits.classical import CLASSICAL, answers_of
from dlbench_plugins.limits.data_hunger import CNN, GATED, MLP, NETWORKS, DataHunger
from dlbench_plugins.limits.examples import examples
from dlbench_plugins.recurrent import GRU

from .drawing import drawn

TINY = DataHunger(
    sizes=(20, 40, 60), networks=NETWORKS, trials=2, validation=30, tested=100, width=5, channels=4, hidden=2,
    steps=3, batch_size=8, rounds=8,
)  # fmt: skip
IMAGES = {"sizes": (20, 40, 60), "validation": 20, "tested": 30, "steps": 2, "width": 4, "batch_size": 5, "rounds": 8}


def made_images(channels=None, n=120):
    rng = np.random.default_rng(0)
    shape = (8, 8) if channels is None else (channels, 8, 8)
    made = {f"{part}_x": rng.random((k, *shape), dtype=np.float32) for part, k in (("train", n), ("test", 40))}
    return made | {f"{part}_y": np.arange(k) % 10 for part, k in (("train", n), ("test", 40))}


@pytest.fixture(scope="module")
def trial():
    return measurements(TINY, Context(seed=100))


# --------------------------------------------------------------------------------------------------------------- data


def test_images_are_learnt_from_too():
    few = DataHunger(dataset="mnist", **IMAGES)
    rows = pd.DataFrame(measurements(few, Context(seed=100, loader={"mnist": made_images()}.get)))
    assert (rows[rows.over == "size"].data == "mnist").all() and set(rows.subject) >= {MLP, CNN, "svm"}


def test_what_is_moved_stays_itself():
    x = torch.arange(16.0).repeat(50, 1)
    found = study.moved(x, torch.Generator().manual_seed(0), mirror=False)
    by = found[:, 0].round() % 16
    assert set(by.tolist()) == {14, 15, 0, 1, 2}
    assert torch.equal(found, (torch.arange(16.0) + by[:, None]) % 16)
    images = torch.zeros(200, 2, 8, 8)
    images[:, :, 3, 2] = torch.tensor([1.0, 2.0])
    for mirror, columns in ((False, {1, 2, 3}), (True, {1, 2, 3, 4, 5, 6})):
        found = study.moved(images, torch.Generator().manual_seed(0), mirror=mirror)
        assert found.shape == images.shape and torch.equal(found.sum((2, 3)), images.sum((2, 3)))
        places = found[:, 0].nonzero()
        assert set(places[:, 1].tolist()) == {2, 3, 4} and set(places[:, 2].tolist()) == columns


def test_what_moves_in_is_dark():
    x = torch.rand(20, 1, 8, 8) + 1
    x[0, 0, 4, 4] = 0.5
    found = study.moved(x, torch.Generator().manual_seed(1), mirror=False)
    assert (found == 0.5).sum() > 20


# ----------------------------------------------------------------------------------------------------------- learners


def test_the_recurrent_network_is_that_of_torch_alone_and_in_a_stack():
    torch.manual_seed(0)
    ours = [GRU(3, 4) for _ in range(2)]
    x = torch.randn(5, 7, 3)
    theirs = []
    for net in ours:
        reference = torch.nn.GRU(3, 4, batch_first=True, bidirectional=True)
        reference.load_state_dict(net.state_dict())
        theirs.append(reference(x)[0])
    assert torch.allclose(ours[0](x), theirs[0], atol=1e-6)
    assert torch.allclose(Stack(ours)(x), torch.stack(theirs), atol=1e-6)


@pytest.mark.parametrize("subject", NETWORKS)
@pytest.mark.parametrize("shape", [(40,), (1, 8, 8), (3, 8, 8)])
def test_networks_answer(subject, shape):
    assert TINY.build(subject, shape)(torch.zeros(3, *shape)).shape == (3, 10)


def test_steps_of_an_image_are_its_rows():
    x = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    rows = study.InSteps()(x)
    assert rows.shape == (2, 4, 15) and torch.equal(rows[1, 2], x[1, :, 2].flatten())


def test_a_network_of_the_stack_is_as_if_trained_alone():
    """On as many examples, from the same start, at its rate, which falls."""
    of = Context(seed=100)
    task = examples("mnist1d", (60, 30), 100, of).scaled()
    n, rate = 40, study.RATES[1]
    with of.seeded("init", MLP):
        net = TINY.build(MLP, (40,))
    adam = torch.optim.Adam(net.parameters(), rate)
    rows = study.batches([n], 8, steps=3, generators=[of.generator("order", n)])
    for step, (chosen,) in enumerate(rows):
        adam.param_groups[0]["lr"] = rate * (1 - step / 3)
        adam.zero_grad()
        torch.nn.functional.cross_entropy(net(task.train.x[chosen]), task.train.y[chosen]).backward()
        adam.step()
    alone = task.choose([answers_of(net)], n)
    one_rate = TINY.train(MLP, [(task, 20), (task, n)], of)[1]
    both = [alone, *TINY.train(MLP, [(task, n)], of)]
    assert one_rate == both[1] and both[1].validation_accuracy >= both[0].validation_accuracy
    study_rates, study.RATES = study.RATES, study.RATES[1:]
    try:
        single = DataHunger(**{**vars(TINY), "trials": 1}).train(MLP, [(task, n)], of)
    finally:
        study.RATES = study_rates
    assert single == [alone]


# --------------------------------------------------------------------------------------------------------- the trial


def test_what_is_measured(trial):
    rows = pd.DataFrame(trial)
    true = rows[(rows.over == "size") & (rows.labels == "true")]
    assert true.groupby("subject").n.agg(list).to_dict() == {
        name: [20, 40, 60] for name in (*NETWORKS, *CLASSICAL, study.BEST_NETWORK, study.BEST_CLASSICAL)
    }
    shuffled = rows[rows.labels == "shuffled"]
    assert shuffled.groupby("subject").n.agg(list).to_dict() == {MLP: [20, 60], "logistic": [20, 60]}
    assert set(rows[rows.over == "curve"].subject) == set(true.subject) and (rows.over == "made").sum() == 2
    for name, metric in DataHunger.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name


def test_the_best_have_most_validation_accuracy_over_all_sizes(trial):
    rows = pd.DataFrame(trial)
    rows = rows[(rows.over == "size") & (rows.labels == "true")]
    sums = rows.groupby("subject").validation_accuracy.sum()
    tests = rows.groupby("subject").test_accuracy.agg(list)
    for best, members in ((study.BEST_NETWORK, NETWORKS), (study.BEST_CLASSICAL, CLASSICAL)):
        assert sums[best] == pytest.approx(sums[list(members)].max())
        assert tests[best] in [tests[name] for name in members if sums[name] == pytest.approx(sums[best])]


def test_needed_data_by_hand():
    """The best classical ends at 0.5: 0.45 is reached on the way from 40 to 60, by the network at 40, by one never."""

    def chosen(*accuracies):
        return [study.Chosen(0.0, accuracy) for accuracy in accuracies]

    found = {study.BEST_CLASSICAL: chosen(0.3, 0.4, 0.5), MLP: chosen(0.2, 0.45, 0.6), CNN: chosen(0.1, 0.2, 0.3)}
    rows = {row["subject"]: row for row in TINY.of_curves(found)}
    middle = (40 * 60) ** 0.5
    assert rows[study.BEST_CLASSICAL]["n90"] == pytest.approx(middle)
    assert rows[MLP]["n90"] == pytest.approx(40) and rows[MLP]["data_ratio"] == pytest.approx(40 / middle)
    assert rows[CNN]["n90"] == 60 and rows[MLP]["exponent"] > rows[CNN]["exponent"] > 0


def test_no_error_is_taken_for_half_an_example():
    law = study.fitted((10, 100, 1000), np.array([0.5, 0.05, 0.0]), 100)
    assert law == study.fitted((10, 100, 1000), np.array([0.5, 0.05, 0.005]), 100)
    assert law["exponent"] == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert repr(measurements(TINY, Context(seed=100))) == repr(trial)


def test_a_pretrained_module(tmp_path, monkeypatch):
    source = (
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def forward(self, x):\n"
        "        assert x.min() >= 0 and x.max() <= 1\n        return x.mean(3)\n\n\ndef build():\n    return Net()\n"
    )
    (tmp_path / "featurenets.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    few = DataHunger(dataset="cifar10", features="featurenets:build", networks=(MLP, "augmented"), **IMAGES)
    rows = pd.DataFrame(measurements(few, Context(seed=100, loader={"cifar10": made_images(3)}.get)))
    sys.modules.pop("featurenets")
    assert rows[(rows.subject == study.PRETRAINED) & (rows.over == "size")].n.tolist() == [20, 40, 60]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": (50, 20, 100)}, "from the smallest to the largest"),
        ({"sizes": (50, 100)}, "three at least"),
        ({"features": "resnet", "dataset": "mnist"}, "import path 'package.module:factory'"),
        ({"features": "nets:build"}, "MNIST-1D has no images"),
    ],
)
def test_what_cannot_be(change, message):
    with pytest.raises(ParameterError, match=message):
        DataHunger(**change)


# --------------------------------------------------------------------------------------------------------- the rules


def frame(exponent=0.2, over_floor=0.3, misfit=0.01, apart=0.0, few=0.1, ratios=(2.0, 2.0), most=0.1, shuffled=0.0,
          made=0.25, knows=0.6, logistic=0.3):  # fmt: skip
    rows = []
    for seed in range(6):
        noise = 0.002 * np.random.default_rng(seed).standard_normal()
        common = {"seed": seed, "data": "mnist1d"}
        ratio = dict(zip((MLP, CNN), ratios, strict=True))
        for subject in (MLP, CNN, *CLASSICAL, study.BEST_NETWORK, study.BEST_CLASSICAL):
            law = {"exponent": exponent + (apart if subject == CNN else 0) + noise, "misfit": misfit + abs(noise)}
            law |= {
                "exponent_over_floor": over_floor + noise,
                "data_ratio": ratio.get(subject, 1.0) + noise,
                "n90": 900,
            }
            rows.append({**common, "subject": subject, "over": "curve", **law})
            for n in (50, 100, 2000):
                accuracy = 0.2 + noise * (2 if subject in ratio else 1)
                if n == 2000:
                    accuracy = logistic if subject == "logistic" else knows
                    accuracy += (most if subject == study.BEST_NETWORK else 0) + noise * (subject in ratio)
                elif subject == study.BEST_CLASSICAL:
                    accuracy += few
                of = {"over": "size", "labels": "true", "n": n, "test_accuracy": accuracy}
                rows.append({**common, "subject": subject, **of})
        for subject in study.SHUFFLED:
            for n, accuracy in ((50, 0.1), (2000, 0.1 + shuffled + noise)):
                of = {"over": "size", "labels": "shuffled", "n": n, "test_accuracy": accuracy}
                rows.append({**common, "subject": subject, **of})
        for exponent_made, floor in ((0.25, 0.0), (0.5, 0.05)):
            found = exponent_made - 0.25 + made + noise
            of = {"over": "made", "made_exponent": exponent_made, "made_floor": floor}
            rows.append({**common, "subject": "made curve", **of, "exponent": found, "exponent_over_floor": found})
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in DataHunger.claims]


def test_what_is_claimed_makes_every_rule_hold():
    assert outcomes(frame()) == ["holds"] * 11


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"exponent": -0.05}, [0]),
        ({"over_floor": -0.05}, [0]),
        ({"misfit": 0.08}, [1]),
        ({"apart": 0.2}, [2]),
        ({"few": -0.05}, [3, 4]),
        ({"ratios": (0.5, 2.0)}, [5]),
        ({"ratios": (2.0, 0.5)}, [6]),
        ({"most": -0.1}, [7]),
        ({"shuffled": 0.06}, [8]),
        ({"made": 0.4}, [9]),
        ({"knows": 0.35}, [10]),
        ({"logistic": 0.15}, [10]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_kinds_of_controls():
    kinds = [claim.kind for claim in DataHunger.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "positive", "gate"]


def test_rules_decide_nothing_on_less_than_six_seeds():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}


def test_published_numbers_are_of_the_published_setting():
    full = DataHunger.preset("full")
    for reference in DataHunger.references:
        where = reference.where
        assert where["n"] in full.sizes and where["steps"] == full.steps != DataHunger().steps
        assert where["subject"] in (*NETWORKS, *CLASSICAL)
    assert full.hidden == 6 and full.channels == 25 and GATED in full.networks


# ------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("rows", [pd.DataFrame(), frame(), frame().loc[[3]]], ids=["none", "six seeds", "one seed"])
def test_the_picture(rows):
    errors, exponents, needs = drawn(DataHunger(), rows, {}).axes
    subjects = 6 if len(rows) else 0
    assert len(errors.lines) == 2 * subjects
    assert len(exponents.get_yticks()) == len(needs.get_yticks()) == subjects
