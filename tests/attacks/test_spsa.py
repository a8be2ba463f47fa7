"""SPSA: estimates against gradients of linear losses, what its queries are, the exact promises, and what it finds."""

import sys

import pytest
import torch
from torch import nn

from dlbench import attacks
from dlbench.attacks.search import Search

from .conftest import D, jitter

FIELDS = ("x_adv", "success", "label_adv", "loss", "first_step", "clean_correct", "norm")
QUICK = {"eps": 0.1, "steps": 8, "samples": 8}


def linear(classes=2, seed=0):
    model = nn.Linear(D, classes, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.randn(classes, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        model.bias.copy_(-model.weight.sum(1) / 2)
    return model


class Watched(nn.Module):
    """Keeps what it was asked about."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return self.model(x)


@pytest.fixture
def estimates(monkeypatch):
    """estimates(model, x, y, **settings) → the first estimate of the gradient, [n, ...]."""
    from dlbench.attacks.spsa import Estimates

    def make(model, x, y, **settings):
        found, estimate = [], Estimates._estimate

        def kept(self, branch: Search, rows):
            found.append(estimate(self, branch, rows))
            return found[-1]

        with monkeypatch.context() as patch:
            patch.setattr(Estimates, "_estimate", kept)
            attacks.spsa(model, x, y, eps=0.05, steps=1, **settings)
        return found[0]

    return make


# --------------------------------------------------------------------------------------------------------- estimates


def test_the_mean_of_estimates_is_the_gradient_of_a_linear_loss(estimates):
    """Also where inputs are on an edge, so that queries go to one side only."""
    model = linear()
    x = (torch.rand(1, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 0.5).clamp(0, 1)
    assert ((x == 0) | (x == 1)).sum() >= 3
    y = model(x).argmax(1)
    exact = (model.weight[1 - y] - model.weight[y]).detach()[0]
    many = estimates(model, x, y, samples=4000)[0]
    deviation = exact.norm() / 4000**0.5  # of a coordinate's mean: the other coordinates are its noise
    assert ((many - exact).abs() < 4.5 * deviation * 2).all()  # on an edge twice as much
    assert torch.cosine_similarity(many, exact, dim=0) > 0.995
    one = torch.cat([estimates(model, x, y, samples=1, seed=seed) for seed in range(300)])
    assert ((one.mean(0) - exact).abs() < 4.5 * 2 * exact.norm() / 300**0.5).all()
    assert one.std(0).min() > 0.5 * deviation * 4000**0.5  # each is noisy


def test_more_directions_point_better_and_delta_does_not_matter_where_all_is_linear(estimates):
    model = linear()
    x = torch.full((30, D), 0.5, dtype=torch.float64) + 0.05 * torch.rand(
        30, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    y = model(x).argmax(1)
    exact = (model.weight[1 - y] - model.weight[y]).detach()
    cosines = [
        torch.cosine_similarity(estimates(model, x, y, samples=samples), exact).mean() for samples in (4, 32, 256)
    ]
    assert 0.3 < cosines[0] < cosines[1] - 0.1 < cosines[2] < 1 and cosines[2] > 0.95
    near, far = (estimates(model, x, y, samples=4, delta=delta) for delta in (0.001, 0.1))
    torch.testing.assert_close(near, far, rtol=1e-6, atol=1e-9)


def test_queries_come_in_pairs_inside_the_bounds_whatever_is_asked_about_together(monkeypatch):
    model = Watched(linear())
    x = (torch.rand(5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 0.5).clamp(0, 1)
    y = model(x).argmax(1)
    model.asked.clear()
    whole = attacks.spsa(model, x, y, eps=1e-6, steps=1, samples=6, delta=0.02)
    queries = model.asked[2]  # after x, and x again as the start
    assert queries.shape == (60, D) and (queries >= 0).all() and (queries <= 1).all()
    up, down = queries.view(2, 6, 5, D)
    apart = (up - down).abs()
    edge = ((x == 0) | (x == 1)).expand(6, 5, D)
    torch.testing.assert_close(apart[edge], torch.full_like(apart[edge], 0.02), rtol=0, atol=1e-12)
    inner = ((x > 0.02) & (x < 0.98)).expand(6, 5, D)
    torch.testing.assert_close(apart[inner], torch.full_like(apart[inner], 0.04), rtol=0, atol=1e-12)
    signs = (up > down).flatten(0, 1)
    assert len(signs.unique(dim=0)) > 28  # every sample and direction has its own
    monkeypatch.setattr(sys.modules["dlbench.attacks.spsa"], "AT_ONCE", 1)  # the name is that of the function, too
    model.asked.clear()
    single = attacks.spsa(model, x, y, eps=1e-6, steps=1, samples=6, delta=0.02)
    assert max(map(len, model.asked)) == 10 and torch.equal(single.x_adv, whole.x_adv)


# ------------------------------------------------------------------------------------------------- what it finds


def test_an_input_that_cannot_move_so_little_stays():
    model = linear().float()
    x = torch.rand(6, D)
    watched = Watched(model)
    result = attacks.spsa(watched, x, model(x).argmax(1), eps=0.4, steps=3, samples=4, delta=1e-9)
    assert not any(asked.isnan().any() for asked in watched.asked)
    assert result.x_adv.isfinite().all() and (result.norm <= 0.4).all()


@pytest.mark.parametrize("scale", [1e-9, 1e24])
def test_the_scale_of_the_logits_does_not_matter(row_wise, scale):
    model, x, y = row_wise()
    settings = {"eps": 0.2, "steps": 12, "samples": 16}
    plain, scaled = (attacks.spsa(m, x, y, **settings) for m in (model, lambda x: scale * model(x)))
    assert plain.success.any() and torch.equal(plain.success, scaled.success)
    torch.testing.assert_close(plain.x_adv, scaled.x_adv, atol=1e-6, rtol=0)


def test_on_a_linear_model_it_nearly_reaches_the_corner_of_the_ball():
    model = linear()
    x = 0.3 + 0.4 * torch.rand(40, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    y = model(x).argmax(1)
    margin = model(x).gather(1, y[:, None]) - model(x)
    distance = (margin / (model.weight[y][:, None] - model.weight).abs().sum(2)).nan_to_num(nan=torch.inf).amin(1)
    eps = float(distance.detach().median())
    result = attacks.spsa(model, x, y, eps=eps, steps=60, samples=32)
    assert not (result.success & (distance > eps)).any()
    assert result.success[distance < 0.9 * eps].all() and (distance < 0.9 * eps).sum() > 10
    assert (result.norm <= eps).all() and ((result.x_adv >= 0) & (result.x_adv <= 1)).all()


def test_where_gradients_are_hidden_it_finds_what_pgd_does_not(row_wise):
    model, x, y = row_wise()
    stairs = lambda z: model((z * 100).round() / 100)  # noqa: E731
    hidden = attacks.pgd(stairs, x, y, eps=0.1)
    found = attacks.spsa(stairs, x, y, eps=0.1, steps=20, samples=32)
    assert hidden.attack_success_rate < found.attack_success_rate - 0.3


def test_a_target_is_harder_than_any_class_and_restarts_help(row_wise):
    model, x, y = row_wise()
    target, settings = (y + 1) % 4, QUICK | {"eps": 0.4}
    any_class = attacks.spsa(model, x, y, **settings)
    led = attacks.spsa(model, x, y, target=target, **settings)
    assert torch.equal(model(led.x_adv).argmax(1) == target, led.success)
    right = led.clean_correct
    assert 0 < led.success[right].sum() < any_class.success[right].sum() < right.sum()
    again = attacks.spsa(model, x, y, restarts=4, **QUICK | {"samples": 2})
    once = attacks.spsa(model, x, y, **QUICK | {"samples": 2})
    assert not (once.success & ~again.success).any() and again.success.sum() > once.success.sum()


# ------------------------------------------------------------------------------------------------------------ promises


@pytest.mark.parametrize("answers", [1, 3])
def test_queries_are_counted_and_decided_samples_leave_the_batch(row_wise, answers):
    model, x, y = row_wise()
    result = attacks.spsa(model, x, y, eot_samples=answers, **QUICK)
    assert sum(model.batches) == int(result.forwards.sum()) and (result.backwards == 0).all()
    held, won = ~result.success, result.success & result.clean_correct
    assert held.any() and won.any()
    assert (result.forwards[held] == answers * (2 + 8 * (2 * 8 + 1))).all() and (result.first_step[held] == -1).all()
    assert torch.equal(result.forwards[won], answers * (2 + result.first_step[won] * 17))
    assert (result.forwards[~result.clean_correct] == answers).all()


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("settings", [{}, {"restarts": 2}, {"target": 1}, {"transform": jitter, "eot_samples": 3}])
def test_a_split_into_batches_changes_nothing(row_wise, batch, settings):
    model, x, y = row_wise()
    settings = QUICK | {"seed": 5} | settings
    whole = attacks.spsa(model, x, y, **settings)
    ids = torch.arange(len(x))
    parts = [
        attacks.spsa(model, x[i : i + batch], y[i : i + batch], sample_ids=ids[i : i + batch], **settings)
        for i in range(0, len(x), batch)
    ]
    assert whole.attack_success_rate > 0
    for name in FIELDS:
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name


def test_the_seed_decides_the_directions(row_wise):
    model, x, y = row_wise()
    same = [attacks.spsa(model, x, y, seed=seed, **QUICK | {"steps": 1}).x_adv for seed in (1, 1, 2)]
    assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ball_and_the_bounds_hold_and_labels_are_found_again(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 5)).to(dtype)
    x = (torch.rand(60, 1, 4, 4, dtype=dtype) * 1.4 - 0.2).clamp(0, 1)
    y = model(x).argmax(1)
    eps = torch.where(torch.arange(60) % 2 == 0, 0.08, 0.02).double()
    result = attacks.spsa(model, x, y, eps=eps, steps=10, samples=16)
    assert 0 < result.attack_success_rate < 1 and (result.norm <= eps).all()
    assert result.success[::2].sum() > result.success[1::2].sum()
    assert ((result.x_adv >= 0) & (result.x_adv <= 1)).all()
    assert torch.equal(model(result.x_adv).argmax(1), result.label_adv)
    assert torch.equal(result.label_adv != y, result.success)


def test_a_mask_eps_zero_and_no_samples(row_wise):
    model, x, y = row_wise()
    mask = torch.arange(len(x)) % 2 == 0
    some, every = (attacks.spsa(model, x, y, mask=m, **QUICK) for m in (mask, None))
    assert torch.equal(some.x_adv[~mask], x[~mask]) and torch.equal(some.x_adv[mask], every.x_adv[mask])
    still = attacks.spsa(model, x, y, eps=0.0)
    assert torch.equal(still.x_adv, x) and (still.forwards == 1).all()
    assert attacks.spsa(model, x[:0], y[:0], **QUICK).x_adv.shape == (0, D)


def test_broken_logits_move_nothing(row_wise):
    model, x, y = row_wise()
    broken = lambda z: torch.where((z == x[5]).all(1)[:, None], model(z), torch.nan)  # noqa: E731
    result = attacks.spsa(broken, x[5:6], y[5:6], **QUICK)
    assert not result.success.any() and torch.equal(result.x_adv, x[5:6])


@pytest.mark.parametrize("fail_at", [None, 1, 4])
def test_the_model_is_left_as_it_was(awkward, fail_at):
    with awkward(fail_at=fail_at) as (model, x, y):
        if fail_at is None:
            attacks.spsa(model, x, y, **QUICK)
        else:
            with pytest.raises(RuntimeError, match="say"):
                attacks.spsa(model, x, y, **QUICK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "l2"}, "norm is 'l2'; it must be 'linf'"),
        ({"eps": -0.1}, "eps is -0.1"),
        ({"steps": 0}, "steps is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"restarts": 0}, "restarts is 0"),
        ({"delta": 0.0}, "delta is 0.0; it must be a finite number above zero"),
        ({"delta": 1.5}, "delta is 1.5; it must be 0 to 1"),
        ({"step_size": -1.0}, "step_size is -1"),
        ({"bounds": (-float("inf"), 1.0)}, "this attack needs finite ones"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"target": 4}, "target has labels from 4 to 4"),
        ({"y": torch.full((40,), 7)}, "y has labels from 7 to 7"),
        ({"model": lambda x: x[:, :4].softmax(1)}, "probabilities"),
    ],
)
def test_errors_name_what_was_given(row_wise, change, message):
    model, x, y = row_wise()
    with pytest.raises(ValueError, match=message):
        attacks.spsa(**{"model": model, "x": x, "y": y, "eps": 0.1} | change)


# ---------------------------------------------------------------------------------------------------- beside others


def test_with_many_queries_it_comes_near_to_pgd(digits_cnn):
    """PGD is given the gradients that SPSA has to estimate."""
    model, x, y = digits_cnn
    x, y = x[:100], y[:100]
    for eps in (0.05, 0.1):
        pgd = attacks.pgd(model, x, y, eps=eps, restarts=2).robust_accuracy
        spsa = attacks.spsa(model, x, y, eps=eps, steps=25, samples=64).robust_accuracy
        noise = attacks.noise(model, x, y, eps=eps, restarts=20).robust_accuracy
        assert pgd - 0.01 <= spsa <= pgd + 0.06 and spsa < noise - 0.02


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("eps", [0.05, 0.1, 0.2])
def test_torchattacks_fools_no_more(digits_cnn, eps):
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = digits_cnn
    x, y = x[:60], y[:60]
    settings = {"nb_iter": 10, "nb_sample": 32}
    torch.manual_seed(0)
    points = torchattacks.SPSA(model, eps=eps, delta=0.01, lr=0.3 * eps, **settings)(x, y)
    theirs = float((model(points).argmax(1) == y).double().mean())
    ours = attacks.spsa(model, x, y, eps=eps, steps=10, samples=32).robust_accuracy
    print(f"\nSPSA eps {eps:g}: robust accuracy {ours:.3f}, torchattacks {theirs:.3f}")
    assert ours <= theirs + 0.02
