"""DeepFool: closed forms on linear models, what is added to it at the bounds, the exact promises, and peers."""

import pytest
import torch
from torch import nn

from dlbench import attacks
from dlbench.attacks.geometry import distance
from dlbench.ops.reference import hyperplane

from .conftest import D, held_out, jitter, linear, samples

NORMS = ("linf", "l2")
DUAL = {"linf": 1, "l2": 2}
FIELDS = ("x_adv", "success", "label_adv", "loss", "first_step", "clean_correct", "norm")


def distances(model, x, y, norm):
    """[n, K] to the hyperplane of each other class; infinity to the label's own."""
    margin = model(x).gather(1, y[:, None]) - model(x)
    slope = torch.linalg.vector_norm(model.weight[y][:, None] - model.weight, DUAL[norm], dim=2)
    return (margin / slope).nan_to_num(nan=torch.inf).double().detach()


# ------------------------------------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 14])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_an_affine_model_one_step_leads_to_the_nearest_of_all_hyperplanes(norm, classes, dtype):
    model = linear(classes, dtype)
    x, y = samples(model, -0.2, 0.2)
    exact = distances(model, x, y, norm)
    wide = {"norm": norm, "bounds": (-9.0, 9.0)}
    result = attacks.deepfool(model, x, y, refine=0, **wide)
    assert result.success.all() and (result.first_step == 1).all()
    slack = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]  # so that rounding does not undo it
    torch.testing.assert_close(result.norm, 1.02 * exact.amin(1), rtol=1e-4, atol=slack)  # the overshoot
    nearest, second = exact.sort(1).values[:, :2].unbind(1)
    clear = second > 1.05 * nearest
    assert torch.equal(result.label_adv[clear], exact.argmin(1)[clear]) and clear.sum() > 20
    refined = attacks.deepfool(model, x, y, **wide)
    assert refined.success.all() and torch.equal(refined.first_step, result.first_step)
    assert (refined.norm >= exact.amin(1) * (1 - 1e-5)).all() and (refined.norm <= exact.amin(1) * 1.0011 + slack).all()


