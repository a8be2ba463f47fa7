"""Measures of explanations against cases by hand, and beside those of Quantus and Captum where they are installed."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from dlbench import explain as e
from dlbench.explain.metrics import _filled, _neighbours


def generator():
    return torch.Generator().manual_seed(1)


def mask(*rows):
    return np.array([[[c == "#" for c in line] for line in row] for row in rows])


MAPS = np.array([[[4.0, 3.0], [2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]], [[-1.0, 5.0], [5.0, -2.0]]])
MASKS = mask(["##", ".."], ["##", ".."], [".#", "##"])


def sums(scale=1.0):
    """Two classes; the score of the first is the sum of all pixels, of 2 x 2."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[scale] * 4, [0.0] * 4]))
        net[1].bias.zero_()
    return net


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 3)
    ).eval()  # fmt: skip


# ---------------------------------------------------------------------------------------------------- against a mask


def test_where_relevance_lies_by_hand():
    """First: the two largest are the mask's. Second: all are equal, so chance. Third: 5, 5, and then -1 of outside."""
    assert e.relevance_rank_accuracy(MAPS, MASKS).tolist() == pytest.approx([1.0, 0.5, 2 / 3])
    assert e.relevance_mass_accuracy(MAPS, MASKS).tolist() == pytest.approx([0.7, 0.0, 1.0])
    assert e.pointing_game(MAPS, MASKS).tolist() == pytest.approx([1.0, 0.5, 1.0])


def test_tied_pixels_count_as_if_drawn_by_lot():
    """Of k = 3 one place is left for two pixels that are equal, of which one is within."""
    maps = np.array([[[9.0, 8.0], [1.0, 1.0]]])
    assert e.relevance_rank_accuracy(maps, mask(["##", "#."])).tolist() == pytest.approx([(2 + 0.5) / 3])


def test_what_two_maps_share():
    other = np.array([[[4.0, 1.0], [3.0, 0.0]]] * 3)
    assert e.top_k_agreement(MAPS, other, 2).tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert e.top_k_agreement(MAPS, MAPS, 1).tolist() == pytest.approx([1.0, 0.25, 0.5])
    assert e.top_k_agreement(MAPS, other, 4).tolist() == pytest.approx([1.0] * 3)


def test_rank_correlation_is_scipys():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.integers(5, size=(2, 4, 6, 7))
    found = e.rank_correlation(a, torch.from_numpy(b))
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    assert found.tolist() == pytest.approx(expected)
    assert np.isnan(e.rank_correlation(MAPS, MAPS)).tolist() == [False, True, False]


@pytest.mark.parametrize("metric", [e.relevance_rank_accuracy, e.relevance_mass_accuracy, e.pointing_game])
@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (MAPS[0], MASKS[0], "expected maps"),
        (MAPS, MASKS[:2], "expected booleans"),
        (MAPS, MASKS.astype(int), "masks are int64"),
        (MAPS * np.nan, MASKS, "12 of 12 values are not finite"),
        (MAPS, MASKS & np.array([True, False, True])[:, None, None], "mask 1 is empty"),
    ],
)
def test_wrong_maps_and_masks(metric, maps, masks, message):
    with pytest.raises(ValueError, match=message):
        metric(maps, masks)


def test_wrong_pairs():
    with pytest.raises(ValueError, match="maps of the same images"):
        e.rank_correlation(MAPS, MAPS[:2])
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k is {k}; expected from 1 to the 4 pixels"):
            e.top_k_agreement(MAPS, MAPS, k)


# -------------------------------------------------------------------------------------------------- against the model


def test_pixel_flipping_by_hand():
    """The score is the sum of what is left of 1, 2, 3, 4."""
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    zero = torch.zeros(1, dtype=torch.int64)
    sigmoid = [1 / (1 + np.exp(-s)) for s in (10, 6, 3, 1, 0)]
    assert e.pixel_flipping(sums(), x, x[:, 0], zero)[0].tolist() == pytest.approx(sigmoid, rel=1e-5)
    half = e.pixel_flipping(sums(), x, x[:, 0], zero, pixels=2, most=0.5)
    assert half[0].tolist() == pytest.approx([sigmoid[0], sigmoid[2]], rel=1e-5)
    least_first = e.pixel_flipping(sums(), x, -x[:, 0], zero, baseline=1.0)
    scores = (10, 10, 9, 7, 4)
    assert least_first[0].tolist() == pytest.approx([1 / (1 + np.exp(-s)) for s in scores], rel=1e-5)


