"""C&W: closed forms on linear models, edges of the bounds, the weight c, the exact promises, and peers."""

import itertools

import pytest
import torch
from torch import nn

from dlbench import attacks
from dlbench.attacks.geometry import distance
from dlbench.ops.reference import hyperplane

from .conftest import D, jitter, linear

FIELDS = ("x_adv", "success", "label_adv", "loss", "first_step", "clean_correct", "norm")
FINE = {"steps": 200, "learning_rate": 0.01}
QUICK = {"steps": 40, "searches": 6, "learning_rate": 0.05, "initial_c": 0.01}


def samples(model, low, high, n=40):
    x = torch.rand(n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * (high - low) + low
    x = x.clamp(0, 1).to(model.weight.dtype)
    return x, model(x).argmax(1)


def lead(model, x, y):
    """[n] of the best other logit over the label's."""
    logits = model(x).detach()
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - logits.gather(1, y[:, None]).squeeze(1)


# ------------------------------------------------------------------------------------------------------ closed forms


def distances(model, x, y):
    """[n, K] to the hyperplane of each other class; infinity to the label's own."""
    margin = model(x).gather(1, y[:, None]) - model(x)
    slope = torch.linalg.vector_norm(model.weight[y][:, None] - model.weight, dim=2)
    return (margin / slope).nan_to_num(nan=torch.inf).double().detach()


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_a_linear_model_it_finds_the_margin_over_the_norm(classes, dtype):
    """Of many classes it goes to the likeliest, or to a nearer one, but not always to the nearest."""
    model = linear(classes, dtype)
    x, y = samples(model, 0.35, 0.65)
    away = distances(model, x, y)
    likeliest = model(x).scatter(1, y[:, None], -torch.inf).argmax(1)
    exact, expected = away.amin(1), away.gather(1, likeliest[:, None]).squeeze(1)
    result = attacks.cw(model, x, y, **FINE)
    assert result.success.all() and (result.norm >= exact * (1 - 1e-5)).all()
    assert (result.norm <= expected * 1.05 + 0.01).all() and result.norm.mean() <= 1.04 * expected.mean()


def test_where_the_bounds_are_in_the_way_it_goes_around_them():
    """Half of the inputs are on an edge, where the authors' tangent is flat."""
    model = linear(2)
    x, y = samples(model, -0.5, 1.5)
    assert 0.3 < ((x == 0) | (x == 1)).double().mean() < 0.7
    toward = (model.weight[1 - y] - model.weight[y]).detach()
    foot = hyperplane.project(x, toward, -lead(model, x, y), torch.zeros(()).to(x), torch.ones(()).to(x), "l2")
    exact = distance(foot, x, "l2")
    result = attacks.cw(model, x, y, steps=150, learning_rate=0.05)
    assert result.success.all() and torch.isfinite(result.x_adv).all()
    assert ((result.x_adv >= 0) & (result.x_adv <= 1)).all()
    assert (result.norm >= exact * (1 - 1e-9)).all() and result.norm.mean() <= 1.03 * exact.mean()
    moved = (result.x_adv != x) & ((x == 0) | (x == 1))
    assert moved.any(1).double().mean() > 0.9


def test_a_target_is_reached_by_the_nearest_way():
    model = linear(2)
    x, y = samples(model, 0.3, 0.7)
    assert torch.equal(attacks.cw(model, x, y, target=1 - y, **QUICK).x_adv, attacks.cw(model, x, y, **QUICK).x_adv)
    model = linear(5)
    x, y = samples(model, 0.3, 0.7)
    far = [attacks.cw(model, x, y, target=(y + k) % 5, **FINE) for k in range(1, 5)]
    for k, result in enumerate(far, 1):
        assert result.success.all() and torch.equal(model(result.x_adv).argmax(1), (y + k) % 5)
    exact = distances(model, x, y).amin(1)  # there the nearest class is the likeliest of all
    nearest = torch.stack([result.norm for result in far]).amin(0)
    assert (nearest >= exact * (1 - 1e-9)).all() and nearest.mean() <= 1.03 * exact.mean()
    there = attacks.cw(model, x, y, target=y)
    assert there.success.all() and torch.equal(there.x_adv, x) and (there.forwards == 1).all()


@pytest.mark.parametrize("targeted", [False, True])
def test_a_lead_of_kappa_is_reached_and_costs_distance(targeted):
    model = linear(3)
    x, y = samples(model, 0.3, 0.7)
    aim = {"target": (y + 1) % 3} if targeted else {}
    near, sure = (attacks.cw(model, x, y, kappa=kappa, **aim, **QUICK) for kappa in (0.0, 0.5))
    assert near.success.all() and sure.success.all()
    ahead = -lead(model, sure.x_adv, aim["target"]) if targeted else lead(model, sure.x_adv, y)
    assert (ahead >= 0.5).all() and ahead.median() < 0.6
    assert (sure.norm > near.norm).all()


# ---------------------------------------------------------------------------------------------------- the weight c


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_logits_hardly_matters(scale):
    """It asks for another c, which is looked for."""
    model = linear(3)
    x, y = samples(model, 0.3, 0.7)
    plain, scaled = (
        attacks.cw(m, x, y, steps=100, learning_rate=0.02, searches=12) for m in (model, lambda x: scale * model(x))
    )
    assert plain.success.all() and scaled.success.all()
    assert float(scaled.norm.mean()) == pytest.approx(float(plain.norm.mean()), rel=0.05)


def test_more_searches_come_no_farther_and_lose_nothing(row_wise):
    model, x, y = row_wise()
    found = [attacks.cw(model, x, y, **QUICK | {"searches": number}) for number in (1, 3, 6, 9)]
    for fewer, more in itertools.pairwise(found):
        assert not (fewer.success & ~more.success).any()
        assert (more.norm <= fewer.norm)[fewer.success].all()
    assert found[-1].success.all() and (found[-1].norm < found[2].norm).any()
    assert found[0].success.sum() < found[-1].success.sum()


def test_more_steps_come_nearer(row_wise):
    model, x, y = row_wise()
    few, many = (attacks.cw(model, x, y, **QUICK | {"steps": steps}) for steps in (10, 100))
    both = few.success & many.success
    assert many.norm[both].mean() < few.norm[both].mean() and few.forwards.sum() < many.forwards.sum()


# --------------------------------------------------------------------------------------------------------------- eps


def test_only_points_within_eps_count(row_wise):
    model, x, y = row_wise()
    far = attacks.cw(model, x, y, **QUICK)
    assert far.success.all()
    eps = float(far.norm[far.clean_correct].sort().values[17:19].mean())
    near = attacks.cw(model, x, y, eps=eps, **QUICK)
    assert torch.equal(near.success, far.norm <= eps) and 0.3 < near.attack_success_rate < 0.7
    assert torch.equal(near.x_adv[near.success], far.x_adv[near.success])
    assert torch.equal(near.x_adv[~near.success], x[~near.success])
    each = torch.where(torch.arange(len(x)) % 2 == 0, eps, 9.0).double()
    mixed = attacks.cw(model, x, y, eps=each, **QUICK)
    assert torch.equal(mixed.success, far.norm <= each)
    first = attacks.cw(model, x, y, eps=eps, stop="success", **QUICK)
    assert torch.equal(first.success, near.success) and (first.norm >= near.norm).all()
    assert first.forwards.sum() < near.forwards.sum() and (first.norm <= eps).all()


# ------------------------------------------------------------------------------------------------------------ promises


def test_passes_are_counted_and_decided_samples_leave_the_batch(row_wise):
    model, x, y = row_wise()
    result = attacks.cw(model, x, y, **QUICK)
    assert sum(model.batches) == int(result.forwards.sum())
    assert model.batches == sorted(model.batches, reverse=True) and model.batches[-1] < len(x) - 3
    right = result.clean_correct
    assert (result.forwards[right] <= 1 + 6 * 40).all() and (result.forwards[right] < 200).any()
    assert (result.forwards[~right] == 1).all() and torch.equal(result.x_adv[~right], x[~right])
    assert not result.cycled.any() and (result.first_step[right] >= 1).all()


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("settings", [{}, {"eps": 0.3, "stop": "success"}, {"target": 1}, {"transform": jitter}])
def test_a_split_into_batches_changes_nothing(row_wise, batch, settings):
    model, x, y = row_wise()
    x, y = x[:20], y[:20]
    settings = QUICK | {"seed": 5, "steps": 15, "searches": 4} | settings
    whole = attacks.cw(model, x, y, **settings)
    ids = torch.arange(len(x))
    parts = [
        attacks.cw(model, x[i : i + batch], y[i : i + batch], sample_ids=ids[i : i + batch], **settings)
        for i in range(0, len(x), batch)
    ]
    assert whole.attack_success_rate > 0
    for name in FIELDS:
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ball_and_the_bounds_hold_and_labels_are_found_again(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 5)).to(dtype)
    x = (torch.rand(60, 1, 4, 4, dtype=dtype) * 1.4 - 0.2).clamp(0, 1)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    result = attacks.cw(model, x, y, eps=0.25, **QUICK)
    assert 0 < result.attack_success_rate < 1 and (distance(result.x_adv, x, "l2") <= 0.25).all()
    assert ((result.x_adv >= 0) & (result.x_adv <= 1)).all()
    assert torch.equal(model(result.x_adv).argmax(1), result.label_adv)
    assert torch.equal(result.label_adv != y, result.success)
    torch.testing.assert_close(result.loss, lead(model, result.x_adv, y), rtol=1e-4, atol=1e-6)