@pytest.mark.parametrize("norm", NORMS)
def test_where_the_bounds_are_in_the_way_it_finds_the_nearest_point_inside_them(norm):
    model = linear(2)
    x, _ = samples(model, -0.3, 1.3)
    x = x.clamp(0, 1)
    y = model(x).argmax(1)
    result = attacks.deepfool(model, x, y, norm=norm)
    toward = (model.weight[1 - y] - model.weight[y]).detach()
    gap = (model(x).gather(1, y[:, None]) - model(x).gather(1, (1 - y)[:, None])).squeeze(1).detach()
    foot = hyperplane.project(x, toward, gap, torch.zeros(()).to(x), torch.ones(()).to(x), norm)
    exact, free = distance(foot, x, norm), distances(model, x, y, norm).amin(1)
    assert (exact > 1.05 * free).sum() > 10  # the bounds do matter
    assert (result.norm >= exact * (1 - 1e-9)).all() and (result.norm <= exact * 1.03).all()
    assert ((result.x_adv >= 0) & (result.x_adv <= 1)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_target_is_reached_through_the_class_ahead(norm):
    model = linear(2)
    x, y = samples(model, -0.2, 0.2)
    wide = {"norm": norm, "bounds": (-9.0, 9.0)}
    two = attacks.deepfool(model, x, y, target=1 - y, **wide)
    assert torch.equal(two.x_adv, attacks.deepfool(model, x, y, **wide).x_adv)
    model = linear(5)
    x, y = samples(model, -0.2, 0.2)
    target = (y + 2) % 5
    result = attacks.deepfool(model, x, y, target=target, **wide)
    assert result.success.all() and torch.equal(model(result.x_adv).argmax(1), target)
    exact = distances(model, x, y, norm).gather(1, target[:, None]).squeeze(1)  # of one of the planes to be crossed
    assert (result.norm >= exact * (1 - 1e-9)).all() and result.norm.median() < 1.5 * exact.median()
    there = attacks.deepfool(model, x, y, target=y, **wide)
    assert there.success.all() and torch.equal(there.x_adv, x) and (there.forwards == 1).all()


def test_all_classes_are_tried_unless_told_otherwise():
    model = linear(14)
    x, y = samples(model, -0.2, 0.2)
    wide = {"bounds": (-9.0, 9.0), "refine": 0}
    every, one = (attacks.deepfool(model, x, y, target_classes=k, **wide) for k in (None, 1))
    assert (every.backwards == 13).all() and (one.backwards == one.first_step).all()
    assert (every.norm <= one.norm * (1 + 1e-9)).all() and (every.norm < 0.9 * one.norm).any()


# --------------------------------------------------------------------------------------------------------------- eps


@pytest.mark.parametrize("norm", NORMS)
def test_only_points_within_eps_count(row_wise, norm):
    model, x, y = row_wise()
    far = attacks.deepfool(model, x, y, norm=norm)
    assert far.success.all()
    right = far.clean_correct
    eps = float(far.norm[right].sort().values[17:19].mean())
    near = attacks.deepfool(model, x, y, norm=norm, eps=eps)
    assert torch.equal(near.success, far.norm <= eps) and 0.3 < near.attack_success_rate < 0.7
    assert torch.equal(near.x_adv[near.success], far.x_adv[near.success])
    lost = ~near.success
    assert torch.equal(near.x_adv[lost], x[lost]) and torch.equal(near.label_adv[lost], y[lost])
    assert (near.first_step[lost] == -1).all() and (near.norm[lost] == 0).all()
    loss = model(x).scatter(1, y[:, None], -torch.inf).amax(1) - model(x).gather(1, y[:, None]).squeeze(1)
    torch.testing.assert_close(near.loss[lost], loss[lost])
    each = torch.where(torch.arange(len(x)) % 2 == 0, eps, 9.0).double()
    mixed = attacks.deepfool(model, x, y, norm=norm, eps=each)
    assert torch.equal(mixed.success, far.norm <= each)


def test_distances_are_measured_in_the_radius_of_a_channel():
    """Where a channel may hardly move, a class that needs it is far."""
    model = nn.Linear(2, 3, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]]))
        model.bias.copy_(torch.tensor([2.0, 0.0, 0.0]))
    x, y = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0])
    reached = [
        attacks.deepfool(model, x, y, norm="linf", eps=torch.tensor([radii], dtype=torch.float64)).label_adv.item()
        for radii in ([1.0, 1.0], [0.1, 1.0])
    ]
    assert reached == [1, 2]


# ------------------------------------------------------------------------------------------------------------ promises


@pytest.mark.parametrize("norm", NORMS)
def test_halving_comes_nearer_and_loses_none(row_wise, norm):
    model, x, y = row_wise()
    plain, fine = (attacks.deepfool(model, x, y, norm=norm, refine=number) for number in (0, 10))
    assert torch.equal(plain.success, fine.success) and torch.equal(plain.first_step, fine.first_step)
    right = plain.clean_correct
    assert (fine.norm <= plain.norm).all() and (fine.norm < 0.99 * plain.norm)[right].float().mean() > 0.5
    assert (fine.forwards - plain.forwards)[right].unique().tolist() == [10]
    assert torch.equal(fine.backwards, plain.backwards)
    assert (fine.forwards[~right] == 1).all() and torch.equal(fine.x_adv[~right], x[~right])


def test_passes_are_counted_and_decided_samples_leave_the_batch(row_wise):
    model, x, y = row_wise()
    result = attacks.deepfool(model, x, y)
    assert sum(model.batches) == int(result.forwards.sum())
    walk = model.batches[: len(model.batches) - 10]
    assert walk[:2] == [len(x), len(x) - 3] and walk == sorted(walk, reverse=True) and walk[-1] < len(x) - 3
    won = result.clean_correct
    assert torch.equal(result.backwards[won], 3 * result.first_step[won]) and not result.cycled.any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("settings", [{}, {"eps": 0.3}, {"target": 1}, {"transform": jitter, "eot_samples": 3}])