def test_what_is_filled_in_is_the_mean_of_its_neighbours():
    """A plane is its own mean within; at a corner, three neighbours weigh 2, 2 and 1."""
    plane = (np.arange(5)[:, None] + 2.0 * np.arange(6)).reshape(1, 1, -1)
    within = np.array([[7, 8, 14, 15]])
    assert np.allclose(_filled(plane, within, _neighbours(5, 6)), plane[:, :, within[0]])
    corner = np.array([[1.0, 6.0, 11.0, 100.0]]).reshape(1, 1, 4)
    assert _filled(corner, np.array([[0]]), _neighbours(2, 2)).item() == pytest.approx((2 * 6 + 2 * 11 + 100) / 5)


def test_images_are_filled_in_each_on_its_own(monkeypatch):
    rng = np.random.default_rng(0)
    flat, gone = rng.random((5, 3, 64)), np.sort(np.argsort(rng.random((5, 64)), axis=1)[:, :20], axis=1)
    together = _filled(flat, gone, _neighbours(8, 8))
    monkeypatch.setattr("dlbench.explain.metrics.AT_ONCE", 130)
    assert np.allclose(together, _filled(flat, gone, _neighbours(8, 8)))
    alone = _filled(flat[3:4], gone[3:4], _neighbours(8, 8))
    assert np.allclose(together[3:4], alone)