def test_labels_are_found_again_in_whatever_batch(digits_cnn):
    model, x, y = digits_cnn
    result = attacks.cw(model, x[:50], y[:50], **QUICK)
    for size in (1, 3, 32):
        assert torch.equal(torch.cat([model(some).argmax(1) for some in result.x_adv.split(size)]), result.label_adv)


def test_bounds_other_than_those_of_images(row_wise):
    model, x, y = row_wise((3, 2, 2))
    plain = attacks.cw(model, x, y, **QUICK)
    wide = attacks.cw(lambda x: model(x / 4 + 0.5), 4 * x - 2, y, bounds=(-2.0, 2.0), **QUICK)
    assert torch.equal(wide.success, plain.success)
    torch.testing.assert_close(wide.norm, 4 * plain.norm, rtol=1e-3, atol=1e-6)
    low, size = torch.tensor([-1.0, 0.0, 2.0]).double(), torch.tensor([2.0, 0.5, 1.0]).double()
    shape = (3, 1, 1)
    raw = lambda z: model((z - low.view(shape)) / size.view(shape))  # noqa: E731
    given = low.view(shape) + size.view(shape) * x
    result = attacks.cw(raw, given, y, bounds=(low, low + size), **QUICK)
    assert (result.x_adv >= low.view(shape)).all() and (result.x_adv <= (low + size).view(shape)).all()
    assert result.attack_success_rate > 0.9


