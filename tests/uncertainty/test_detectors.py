"""Detectors of outliers: hand-computed scores, one sign for all, and measures against scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dlbench.uncertainty.detectors import (
    KNN,
    ODIN,
    Detectors,
    Mahalanobis,
    Outputs,
    ViM,
    best_setting,
    detection,
    energy,
    extract,
    max_logit,
    max_softmax,
)


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


@pytest.fixture(scope="module")
def trained():
    """A small network on two round classes, [-2, 0, 0] and [2, 0, 0], and their data."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 2
    x = 0.4 * torch.randn(200, 3, generator=generator) + (2.0 * y - 1)[:, None] * torch.tensor([2.0, 0.0, 0.0])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    net[2].eval()
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.train(), x, y


# --------------------------------------------------------------------------------------------------------- one sign


def test_every_score_is_higher_for_the_familiar(trained):
    """Between the classes, off their axis, lies nothing that was trained on."""
    net, x, y = trained
    between = 0.2 * torch.randn(100, 3, generator=torch.Generator().manual_seed(1)) + torch.tensor([0.0, 1.0, 0.0])
    found = Detectors(net, x, y, k=5, dimensions=8)
    inside, outside = found.scores(x), found.scores(between)
    names = {"msp", "max_logit", "energy", "knn", "mahalanobis", "relative_mahalanobis", "vim", "odin"}
    assert set(inside) == set(outside) == names
    aurocs = {name: detection(inside[name], outside[name]).auroc for name in names}
    assert all(auroc > 0.9 for auroc in aurocs.values()), aurocs


def test_modes_and_gradients_are_left_alone(trained):
    net, x, y = trained
    Detectors(net, x, y, k=5).scores(x[:3])
    assert net.training
    assert net[2].training is True
    assert all(parameter.grad is None or parameter.grad.shape == parameter.shape for parameter in net.parameters())
    net[2].eval()
    extract(net, x)
    assert not net[2].training
    net.train()


# ------------------------------------------------------------------------------------------------ functions of logits


def test_scores_of_logits_by_hand():
    logits = tensor([0.0, math.log(3)], [5.0, 5.0])
    assert max_softmax(logits).tolist() == pytest.approx([0.75, 0.5])
    assert max_softmax(logits * 7, temperature=7).tolist() == pytest.approx([0.75, 0.5])
    assert max_logit(logits).tolist() == pytest.approx([math.log(3), 5])
    assert energy(logits).tolist() == pytest.approx([math.log(4), 5 + math.log(2)])
    assert energy(logits, temperature=2).tolist() == pytest.approx([2 * math.log(1 + 3**0.5), 5 + 2 * math.log(2)])


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(3, 1), np.zeros((3, 2))])
def test_logits_of_another_shape_are_refused(wrong):
    with pytest.raises(ValueError, match=r"logits must be a tensor \[n, classes\]"):
        energy(wrong)


# ---------------------------------------------------------------------------------------------- fitted on features


def test_knn_by_hand():
    """Of length one the bank is (1, 0), (0, 1), (-1, 0); the query (5, 0) has distances 0, √2, 2."""
    bank, query = tensor([2.0, 0.0], [0.0, 3.0], [-0.5, 0.0]), tensor([5.0, 0.0])
    assert [KNN(bank, k)(query).item() for k in (1, 2, 3)] == pytest.approx([0, -math.sqrt(2), -2])
    with pytest.raises(ValueError, match="k is 4; with 3 training examples"):
        KNN(bank, 4)
    with pytest.raises(ValueError, match="fitted on 2 features"):
        KNN(bank, 1)(torch.zeros(1, 3))


def test_mahalanobis_by_hand():
    """Two classes with means (0, 0) and (10, 0) and a common covariance of diag(1, 4)."""
    spread = tensor([1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0])
    features = torch.cat([spread, spread + tensor([10.0, 0.0])])
    labels = torch.tensor([7] * 4 + [3] * 4)  # any labels do
    query = tensor([0.0, 0.0], [10.0, 4.0], [3.0, 0.0])
    assert Mahalanobis(features, labels)(query).tolist() == pytest.approx([0, -4, -9])
    # all have mean (5, 0) and covariance diag(26, 4)
    relative = Mahalanobis(features, labels, relative=True)
    assert relative(query).tolist() == pytest.approx([25 / 26, 25 / 26 + 4 - 4, 4 / 26 - 9])
    with pytest.raises(ValueError, match=r"labels must be \[8\]"):
        Mahalanobis(features, labels[:3])


def test_dead_features_are_no_distance():
    features = torch.cat([torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(50, 1)], 1)
    scores = Mahalanobis(features, torch.arange(50) % 2)(features)
    assert torch.isfinite(scores).all()


