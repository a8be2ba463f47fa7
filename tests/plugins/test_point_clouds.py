"""point_clouds: the surfaces, neighbours, what each network may and may not know, rules on known frames."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from dlbench import Context
from dlbench.experiment import PREDICTIONS, Control
from dlbench.nn import PointNet
from dlbench_plugins.graphs import point_clouds as study
from dlbench_plugins.graphs.point_clouds import SURFACES, PointClouds

from .drawing import drawn

TINY = PointClouds(
    models=("edge_conv", "edge_conv_random", "dgcnn", "pointnet", "pointnet2", "flat_mlp", "histogram_svm"),
    training_clouds=80,
    test_clouds=80,
    points=32,
    neighbours=4,
    widths=(8, 16),
    epochs=2,
    samples=(12, 4),
    kept=(0.5,),
)


# ------------------------------------------------------------------------------------------------------------- clouds


@pytest.mark.parametrize("kind", SURFACES)
def test_every_surface_fulfils_its_equation(kind):
    u, v = np.random.default_rng(0).random((2, 4000))
    x, y, z = study.surface(kind, u, v).T
    ring, radius = np.hypot(x, y), np.sqrt(x**2 + y**2 + z**2)
    residual = {
        "sphere": radius - 1,
        "bumpy sphere": np.maximum(np.abs(radius - 1) - 0.2, 0),
        "cube": np.abs([x, y, z]).max(axis=0) - 1,
        "cylinder": ring - 1,
        "cone": z - (1 - 2 * ring),
        "torus": np.hypot(ring - 1, z) - 0.4,
        "saddle": z - (x**2 - y**2),
        "Möbius strip": np.hypot(ring - 1, z) - np.abs(v - 0.5),
    }[kind]
    np.testing.assert_allclose(residual, 0, atol=1e-9)
    assert kind != "bumpy sphere" or np.ptp(radius) > 0.3


def test_clouds_are_balanced_centred_and_of_one_size():
    clouds = study.surfaces(np.random.default_rng(0), 80, 128)
    assert clouds.x.shape == (80, 128, 3) and clouds.x.dtype == np.float32
    np.testing.assert_array_equal(np.bincount(clouds.y), [10] * 8)
    np.testing.assert_allclose(clouds.x.mean(axis=1), 0, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(clouds.x, axis=2).max(axis=1), 1, atol=0.1)


@pytest.mark.parametrize("turns", ["any", "upright", "none"])
def test_turning_keeps_distances(turns):
    x = torch.randn(5, 20, 3)
    turned = study.turned(x, turns, torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(x, x), atol=1e-4, rtol=0)
    if turns != "any":
        torch.testing.assert_close(turned[..., 2], x[..., 2])
    rotation = torch.linalg.lstsq(x, turned).solution
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(5), atol=1e-4, rtol=0)  # no mirror


def test_neighbours_are_the_nearest_of_the_cloud():
    x = torch.randn(3, 20, 3)
    found = study.nearest_neighbours(x, 4, torch.Generator())
    expected = torch.cdist(x, x).argsort(dim=2)[:, :, 1:5]
    torch.testing.assert_close(found, expected)


def test_random_neighbours_are_others():
    found = study.random_neighbours(torch.randn(3, 20, 3), 4, torch.Generator().manual_seed(0))
    assert found.shape == (3, 20, 4) and found.min() >= 0 and found.max() < 20
    assert (found != torch.arange(20)[:, None]).all()


def test_a_batch_is_its_clouds_one_by_one():
    net = study.EdgeNet(8, (8, 16), 4, dynamic=False).eval()
    x = torch.randn(3, 20, 3)
    batches = study.Batches(4, study.nearest_neighbours, torch.Generator())
    alone = torch.cat([study.probabilities(net, cloud[None], batches) for cloud in x])
    torch.testing.assert_close(study.probabilities(net, x, batches), alone)


@pytest.mark.parametrize("dynamic", [False, True])
def test_set_networks_know_no_order_and_a_flat_one_does(dynamic):
    x = torch.randn(4, 20, 3)
    batches = study.Batches(4, study.nearest_neighbours, torch.Generator())
    permuted = x[:, torch.randperm(20)]
    sets = study.OnPoints(PointNet(3, 8, (8, 16), (8,))), study.PointNet2((8, 3), 20, 8, (8, 16), 4)
    for net in (study.EdgeNet(8, (8, 16), 4, dynamic), *sets):
        net.eval()
        torch.testing.assert_close(
            study.probabilities(net, x, batches), study.probabilities(net, permuted, batches), atol=1e-6, rtol=0
        )
    flat = study.FlatMLP(20, 8).eval()
    change = study.probabilities(flat, x, batches) - study.probabilities(flat, permuted, batches)
    assert change.abs().max() > 1e-3


def test_widths_are_dealt_out_to_levels_that_see_ever_farther():
    net = study.PointNet2((512, 128), 1024, 40, (64, 64, 128, 256, 1024), 20)
    widths = [[linear.out_features for linear, *_ in level.net] for level in net.levels]
    assert widths == [[64, 64, 64], [128, 256, 256]] and net.rest.point[0][0].out_features == 1024
    assert [(level.samples, level.radius, level.most) for level in net.levels] == [(512, 0.2, 20), (128, 0.4, 40)]
    larger = study.PointNet2((4,), 256, 8, (8, 16), 10).levels[0]
    assert larger.radius == pytest.approx(0.4)  # a quarter of the points: as many in a ball of twice the radius


@pytest.mark.parametrize("widths", [(16,), (8, 16)])
@pytest.mark.parametrize("samples", [(), (4,), (30, 8, 2)])
def test_any_number_of_levels_and_widths(samples, widths):
    net, starts = study.PointNet2(samples, 20, 8, widths, 4), torch.tensor([0, 20, 40])
    assert net(torch.randn(2, 20, 3), starts, None).shape == (2, 8)


def test_the_order_in_which_arms_stand_changes_none_of_them():
    few = {"points": 32, "widths": (8, 16), "epochs": 1, "kept": (), "training_clouds": 80, "test_clouds": 80}
    with_it, without = (
        pd.DataFrame(PointClouds(models=models, rotated=(), **few).trial(Context(seed=100)))
        for models in (("pointnet2", "edge_conv_random", "flat_mlp"), ("edge_conv_random", "flat_mlp"))
    )
    others = with_it[with_it.subject != "pointnet2"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, without, check_exact=True)


def test_a_flat_network_takes_fewer_points():
    flat = study.FlatMLP(20, 8).eval()
    x = torch.randn(4, 10, 3)
    torch.testing.assert_close(flat(x, None, None), flat(x.repeat_interleave(2, dim=1), None, None))


def test_histograms_know_neither_order_nor_direction():
    x = torch.from_numpy(study.surfaces(np.random.default_rng(0), 8, 40).x)
    same = study.turned(x, "any", torch.Generator().manual_seed(0))[:, torch.randperm(40)]
    assert np.abs(study.histograms(x) - study.histograms(same)).max() < 0.03  # a distance on a bin's edge may move
    np.testing.assert_allclose(study.histograms(x).sum(axis=1), 2, atol=0.1)


# ------------------------------------------------------------------------------------------------------------ a trial


@pytest.fixture(scope="module")
def trial():
    context = Context(seed=100)
    return pd.DataFrame(list(TINY.trial(context))).assign(seed=100).set_index("seed"), context.kept


def test_one_row_a_subject_order_and_share(trial):
    rows, kept = trial
    assert not rows.duplicated(["subject", "order", "kept", "trained", "tested"]).any()
    still = rows[rows.trained.isna()]
    assert (still.groupby("subject").size() == 3).all() and set(still.subject) == set(TINY.models)
    pairs = rows[rows.trained.notna()].groupby("subject")[["trained", "tested"]]
    assert {subject: len(of) for subject, of in pairs} == {"pointnet": 4, "histogram_svm": 2}
    assert rows[(rows.order == "given") & (rows.kept == 1)].invariance_error.notna().all()
    assert {name for name in kept if not name.startswith(PREDICTIONS)} == {"clouds", "answers", "predicted"}


def test_accuracies_are_those_of_the_predictions_that_it_keeps(trial):
    rows, kept = trial
    for row in rows.to_dict("records"):
        settings = ("kept", "order") if pd.isna(row["trained"]) else ("trained", "tested")
        named = json.dumps({name: row[name] for name in (*settings, "subject", "task")}, sort_keys=True)
        table = kept[PREDICTIONS + named]
        assert (table[:, 0] == table[:, 1]).mean() == row["accuracy"]


def test_a_trained_set_network_still_knows_no_order(trial):
    rows, _ = trial
    error = rows.dropna(subset="invariance_error").set_index("subject").invariance_error
    assert error[["edge_conv", "pointnet", "pointnet2"]].max() < 1e-5 < error["flat_mlp"]
    assert study.permutation_loss(rows, "pointnet").iloc[0] == 0


def test_a_network_is_fitted_once_for_each_way_to_turn(monkeypatch):
    fitted, fit = [], PointClouds.fit

    def watched(self, subject, train, classes, turns, context):
        fitted.append((subject, turns))
        return fit(self, subject, train, classes, turns, context)

    monkeypatch.setattr(PointClouds, "fit", watched)
    changed = {"points": 32, "widths": (8, 16), "epochs": 1, "kept": (), "training_clouds": 80, "test_clouds": 80}
    models = ("pointnet", "histogram_svm")
    list(PointClouds(models=models, **changed).trial(Context(seed=0)))
    assert fitted == [("pointnet", "any"), ("histogram_svm", "any"), ("pointnet", "upright")]
    fitted.clear()
    list(PointClouds(models=models, turns="none", **changed).trial(Context(seed=0)))
    assert fitted == [("pointnet", "none"), ("histogram_svm", "none"), ("pointnet", "upright"), ("pointnet", "any")]


def test_modelnet_is_read_by_its_parts():
    rng = np.random.default_rng(0)
    data = {f"{part}_{name}": array for part, n in (("train", 64), ("test", 24)) for name, array in (
        ("x", rng.normal(size=(n, 64, 3)).astype(np.float32)), ("y", np.arange(n) % 10))}  # fmt: skip
    experiment = PointClouds(dataset="modelnet10", models=("pointnet",), points=32, widths=(8, 16), epochs=1, kept=())
    assert experiment.datasets() == ("modelnet10",)
    rows = list(experiment.trial(Context(seed=0, loader={"modelnet10": data}.get)))
    assert [row.get("order") for row in rows] == ["given", "permuted", *[None] * 4]
    assert [row["task"] for row in rows] == ["modelnet10"] * 2 + ["modelnet10 turned"] * 4


# -------------------------------------------------------------------------------------------------------------- rules


def frame(seeds=8, noise=0.004, permuted=None, turned=None, **accuracy):
    """Rows of whole clouds: subject → accuracy in the given order; in another one the flat network is at chance.

    ``turned``: (subject, trained, tested) → accuracy, where it is not as claimed.
    """
    rng = np.random.default_rng(0)
    given = {"edge_conv": 0.9, "edge_conv_random": 0.8, "pointnet": 0.81, "flat_mlp": 0.7, "histogram_svm": 0.75}
    given |= {"pointnet2": 0.85} | accuracy
    after = given | {"flat_mlp": 0.15} | (permuted or {})
    rows = []
    for seed in range(seeds):
        for subject in given:
            value, error = given[subject] + rng.normal(0, noise), 1.0 if subject == "flat_mlp" else 1e-7
            row = {"seed": seed, "subject": subject, "task": "surfaces", "kept": 1.0}
            rows.append(row | {"order": "given", "accuracy": value, "invariance_error": error})
            rows.append(row | {"order": "permuted", "accuracy": value + after[subject] - given[subject]})
        ways = {
            ("pointnet", "upright", "any"): 0.3,
            ("pointnet", "any", "upright"): 0.8,
            ("pointnet", "any", "any"): 0.8,
        }
        ways |= {("pointnet", "upright", "upright"): 0.85, ("histogram_svm", "upright", "upright"): 0.75}
        for (subject, trained, tested), value in (
            ways | {("histogram_svm", "upright", "any"): 0.75} | (turned or {})
        ).items():
            row = {"seed": seed, "subject": subject, "task": "surfaces turned", "trained": trained, "tested": tested}
            rows.append(row | {"accuracy": value + rng.normal(0, noise)})
    return pd.DataFrame(rows).set_index("seed")


ANSWER, FLAT, NEAR, RANDOM, HISTOGRAM, LIE, MENDED, TURN, ORDER, LEARNABLE, TRAINED = PointClouds.claims


def test_everything_holds_where_it_should():
    assert [claim.rule(frame()).outcome for claim in PointClouds.claims] == ["holds"] * 11
    assert {claim.kind for claim in PointClouds.claims if isinstance(claim, Control)} == {
        "negative",
        "positive",
        "gate",
    }


@pytest.mark.parametrize(
    ("claim", "changed"),
    [
        (FLAT, {"permuted": {"flat_mlp": 0.6}}),
        (NEAR, {"pointnet": 0.9}),
        (RANDOM, {"edge_conv_random": 0.9}),
        (HISTOGRAM, {"histogram_svm": 0.95}),
        (LIE, {"turned": {("pointnet", "upright", "any"): 0.75}}),
        (MENDED, {"turned": {("pointnet", "any", "any"): 0.65}}),
        (TURN, {"turned": {("histogram_svm", "upright", "any"): 0.7}}),
        (ORDER, {"permuted": {"pointnet": 0.7}}),
        (LEARNABLE, {"histogram_svm": 0.3}),
        (TRAINED, {"flat_mlp": 0.3}),
    ],
)
def test_each_rule_says_no(claim, changed):
    assert claim.rule(frame(**changed)).outcome == "does not hold"


@pytest.mark.parametrize("subject", ["pointnet", "pointnet2"])
def test_a_change_under_permutation_is_noticed(subject):
    rows = frame()
    rows.loc[rows.subject == subject, "invariance_error"] = 1e-3
    assert ANSWER.rule(rows).outcome == "does not hold"


# ------------------------------------------------------------------------------------------------------------ picture


def test_the_picture(trial):
    rows, kept = trial
    figure = drawn(PointClouds(), rows, {100: kept})
    assert {axes.get_title() for axes in figure.axes} >= {*SURFACES, "edge convolution"}


@pytest.mark.parametrize("rows", [frame(seeds=1), frame()[frame().subject == "pointnet"]], ids=["one seed", "one"])
def test_a_picture_of_little(rows):
    drawn(PointClouds(), rows, {})
