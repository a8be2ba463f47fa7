"""stale_data: the town, the streams, what renews a network against closed forms, and rules on made frames."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from dlbench import Context, Control
from dlbench.data.images import DIGITS
from dlbench.runner.trial import measurements
from dlbench_plugins.failures import renewal, roads
from dlbench_plugins.failures import stale_data as study
from dlbench_plugins.failures.renewal import Anchor, Way
from dlbench_plugins.failures.stale_data import STEPS, StaleData

from .drawing import drawn

TINY = StaleData(labels=60, test_points=200, updates=12, drives=60, hidden=16)


def context(seed=100):
    return Context(seed=seed, loader=lambda name: {"digits": DIGITS}[name].load())


# ----------------------------------------------------------------------------------------------------------- the town


def test_the_driver_takes_a_shortest_way():
    town, drives = roads.town(), roads.all_drives()
    assert len(drives.start) == 25 * 24
    driven = roads.expert(town, drives)
    steps = np.bincount(driven.of, minlength=600)
    assert np.array_equal(steps, np.abs(drives.start - drives.goal).sum(1))  # as the crow flies, along the grid


def test_a_barrier_is_driven_around():
    town = roads.town()
    for seed in range(20):
        changed, place = roads.with_barrier(town, np.random.default_rng(seed))
        assert town[place] and not changed[place] and town.sum() - changed.sum() == 1
        driven = roads.expert(changed, roads.all_drives())
        assert not driven.visited[:, place[0], place[1]].any()


def test_who_imitates_the_driver_perfectly_arrives():
    town = roads.with_barrier(roads.town(), np.random.default_rng(0))[0]
    drives = roads.all_drives()
    best = roads.expert(town, drives)
    known = {inputs.tobytes(): move for inputs, move in zip(best.inputs, best.moves, strict=True)}
    driven = roads.drive(town, drives, lambda seen: np.array([known.get(row.tobytes(), 0) for row in seen]))
    assert driven.arrived.mean() > 0.97  # where two ways look alike the driver himself may have gone either
    old = roads.expert(roads.town(), drives)
    known = {inputs.tobytes(): move for inputs, move in zip(old.inputs, old.moves, strict=True)}
    assert roads.drive(
        roads.town(), drives, lambda seen: np.array([known[row.tobytes()] for row in seen])
    ).arrived.all()


def test_who_drives_straight_on_leaves_the_road_at_its_end():
    town = roads.town()
    corner, other = np.array([[roads.MARGIN, roads.MARGIN]]), np.array([[roads.SIDE - 1 - roads.MARGIN] * 2])
    driven = roads.drive(town, roads.Drive(corner, other), lambda seen: np.zeros(len(seen), dtype=int))  # north
    assert driven.off_road.all() and not driven.arrived.any()
    assert driven.crash.tolist() == [[roads.MARGIN - 1, roads.MARGIN]]
    assert study.crash_map(driven).sum() == 1


def test_a_car_that_turns_for_ever_is_lost_and_has_not_crashed():
    town, drives = roads.town(), roads.all_drives()
    inner = roads.Drive(drives.start[300:301] * 0 + roads.MARGIN + roads.BLOCK, drives.goal[300:301] * 0 + roads.MARGIN)
    turns = iter(np.tile([1, 3], 1000))
    driven = roads.drive(town, inner, lambda seen: np.array([next(turns)]))
    assert not driven.off_road.any() and not driven.arrived.any()


# -------------------------------------------------------------------------------------------------------- the streams


def test_the_boundary_turns_by_a_right_angle():
    moving, still = (study.boundary(StaleData(), flag, context()) for flag in (True, False))
    first = np.linalg.lstsq(moving.test_x[0].numpy(), 2.0 * moving.test_y[0].numpy() - 1, rcond=None)[0]
    last = np.linalg.lstsq(moving.test_x[-1].numpy(), 2.0 * moving.test_y[-1].numpy() - 1, rcond=None)[0]
    cosine = first @ last / np.linalg.norm(first) / np.linalg.norm(last)
    assert abs(cosine) < 0.1
    assert torch.equal(moving.x, still.x)  # nothing is to be seen of it
    assert torch.equal(moving.y[0], still.y[0])


def test_a_quarter_turn_is_that_of_the_grid():
    images = torch.rand(3, 8, 8)
    assert torch.allclose(study.turn(images, 0.0), images, atol=1e-5)
    assert torch.allclose(
        study.turn(images, math.pi / 2), torch.rot90(images, -1, (1, 2)), atol=1e-4
    ) or torch.allclose(study.turn(images, math.pi / 2), torch.rot90(images, 1, (1, 2)), atol=1e-4)


def test_digits_of_training_validation_and_test_are_others():
    stream = study.turning_digits(StaleData(), False, context())
    parts = [
        {image.numpy().tobytes() for image in part.flatten(0, 1)} for part in (stream.x, stream.valid_x, stream.test_x)
    ]
    total = {image.tobytes() for image in DIGITS.load()["x"]}
    assert sum(map(len, parts)) <= len(total)
    assert not (parts[0] & parts[1]) and not (parts[0] & parts[2]) and not (parts[1] & parts[2])


# ---------------------------------------------------------------------------------------------------------- renewal


def made(k, n=40, classes=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 5, generator=generator).expand(k, n, 5)
    y = (x[..., 0] > 0).long() + (x[..., 1] > 0).long()
    return x, y, [renewal.network(5, 8, classes) for _ in range(k)]


def test_each_network_has_its_own_rate_as_if_trained_alone():
    x, y, nets = made(3)
    ways = [Way(1e-3), Way(1e-2), Way(1e-2, l2=1e-2)]
    together = renewal.train(nets, x, y, ways, 6, 10, context())
    for k, way in enumerate(ways):
        alone = renewal.train(nets[k : k + 1], x[:1], y[:1], [way], 6, 10, context())
        for a, b in zip(alone[0].parameters(), together[k].parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_the_rate_is_adams():
    x, y, nets = made(1)
    mine = renewal.train(nets, x, y, [Way(0.01)], 1, 40, context())[0]
    loss = torch.nn.functional.cross_entropy(nets[0](x[0]), y[0])
    adam = torch.optim.Adam(nets[0].parameters(), 0.01)
    loss.backward()
    adam.step()
    for a, b in zip(mine.parameters(), nets[0].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_tent_moves_the_normalisation_alone_and_lowers_the_entropy():
    x, y, nets = made(1)

    @torch.no_grad()
    def entropy(net):
        logits = net(x[0])
        return float(-(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean())

    after = renewal.train(nets, x, y * 0 - 100, [Way(0.01, teacher="tent")], 20, 40, context())[0]
    changed = [not torch.equal(a, b) for a, b in zip(after.parameters(), nets[0].parameters(), strict=True)]
    assert changed == [False, False, True, True, False, False]
    assert entropy(after) < entropy(nets[0])


def test_self_training_does_not_look_at_labels():
    x, y, nets = made(1)
    one, other = (
        renewal.train(nets, x, labels, [Way(0.01, teacher="self_trained")], 5, 10, context())[0]
        for labels in (y, 2 - y)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_fisher_information_of_logistic_regression():
    """Of one weight, logits (0, w x): the gradient is (p - y) x, so its mean square is the mean of (p - y)² x²."""
    net = torch.nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0], [0.7]]))
    x, y = torch.tensor([[1.0], [-2.0], [0.5]]), torch.tensor([1, 0, 0])
    p = torch.sigmoid(0.7 * x[:, 0])
    expected = float(((p - y) * x[:, 0]).square().mean())
    [found] = renewal.fisher(net, x, y)
    assert found[1, 0].item() == pytest.approx(expected, rel=1e-5)


def test_an_elastic_network_stays_nearer_to_its_past():
    x, y, nets = made(1)
    nets = nets * 2
    ways = [Way(0.01), Way(0.01, elasticity=1e4)]
    anchor = Anchor.after(nets, ways, x[0], y[0], None)
    assert float(anchor.pull([w + 1 for w in anchor.weights])[0]) == 0
    assert float(anchor.pull([w + 1 for w in anchor.weights])[1]) > 0
    x, y = (part.expand(2, *part.shape[1:]) for part in (x, y))
    free, held = renewal.train(nets, x, 2 - y, ways, 30, 20, context(), anchor=anchor)

    def moved(net):
        parts = zip(net.parameters(), nets[0].parameters(), anchor.importance, strict=True)
        return sum(float((f[1] * (a - b).square()).sum().detach()) for a, b, f in parts)

    assert moved(held) < 0.5 * moved(free)


# ---------------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def trial():
    of = context()
    return measurements(TINY, of), of.kept


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trial):
    assert measurements(TINY, context()) == trial[0]


def test_every_subject_is_measured_at_every_step(trial):
    rows = pd.DataFrame(trial[0])
    labelled = {"frozen", "retrained", "ensemble", "fine_tuned", "ewc"}
    for world, subjects in (("boundary", labelled), ("digits", labelled | {"tent", "self_trained"})):
        mine = rows[(rows.world == world) & (rows.drift == "moving")]
        assert set(mine.subject) == subjects
        assert (mine.groupby("subject").time.nunique() == STEPS + 1).all()
    town = rows[rows.world == "roads"]
    assert set(town.subject) == labelled
    assert ((town.accuracy + town.off_road) <= 1 + 1e-9).all()


def test_no_drive_that_is_tested_was_shown(monkeypatch):
    shown, tested = set(), set()

    def drives(of):
        return {tuple(map(int, (*a, *b))) for a, b in zip(of.start, of.goal, strict=True)}

    def drivers(study, old, new, context):
        shown.update(drives(known[-1]))
        return {"frozen": []}

    expert, known = roads.expert, []
    monkeypatch.setattr(roads, "expert", lambda road, of: known.append(of) or expert(road, of))
    monkeypatch.setattr(StaleData, "drivers", drivers)
    monkeypatch.setattr(study, "policy", lambda members, device: lambda seen: np.zeros(len(seen), dtype=int))
    drive = roads.drive
    monkeypatch.setattr(roads, "drive", lambda road, of, policy: tested.update(drives(of)) or drive(road, of, policy))
    list(StaleData(worlds=("roads",), drives=450).trial(context()))
    assert len(shown) == 450
    assert len(tested) == 150
    assert not shown & tested


def test_labels_are_known_a_step_later(trial):
    """What is trained on the labels of step 0 is all there is at steps 0 and 1."""
    rows = pd.DataFrame(trial[0]).query("world == 'boundary' and drift == 'moving' and time <= 1")
    first, second = (
        rows[(rows.subject == subject)].set_index("time").accuracy for subject in ("fine_tuned", "ensemble")
    )
    assert first[0] == second[0]


@pytest.mark.parametrize(("preset", "names"), [("quick", ("digits",)), ("full", ("mnist",))])
def test_data_sets_are_named(preset, names):
    assert StaleData.preset(preset).datasets() == names
    assert StaleData(worlds=("roads",)).datasets() == ()


# ---------------------------------------------------------------------------------------------------------- the rules


def frame(
    fall=0.43, renewed=0.92, crash=(0.9, 0.02), after=0.3, still=0.0, self_trained=0.6, tent=0.6, ewc=0.85, old=0.0
):
    rows = []
    for seed in range(6):
        noise = 0.005 * np.random.default_rng(seed).standard_normal()
        for world in ("boundary", "digits"):
            for t in range(STEPS + 1):
                common = {"seed": seed, "world": world, "time": t, "routes": "-", "drift": "moving"}
                values = {"frozen": 0.93 - fall * t / STEPS, "retrained": renewed, "fine_tuned": renewed, "ewc": ewc}
                values |= {"self_trained": self_trained, "tent": tent}
                rows += [{"subject": s, "accuracy": v + noise, **common} for s, v in values.items()]
                rest = 0.93 - still * t + noise * (1 + t / 1000)
                rows.append({"subject": "frozen", "accuracy": rest, **common, "drift": "still"})
        for routes, rate in zip(("changed", "unchanged"), crash, strict=True):
            common = {"seed": seed, "world": "roads", "routes": routes, "accuracy": 0.5}
            for subject, value in (("frozen", rate), ("ensemble", rate), ("retrained", after if rate > 0.1 else 0.0)):
                rows.append({"subject": subject, **common, "off_road": value + noise, "drift": "moving", "time": 1})
            rows.append({"subject": "frozen", **common, "off_road": old, "drift": "still", "time": 0})
    return pd.DataFrame(rows).set_index("seed")


def outcomes(rows):
    return [claim.rule(rows).outcome for claim in StaleData.claims]


def test_a_frame_where_every_claim_holds():
    assert outcomes(frame()) == ["holds"] * 14


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"crash": (0.15, 0.02)}, [2, 3, 4]),
        ({"after": 0.9}, [3]),
        ({"ewc": 0.95}, [6]),
        ({"self_trained": 0.5}, [7]),
        ({"tent": 0.5}, [8]),
        ({"still": 0.01}, [9, 10]),
        ({"old": 0.1}, [11]),
        ({"fall": 0.2}, [7, 8, 12]),
        ({"renewed": 0.5, "ewc": 0.4}, [0, 1, 5]),
    ],
)
def test_what_breaks_a_rule(change, failing):
    assert [i for i, outcome in enumerate(outcomes(frame(**change))) if outcome != "holds"] == failing


def test_rules_decide_nothing_on_less_than_six_seeds_or_without_scores():
    assert set(outcomes(frame().loc[:4])) == {"inconclusive"}
    assert set(outcomes(frame().assign(accuracy=math.nan, off_road=math.nan))) == {"inconclusive"}


def test_rules_name_each_kind_of_control():
    kinds = [claim.kind for claim in StaleData.claims if isinstance(claim, Control)]
    assert kinds == ["negative", "negative", "negative", "positive", "gate"]


# -------------------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("kept", [False, True])
def test_picture(trial, kept):
    rows = pd.DataFrame(trial[0])
    for some in (rows, rows[rows.world == "roads"], rows.iloc[:1], rows.iloc[:0], frame()):
        drawn(TINY, some, {100: trial[1]} if kept else {})