def test_a_split_into_batches_changes_nothing(row_wise, norm, batch, settings):
    model, x, y = row_wise()
    whole = attacks.deepfool(model, x, y, norm=norm, seed=5, **settings)
    ids = torch.arange(len(x))
    parts = [
        attacks.deepfool(
            model, x[i : i + batch], y[i : i + batch], sample_ids=ids[i : i + batch], norm=norm, seed=5, **settings
        )
        for i in range(0, len(x), batch)
    ]
    assert whole.attack_success_rate > 0
    for name in FIELDS:
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ball_and_the_bounds_hold_and_labels_are_found_again(norm, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 5)).to(dtype)
    x = (torch.rand(60, 1, 4, 4, dtype=dtype) * 1.4 - 0.2).clamp(0, 1)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    eps = {"linf": 0.08, "l2": 0.25}[norm]
    result = attacks.deepfool(model, x, y, eps=eps, norm=norm)
    assert 0 < result.attack_success_rate < 1
    assert (distance(result.x_adv, x, norm) <= eps).all()
    assert ((result.x_adv >= 0) & (result.x_adv <= 1)).all()
    assert torch.equal(model(result.x_adv).argmax(1), result.label_adv)
    assert torch.equal(result.label_adv != y, result.success)


def test_fab_comes_nearer_and_deepfool_costs_less(row_wise):
    model, x, y = row_wise()
    for norm in NORMS:
        quick = attacks.deepfool(model, x, y, norm=norm)
        slow = attacks.fab(model, x, y, eps=9.0, norm=norm, steps=30, stop="never")
        right = quick.clean_correct
        assert slow.norm[right].mean() <= quick.norm[right].mean() * 1.001 < slow.norm[right].mean() * 1.2
        assert quick.forwards.sum() < slow.forwards.sum() / 2


def test_more_answers_find_points_that_other_draws_confirm(row_wise):
    model, x, _ = row_wise()
    y = model(x).argmax(1)
    holding = {}
    for answers in (1, 25):
        result = attacks.deepfool(model, x, y, eot_samples=answers, transform=jitter)
        wrong = (held_out(model, result.x_adv) != y[:, None]).double().mean(1)
        holding[answers] = (result.success & (wrong > 0.4)).sum()
    assert holding[25] > holding[1]


def test_a_mask_leaves_the_others_alone(row_wise):
    model, x, y = row_wise()
    mask = torch.arange(len(x)) % 2 == 0
    some, every = (attacks.deepfool(model, x, y, mask=m) for m in (mask, None))
    assert torch.equal(some.x_adv[~mask], x[~mask]) and torch.equal(some.x_adv[mask], every.x_adv[mask])


def test_eps_zero_and_no_samples(row_wise):
    model, x, y = row_wise()
    result = attacks.deepfool(model, x, y, eps=0.0)
    assert torch.equal(result.x_adv, x) and torch.equal(result.success, ~result.clean_correct)
    assert (result.forwards == 1).all() and (result.backwards == 0).all()
    assert attacks.deepfool(linear(3), x[:0], y[:0]).x_adv.shape == (0, D)


def test_flat_and_broken_gradients_do_no_harm():
    model = linear(3)
    x, y = samples(model, 0.3, 0.7)
    flat = attacks.deepfool(lambda x: model(x.round()), x, y, steps=4)
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

    broken = attacks.deepfool(lambda x: model(Broken.apply(x)), x, y)
    assert torch.isfinite(broken.x_adv).all() and broken.attack_success_rate > 0.5 and broken.nonfinite > 0


@pytest.mark.parametrize("norm", NORMS)
def test_labels_are_found_again_in_whatever_batch(digits_cnn, norm):
    """Points at the boundary itself would have one label here and another there."""
    model, x, y = digits_cnn
    for refine in (0, 20):
        result = attacks.deepfool(model, x, y, norm=norm, refine=refine)
        for size in (1, 3, 64):
            labels = torch.cat([model(some).argmax(1) for some in result.x_adv.split(size)])
            assert torch.equal(labels, result.label_adv)


def test_half_precision_finds_no_less(digits_cnn):
    model, x, y = digits_cnn
    fine, coarse = (attacks.deepfool(model, x[:60], y[:60], autocast=dtype) for dtype in (None, torch.bfloat16))
    right = fine.clean_correct
    assert fine.success.all() and coarse.success.all()
    assert float(coarse.norm[right].mean()) == pytest.approx(float(fine.norm[right].mean()), rel=0.02)