def test_vim_by_hand():
    """Features along the first axis; what leaves it counts, scaled by mean greatest logit over mean length off it."""
    last = nn.Linear(2, 2)
    with torch.no_grad():
        last.weight.copy_(torch.eye(2))
        last.bias.copy_(torch.tensor([0.0, 0.0]))
    features = tensor([3.0, 0.1], [-3.0, 0.1], [3.0, -0.1], [-3.0, -0.1])
    train = Outputs(features, features)
    detector = ViM(train, last, dimensions=1)
    assert abs(detector.scale.item()) == pytest.approx(((3 + 0.1 + 3 - 0.1) / 4) / 0.1)
    logits = tensor([1.0, 0.0])
    scores = detector(Outputs(tensor([1.0, 0.5]), logits))
    assert scores.item() == pytest.approx(math.log(1 + math.e) - 15 * 0.5)
    with pytest.raises(ValueError, match="of 2 features it must be 1 to 1"):
        ViM(train, last, dimensions=2)


def test_vims_origin_is_where_all_logits_are_zero():
    torch.manual_seed(0)
    last = nn.Linear(5, 3)
    features = torch.randn(40, 5)
    origin = ViM(Outputs(features, last(features).detach()), last, 2).origin
    assert torch.allclose(last.weight.double() @ origin + last.bias.double(), torch.zeros(3, dtype=torch.double))


# ------------------------------------------------------------------------------------------------------------- model


def test_odin_without_a_step_is_max_softmax_at_its_temperature(trained):
    net, x, _ = trained
    logits = extract(net, x).logits
    assert torch.equal(ODIN(net, 10.0, 0.0)(x), max_softmax(logits, 10.0))


def test_odins_step_raises_the_confidence(trained):
    net, x, _ = trained
    assert (ODIN(net, 1.0, 0.05)(x) >= ODIN(net, 1.0, 0.0)(x) - 1e-9).all()
    assert not x.requires_grad
    with pytest.raises(ValueError, match="temperature is 0"):
        ODIN(net, 0, 0.1)


def test_features_are_what_enters_the_last_linear_layer(trained):
    net, x, _ = trained
    features, logits = extract(net, x, batch_size=7)
    assert torch.allclose(features, net[1](net[0](x)))
    assert torch.allclose(logits, net[3](features))


def test_features_of_a_named_layer_and_of_a_function():
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    x = torch.randn(5, 1, 4, 4)
    assert torch.allclose(extract(net, x, "1").features, net[:2](x).mean((2, 3)))
    assert torch.equal(extract(net, x, lambda part: part.flatten(1)).features, x.flatten(1))
    with pytest.raises(ValueError, match="no module 'avgpool'; it has 0, 1, 2, 3"):
        extract(net, x, "avgpool")
    with pytest.raises(ValueError, match=r"no nn\.Linear"):
        extract(net[:3], x)


def test_vim_is_left_out_where_features_are_not_the_last_layers(trained):
    net, x, y = trained
    assert "vim" not in Detectors(net, x, y, "0", k=5).scores(x)


# ---------------------------------------------------------------------------------------------------------- measures


def test_measures_by_hand():
    """Insiders 4, 3, 1 and outsiders 2, 0: of six pairs five are in order."""
    found = detection([4.0, 3.0, 1.0], [2.0, 0.0])
    assert found.auroc == pytest.approx(5 / 6)
    assert found.aupr_in == pytest.approx(1 / 3 + 1 / 3 + 1 / 3 * 3 / 4)  # recall rises at 4, 3, 1
    assert found.aupr_out == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)  # at 0 and, after the 1, at 2
    assert found.fpr95 == pytest.approx(1 / 2)  # all insiders pass only with the 2


def test_measures_of_what_is_told_apart_or_not_at_all():
    assert detection([1, 2], [0, -math.inf]) == (1, 1, 1, 0)
    assert detection([0, 0], [0, 0, 0, 0]) == pytest.approx((0.5, 1 / 3, 2 / 3, 1))
    assert detection(torch.zeros(3), torch.ones(3)).auroc == 0


def test_measures_are_scikit_learns():
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, 300).round(1), rng.normal(0, 1, 200).round(1)
    truth, scores = np.repeat([1, 0], [300, 200]), np.concatenate([inside, outside])
    found = detection(inside, outside)
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores))
    assert found.aupr_in == pytest.approx(average_precision_score(truth, scores))
    assert found.aupr_out == pytest.approx(average_precision_score(1 - truth, -scores))
    threshold = np.sort(inside)[::-1][math.ceil(0.95 * 300) - 1]  # the highest that 95 % of insiders reach
    assert found.fpr95 == pytest.approx((outside >= threshold).mean())


@pytest.mark.parametrize(
    ("inside", "outside", "message"),
    [
        ([], [1.0], r"scores inside have shape \[0\]"),
        ([1.0], [[1.0]], r"scores outside have shape \[1, 1\]"),
        ([1.0], [math.nan, 2.0], "1 of 2 scores outside are not a number"),
    ],
)
def test_scores_that_measure_nothing_are_refused(inside, outside, message):
    with pytest.raises(ValueError, match=message):
        detection(inside, outside)


def test_the_best_setting_is_of_greatest_auroc_and_the_first_of_equals():
    scores = {"bad": ([0], [1]), "good": ([1], [0]), "as good": ([2], [0])}
    assert best_setting(scores, scores.__getitem__) == "good"
    with pytest.raises(ValueError, match="no setting"):
        best_setting([], scores.__getitem__)