def test_a_mask_leaves_the_others_alone(row_wise):
    model, x, y = row_wise()
    mask = torch.arange(len(x)) % 2 == 0
    some, every = (attacks.cw(model, x, y, mask=m, **QUICK) for m in (mask, None))
    assert torch.equal(some.x_adv[~mask], x[~mask]) and torch.equal(some.x_adv[mask], every.x_adv[mask])


def test_eps_zero_and_no_samples(row_wise):
    model, x, y = row_wise()
    result = attacks.cw(model, x, y, eps=0.0)
    assert torch.equal(result.x_adv, x) and torch.equal(result.success, ~result.clean_correct)
    assert (result.forwards == 1).all() and (result.backwards == 0).all()
    assert attacks.cw(linear(3), x[:0], y[:0], **QUICK).x_adv.shape == (0, D)


def test_flat_and_broken_gradients_do_no_harm():
    model = linear(3)
    x, y = samples(model, 0.3, 0.7)
    flat = attacks.cw(lambda x: model(x.round()), x, y, **QUICK)
    assert torch.equal(flat.x_adv[~flat.success], x[~flat.success])

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            g = g.clone()
            g[::2, 0], g[1::2, 1] = torch.nan, torch.inf
            return g

    broken = attacks.cw(lambda x: model(Broken.apply(x)), x, y, **QUICK)
    assert torch.isfinite(broken.x_adv).all() and broken.attack_success_rate > 0.5
    assert broken.nonfinite == int(broken.backwards.sum())