@pytest.mark.parametrize("bounds", [(-1e3, 1e3), (-float("inf"), float("inf"))])
def test_without_bounds(bounds):
    model = linear(3)
    x, y = samples(model, -0.2, 0.2)
    result = attacks.deepfool(model, x, y, bounds=bounds)
    exact = distances(model, x, y, "l2").amin(1)
    assert (result.norm >= exact * (1 - 1e-9)).all() and (result.norm <= exact * 1.0011).all()


@pytest.mark.parametrize("fail_at", [None, 1, 4])
def test_the_model_is_left_as_it_was(awkward, fail_at):
    with awkward(fail_at=fail_at) as (model, x, y):
        if fail_at is None:
            attacks.deepfool(model, x, y)
        else:
            with pytest.raises(RuntimeError, match="say"):
                attacks.deepfool(model, x, y)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(row_wise, without):
    model, x, y = row_wise()
    expected = attacks.deepfool(model, x, y)
    with without():
        result = attacks.deepfool(model, x.clone(), y.clone())
    assert torch.equal(result.x_adv, expected.x_adv) and not result.x_adv.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "l1"}, "'l1'; it must be 'linf' or 'l2'"),
        ({"eps": -0.1}, "eps is -0.1"),
        ({"steps": 0}, "steps is 0"),
        ({"refine": -1}, "refine is -1; it must be a whole number, 0 or more"),
        ({"overshoot": -0.1}, "overshoot is -0.1"),
        ({"target_classes": 0}, "target_classes is 0"),
        ({"target_classes": 2, "target": 1}, "target_classes is 2 and a target is given"),
        ({"target": 4}, "target has labels from 4 to 4; the model knows 0 to 3"),
        ({"y": torch.full((40,), 7)}, "y has labels from 7 to 7"),
        ({"eps": torch.ones(40, 2)}, r"eps has shape \[40, 2\]"),
        ({"model": lambda x: x[:, :4].detach()}, "no gradient"),
        ({"model": lambda x: x[:, :4].softmax(1)}, "probabilities"),
        ({"x": torch.full((40, D), 1.5)}, "pass the bounds of your inputs"),
    ],
)
def test_errors_name_what_was_given(row_wise, change, message):
    model, x, y = row_wise()
    with pytest.raises(ValueError, match=message):
        attacks.deepfool(**{"model": model, "x": x, "y": y} | change)


# ------------------------------------------------------------------------------------------------------------- peers


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounds", [(-9.0, 10.0), (0.0, 1.0)])
def test_as_near_as_foolbox(digits_cnn, norm, bounds):
    """Without bounds in the way and without halving it is the same attack; at the bounds it comes nearer."""
    foolbox = pytest.importorskip("foolbox")
    model, x, y = digits_cnn
    peer = {"l2": foolbox.attacks.L2DeepFoolAttack, "linf": foolbox.attacks.LinfDeepFoolAttack}[norm]()
    _, points, fooled = peer(foolbox.PyTorchModel(model, bounds=bounds), x, y, epsilons=None)
    ours = attacks.deepfool(model, x, y, norm=norm, bounds=bounds, refine=0 if bounds[0] < 0 else 10)
    right = ours.clean_correct
    assert ours.success.all() and fooled.all()
    theirs = distance(points, x, norm)[right].mean()
    print(f"\nDeepFool {norm} in {bounds}: mean distance {ours.norm[right].mean():.4f}, foolbox {theirs:.4f}")
    if bounds[0] < 0:
        assert float(ours.norm[right].mean()) == pytest.approx(float(theirs), rel=0.01)
    assert ours.norm[right].mean() <= 1.02 * theirs


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_nearer_than_torchattacks_which_gives_up(digits_cnn):
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = digits_cnn
    points = torchattacks.DeepFool(model)(x, y)
    ours = attacks.deepfool(model, x, y)
    fooled = (model(points).argmax(1) != y) & ours.clean_correct
    theirs = distance(points, x, "l2")[fooled].mean()
    print(f"\nDeepFool: {ours.norm[fooled].mean():.4f} where torchattacks succeeds ({fooled.sum()}), {theirs:.4f}")
    assert ours.success.all() and ours.norm[fooled].mean() <= 1.02 * theirs