def test_road_asks_whether_the_class_is_still_said():
    """Class 0 is said while the sum is above 0: the square of 5 in darkness of -1 is filled with the dark."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0] * 36, [0.0] * 36]))
    x = torch.full((1, 1, 6, 6), -1.0)
    x[..., 2:4, 2:4] = 10.0
    zero = torch.zeros(1, dtype=torch.int64)
    found = e.road(net, x, x[:, 0], zero, generator=generator(), shares=(3 / 36, 4 / 36))
    # Three are gone and the fourth, 10, is still there to fill them from; then all four are, and all is dark.
    assert found.tolist() == [[0.0, 0.0]] or found.tolist() == [[1.0, 0.0]]
    assert e.road(net, x, -x[:, 0], zero, generator=generator(), shares=(0.2, 0.8)).tolist() == [[1.0, 1.0]]


def test_of_a_linear_model_contributions_are_faithful_and_others_are_not():
    """Covered pixels, each with a chance of a half, cost 2 each.

    Of the first alone, a factor of 2.5 foretells most: what is missed is 4 · E(1.5 m - s)² with s of three, 4 · 1.875.
    A blank map misses it all: 4 · E(s of four)² = 4 · (1 + 4).
    """
    net, x, zero = sums(2.0), torch.ones(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64)
    account = e.gradient_times_input(net, x, zero)
    for scale in (1, 7):
        found = e.infidelity(net, x, scale * account, zero, generator=generator())
        assert found.tolist() == pytest.approx([0] * 3, abs=1e-10)
    many = {"share": 0.5, "samples": 20_000}
    wrong = account * torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    found = e.infidelity(net, x, wrong, zero, generator=generator(), **many)
    assert found.tolist() == pytest.approx([7.5] * 3, rel=0.03)
    blank = e.infidelity(net, x, 0 * account, zero, generator=generator(), **many)
    assert blank.tolist() == pytest.approx([20] * 3, rel=0.03)
    other = e.infidelity(net, x, 0 * account, zero, generator=generator(), baseline=1.0)
    assert other.tolist() == [0.0] * 3  # covered with what they are


def test_sensitivity_by_hand():
    """An explanation that is the image moves by the noise; one that stays, not; a blank one has no length."""
    x = torch.full((2, 1, 3, 3), 2.0)
    found = e.max_sensitivity(lambda x: x, x, generator=generator(), radius=0.1, samples=50)
    draws = [0.1 * (2 * torch.rand(x.shape, generator=g) - 1) for g in [generator()] for _ in range(50)]
    expected = torch.stack(draws).flatten(2).norm(dim=2).max(0).values / 6
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert e.max_sensitivity(torch.ones_like, x, generator=generator()).tolist() == [0.0, 0.0]
    assert np.isnan(e.max_sensitivity(torch.zeros_like, x, generator=generator())).all()


def test_layers_are_drawn_anew_from_the_last_on():
    net = convolutions()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = list(e.randomised(net, seed=3))
    assert [name for name, _ in found] == ["4", "2", "0"]
    changed = [
        {key for key, value in other.state_dict().items() if not torch.equal(value, before[key])} for _, other in found
    ]
    assert changed[0] == {"4.weight", "4.bias"} and changed[-1] == {"4.weight", "4.bias", "0.weight", "0.bias"}
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())
    again = [other.state_dict()["4.weight"] for _, other in e.randomised(net, seed=3)]
    assert all(torch.equal(one, found[0][1].state_dict()["4.weight"]) for one in again)


def test_impossible_settings():
    net, x, zero = sums(), torch.ones(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64)
    for call, message in (
        (lambda: e.pixel_flipping(net, x, MAPS, zero), r"maps have shape \[3, 2, 2\]; expected \[1, 2, 2\]"),
        (lambda: e.pixel_flipping(net, x, MAPS[:1], zero, pixels=0), "pixels is 0"),
        (lambda: e.pixel_flipping(net, x, MAPS[:1], zero, most=1.5), "shares of pixels"),
        (lambda: e.pixel_flipping(net, x, MAPS[:1], zero + 2), "the model has 2 classes"),
        (lambda: e.road(net, x, MAPS[:1], zero, generator=generator(), shares=()), "shares of pixels"),
        (lambda: e.road(net, x, MAPS[:1], zero, generator=generator(), shares=(1.0,)), "some pixels must stay"),
        (lambda: e.infidelity(net, x, x[:, :, :1], zero, generator=generator()), "contributions have shape"),
        (lambda: e.infidelity(net, x, x, zero, generator=generator(), share=0.0), "shares of pixels"),
        (lambda: e.max_sensitivity(lambda x: x, x, generator=generator(), samples=0), "samples is 0"),
        (lambda: list(e.randomised(nn.ReLU(), seed=0)), "no layer with reset_parameters"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# ------------------------------------------------------------------------------------------------------ other libraries


@pytest.fixture(scope="module")
def quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


@pytest.fixture
def case():
    net = convolutions()
    x = torch.rand(4, 1, 8, 8, generator=generator())
    y = torch.tensor([0, 1, 2, 1])
    return net, x, y, e.gradient(net, x, y).abs().sum(1)


@pytest.mark.filterwarnings("ignore")
def test_quantus_locates_the_same(quantus, case):
    net, x, y, maps = case
    masks = np.zeros((4, 8, 8), dtype=bool)
    masks[:, 2:5, 3:6] = True
    given = {"x_batch": x.numpy(), "y_batch": y.numpy(), "a_batch": maps[:, None].numpy(), "s_batch": masks[:, None]}
    plain = {"abs": False, "normalise": False, "disable_warnings": True}
    for theirs, ours in (
        (quantus.RelevanceRankAccuracy, e.relevance_rank_accuracy),
        (quantus.RelevanceMassAccuracy, e.relevance_mass_accuracy),
        (quantus.PointingGame, e.pointing_game),
    ):
        expected = theirs(**plain)(model=net, **given)
        assert ours(maps, masks).tolist() == pytest.approx([float(value) for value in expected]), theirs.__name__


@pytest.mark.filterwarnings("ignore")
def test_quantus_flips_and_fills_in_the_same(quantus, case):
    net, x, y, maps = case
    given = {"x_batch": x.numpy(), "y_batch": y.numpy(), "a_batch": maps[:, None].numpy(), "softmax": True}
    plain = {"abs": False, "normalise": False, "disable_warnings": True}
    flipping = quantus.PixelFlipping(
        features_in_step=8, perturb_baseline=0.0, return_auc_per_sample=False, **plain
    )(model=net, **given)  # fmt: skip
    assert np.allclose(e.pixel_flipping(net, x, maps, y, pixels=8)[:, 1:], flipping, atol=1e-5)
    shares = [0.25, 0.5]
    road = quantus.ROAD(noise=0.0, percentages=[100 * share for share in shares], **plain)(model=net, **given)
    ours = e.road(net, x, maps, y, generator=generator(), shares=shares, noise=0.0)
    assert ours.mean(0).tolist() == pytest.approx([road[100 * share] for share in shares])


def test_captum_measures_the_same(case):
    metrics = pytest.importorskip("captum.metrics")
    net, x, y, _ = case
    attributions = e.gradient_times_input(net, x, y)
    drawn = [(torch.rand(8, 8, generator=g) < 0.1).float()[None] for g in [generator()] for _ in range(30)]

    def perturb(inputs, *_):
        covered = torch.stack(drawn).repeat(len(inputs) // 30, 1, 1, 1)  # all draws of an image stand together
        return covered, inputs * (1 - covered)

    theirs = metrics.infidelity(
        net, perturb, x, attributions, target=y, n_perturb_samples=30, max_examples_per_batch=None, normalize=True
    )
    ours = e.infidelity(net, x, attributions, y, generator=generator(), samples=30)
    assert ours.tolist() == pytest.approx(theirs.tolist(), rel=1e-3)