@pytest.mark.parametrize("fail_at", [None, 1, 9])
def test_the_model_is_left_as_it_was(awkward, fail_at):
    with awkward(fail_at=fail_at) as (model, x, y):
        if fail_at is None:
            attacks.cw(model, x, y, **QUICK)
        else:
            with pytest.raises(RuntimeError, match="say"):
                attacks.cw(model, x, y, **QUICK)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(row_wise, without):
    model, x, y = row_wise()
    expected = attacks.cw(model, x, y, **QUICK)
    with without():
        result = attacks.cw(model, x.clone(), y.clone(), **QUICK)
    assert torch.equal(result.x_adv, expected.x_adv) and not result.x_adv.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "linf"}, "norm is 'linf'; it must be 'l2'"),
        ({"eps": -0.1}, "eps is -0.1"),
        ({"eps": torch.ones(1, D)}, "norm 'l2' measures all channels alike"),
        ({"steps": 0}, "steps is 0"),
        ({"searches": 0}, "searches is 0"),
        ({"kappa": -1.0}, "kappa is -1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be a finite number above zero"),
        ({"initial_c": float("inf")}, "initial_c is inf"),
        ({"bounds": (0.0, float("inf"))}, "this attack needs finite ones"),
        ({"stop": "cycle"}, "'success' or 'never'"),
        ({"target": 4}, "target has labels from 4 to 4"),
        ({"y": torch.full((40,), 7)}, "y has labels from 7 to 7"),
        ({"model": lambda x: x[:, :4].detach()}, "no gradient"),
        ({"model": lambda x: x[:, :4].softmax(1)}, "probabilities"),
    ],
)
def test_errors_name_what_was_given(row_wise, change, message):
    model, x, y = row_wise()
    with pytest.raises(ValueError, match=message):
        attacks.cw(**{"model": model, "x": x, "y": y} | change)


# ------------------------------------------------------------------------------------------------------------- peers


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("steps", "rate"), [(100, 0.05), (300, 0.01)])
def test_as_near_as_foolbox_with_the_same_steps(digits_cnn, steps, rate):
    foolbox = pytest.importorskip("foolbox")
    model, x, y = digits_cnn
    x, y = x[:60], y[:60]
    peer = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=9, steps=steps, stepsize=rate)
    _, points, fooled = peer(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=None)
    ours = attacks.cw(model, x, y, steps=steps, learning_rate=rate)
    right = ours.clean_correct
    theirs = distance(points, x, "l2")[right].mean()
    print(f"\nC&W {steps} steps of {rate}: mean distance {ours.norm[right].mean():.4f}, foolbox {theirs:.4f}")
    assert ours.success.all() and fooled.all() and ours.norm[right].mean() <= 1.01 * theirs


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_nearer_than_torchattacks_with_its_fixed_c(digits_cnn):
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = digits_cnn
    x, y = x[:60], y[:60]
    ours = attacks.cw(model, x, y, steps=150, learning_rate=0.05)
    for c in (1, 10):
        points = torchattacks.CW(model, c=c, steps=400)(x, y)
        fooled = (model(points).argmax(1) != y) & ours.clean_correct
        theirs = distance(points, x, "l2")[fooled].mean()
        mine = ours.norm[fooled].mean()
        print(f"\nC&W: {mine:.4f}, torchattacks c={c} {theirs:.4f} where it succeeds ({fooled.sum()})")
        assert mine <= 1.02 * theirs
