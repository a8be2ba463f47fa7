"""FAB-T: closed forms on linear models, the relations between its settings, the exact promises, and a peer."""

import pytest
import torch
from torch import nn

from dlbench import attacks
from dlbench.attacks.geometry import distance
from dlbench.ops.reference import hyperplane

from .conftest import D, held_out, jitter, linear, samples

NORMS = ("linf", "l2")
DUAL = {"linf": 1, "l2": 2}


# ------------------------------------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_a_linear_model_it_finds_the_margin_over_the_dual_norm(norm, classes, dtype):
    model = linear(classes, dtype)
    x, y = samples(model, -0.2, 0.2)
    result = attacks.fab(model, x, y, eps=9.0, norm=norm, steps=20, bounds=(-9.0, 9.0), stop="never")
    margin = model(x).gather(1, y[:, None]) - model(x)
    slope = torch.linalg.vector_norm(model.weight[y][:, None] - model.weight, DUAL[norm], dim=2)
    exact = (margin / slope).nan_to_num(nan=torch.inf).amin(1).double().detach()
    assert result.success.all()
    assert (result.norm >= exact * (1 - 1e-5)).all() and (result.norm <= exact * 1.01).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 6])
def test_untargeted_it_goes_to_the_nearest_of_all_classes(norm, classes):
    """The likeliest class is often not the nearest; one walk finds which is."""
    model = linear(classes)
    x, y = samples(model, -0.2, 0.2)
    margin = model(x).gather(1, y[:, None]) - model(x)
    slope = torch.linalg.vector_norm(model.weight[y][:, None] - model.weight, DUAL[norm], dim=2)
    distances = (margin / slope).nan_to_num(nan=torch.inf).detach()
    wide = {"eps": 9.0, "norm": norm, "bounds": (-9.0, 9.0), "stop": "never"}
    result = attacks.fab(model, x, y, steps=20, targeted=False, **wide)
    nearest, second = distances.sort(1).values[:, :2].unbind(1)  # where they are alike the walk changes its mind
    assert result.success.all() and (result.norm <= nearest * 1.05).all()
    clear = second > 1.1 * nearest
    assert torch.equal(model(result.x_adv).argmax(1)[clear], distances.argmin(1)[clear]) and clear.sum() > 20
    others = classes - 1  # every step asks about each of them; where it ends is only looked at
    assert (result.forwards == 2 + 20 * others).all() and (result.backwards == 20 * others).all()
    to_the_likeliest = attacks.fab(model, x, y, steps=20, target_classes=1, **wide)
    assert classes == 2 or (result.norm < to_the_likeliest.norm * 0.99).any()


def test_untargeted_distances_are_measured_in_the_radius_of_a_channel():
    """Where a channel may hardly move, a class that needs it is far."""
    model = nn.Linear(2, 3, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]]))
        model.bias.copy_(torch.tensor([2.0, 0.0, 0.0]))
    x, y = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0])
    reached = [
        attacks.fab(model, x, y, eps=torch.tensor([radii], dtype=torch.float64), steps=5, targeted=False).x_adv[0]
        for radii in ([1.0, 1.0], [0.1, 1.0])
    ]
    assert [model(point).argmax().item() for point in reached] == [1, 2]


@pytest.mark.parametrize("norm", NORMS)
def test_where_the_bounds_are_in_the_way_it_goes_around_them(norm):
    model = linear(2)
    x, y = samples(model, -0.3, 1.3)
    x = x.clamp(0, 1)
    y = model(x).argmax(1)
    result = attacks.fab(model, x, y, eps=9.0, norm=norm, steps=50, stop="never")
    toward = (model.weight[1 - y] - model.weight[y]).detach()
    gap = -model(x).gather(1, (1 - y)[:, None]) + model(x).gather(1, y[:, None])
    foot = hyperplane.project(x, toward, gap.squeeze(1).detach(), torch.zeros(()).to(x), torch.ones(()).to(x), norm)
    exact = distance(foot, x, norm)
    assert ((foot == 0) | (foot == 1)).any()
    assert (result.norm >= exact * (1 - 1e-9)).all() and (result.norm <= exact * 1.01).all()


@pytest.mark.parametrize("norm", NORMS)
def test_only_points_within_eps_count(norm):
    model = linear(3)
    x, y = samples(model, 0.3, 0.7)
    far = attacks.fab(model, x, y, eps=9.0, norm=norm, steps=30, stop="never")
    assert far.success.all()
    eps = float(far.norm.sort().values[19:21].mean())
    near = attacks.fab(model, x, y, eps=eps, norm=norm, steps=30, stop="never")
    assert torch.equal(near.success, far.norm <= eps) and 0.3 < near.attack_success_rate < 0.7
    assert torch.equal(near.x_adv[near.success], far.x_adv[near.success])
    assert torch.equal(near.x_adv[~near.success], x[~near.success])
    each = torch.where(torch.arange(len(x)) % 2 == 0, eps, 9.0).double()
    mixed = attacks.fab(model, x, y, eps=each, norm=norm, steps=30, stop="never")
    assert torch.equal(mixed.success, far.norm <= each)


# --------------------------------------------------------------------------------------------------------- relations


@pytest.mark.parametrize("norm", NORMS)
def test_more_steps_restarts_and_classes_come_no_less_near(row_wise, norm):
    model, x, y = row_wise(classes=6)
    settings = {"eps": {"linf": 0.3, "l2": 1.0}[norm], "norm": norm, "stop": "never"}
    least = attacks.fab(model, x, y, steps=3, target_classes=1, **settings)
    for more in ({"steps": 12}, {"restarts": 3}, {"target_classes": 4}):
        found = attacks.fab(model, x, y, **settings | {"steps": 3, "target_classes": 1} | more)
        assert not (least.success & ~found.success).any()
        known = least.success & found.clean_correct
        assert (found.norm <= least.norm)[known].all(), more
        assert "restarts" in more or (found.norm < least.norm)[known].any(), more


def test_going_on_after_success_comes_nearer_and_loses_none(row_wise):
    model, x, y = row_wise()
    first = attacks.fab(model, x, y, eps=0.1, steps=10)
    best = attacks.fab(model, x, y, eps=0.1, steps=10, stop="never")
    assert torch.equal(first.success, best.success) and 0 < first.attack_success_rate < 1
    won = first.success
    assert (best.norm[won] <= first.norm[won]).all() and (best.norm < first.norm)[won].any()
    right = best.clean_correct  # a class costs one start and 10 steps
    assert (best.forwards[right] == 1 + 3 * 11).all() and (best.backwards[right] == 3 * 10).all()
    assert (best.forwards[~right] == 1).all() and (best.norm[~right] == 0).all()
    assert torch.equal(best.x_adv[~right], x[~right])


def test_pgd_finds_hardly_more(row_wise):
    model, x, y = row_wise()
    for eps in (0.03, 0.06, 0.1):
        fab = attacks.fab(model, x, y, eps=eps, steps=30)
        pgd = attacks.pgd(model, x, y, eps=eps, steps=50, restarts=5)
        assert fab.robust_accuracy <= pgd.robust_accuracy + 1 / len(x)


# --------------------------------------------------------------------------------------- random models and transforms


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [True, False])
def test_the_boundary_is_that_of_the_mean_of_the_answers(row_wise, norm, targeted):
    """Answers that differ in scale and offset, and are those of a model that is not random on average."""
    model, x, y = row_wise()
    x, y = x[3:], model(x).argmax(1)[3:]
    seen = {}

    def watched(answers):
        def several(points):
            seen.setdefault(answers, []).append(points.detach()[::answers].clone())
            which = torch.arange(len(points)) % answers
            scale = torch.tensor([0.5, 1.0, 1.5]).double()[which, None] if answers > 1 else 1.0
            offset = torch.eye(4).double()[which] - 1 / 3 if answers > 1 else 0.0
            return scale * model(points) + 3e-2 * offset * (torch.arange(4) < 3)

        return several

    for answers in (1, 3):
        settings = {"eps": 1.0, "norm": norm, "steps": 2, "targeted": targeted, "stop": "never"}
        attacks.fab(watched(answers), x, y, eot_samples=answers, **settings)
    first = 1 if targeted else 3  # the questions about x itself, one for each class
    for question in range(1 + first + 1):
        torch.testing.assert_close(seen[3][question], seen[1][question], rtol=0, atol=1e-12)
    assert not torch.equal(seen[3][first], seen[3][first + 1])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [True, False])
def test_draws_name_the_transform_whatever_the_batch(row_wise, norm, targeted):
    model, x, y = row_wise()
    settings = {"eps": {"linf": 0.1, "l2": 0.3}[norm], "norm": norm, "steps": 3, "restarts": 2, "targeted": targeted}
    settings |= {"transform": jitter, "eot_samples": 3}
    whole = attacks.fab(model, x, y, **settings)
    ids = torch.arange(len(x))
    parts = [
        attacks.fab(model, x[i : i + 9], y[i : i + 9], sample_ids=ids[i : i + 9], **settings)
        for i in range(0, len(x), 9)
    ]
    assert 0 < whole.attack_success_rate < 1
    for name in ("x_adv", "success", "label_adv", "loss", "first_step", "clean_correct", "norm"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name


@pytest.mark.parametrize(("targeted", "walks", "classes"), [(True, 3, 1), (False, 1, 3)])
def test_every_answer_is_counted(row_wise, targeted, walks, classes):
    model, x, y = row_wise()
    settings = {"eps": 0.1, "steps": 5, "targeted": targeted, "stop": "never", "transform": jitter}
    result = attacks.fab(model, x, y, eot_samples=4, **settings)
    right = result.clean_correct
    assert (result.forwards[right] == 4 * (1 + walks * (5 * classes + 1))).all()
    assert (result.backwards[right] == 4 * walks * 5 * classes).all()
    assert (result.forwards[~right] == 4).all() and sum(model.batches) == int(result.forwards.sum())


def test_more_answers_find_points_that_other_draws_confirm(row_wise):
    model, x, _ = row_wise()
    y = model(x).argmax(1)
    holding = {}
    for answers in (1, 25):
        result = attacks.fab(model, x, y, eps=0.1, steps=10, eot_samples=answers, transform=jitter)
        wrong = (held_out(model, result.x_adv) != y[:, None]).double().mean(1)
        holding[answers] = (result.success & result.clean_correct & (wrong > 0.5)).sum()
    assert holding[25] > 2 * holding[1] > 0


def test_a_model_with_dropout_left_on(row_wise):
    model, x, y = row_wise()
    random = lambda points: model(nn.functional.dropout(points, 0.1))  # noqa: E731
    torch.manual_seed(0)
    state = torch.get_rng_state()
    result, again = (attacks.fab(random, x, y, eps=0.1, steps=5, eot_samples=9) for _ in range(2))
    assert torch.equal(result.x_adv, again.x_adv) and torch.equal(torch.get_rng_state(), state)
    assert 0 < result.attack_success_rate < 1 and (result.norm <= 0.1).all()
    assert (result.forwards % 9 == 0).all() and (result.backwards % 9 == 0).all()


# ---------------------------------------------------------------------------------------------------- exact promises


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stop", ["success", "never"])
def test_the_ball_and_the_bounds_hold_and_labels_are_found_again(norm, dtype, stop):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 5)).to(dtype)
    x = (torch.rand(60, 1, 4, 4, dtype=dtype) * 1.4 - 0.2).clamp(0, 1)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    eps = {"linf": 0.08, "l2": 0.25}[norm]
    result = attacks.fab(model, x, y, eps=eps, norm=norm, steps=15, restarts=2, stop=stop)
    assert 0 < result.attack_success_rate < 1
    assert (distance(result.x_adv, x, norm) <= eps).all()
    assert ((result.x_adv >= 0) & (result.x_adv <= 1)).all()
    logits = model(result.x_adv)
    assert torch.equal(logits.argmax(1), result.label_adv) and torch.equal(result.label_adv != y, result.success)
    own = logits.gather(1, y[:, None]).squeeze(1)
    torch.testing.assert_close(
        result.loss, logits.scatter(1, y[:, None], -torch.inf).amax(1) - own, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("batch", [1, 7])
def test_a_split_into_batches_changes_nothing(row_wise, norm, batch):
    model, x, y = row_wise()
    settings = {"eps": {"linf": 0.06, "l2": 0.2}[norm], "norm": norm, "restarts": 2, "steps": 4, "seed": 5}
    whole = attacks.fab(model, x, y, **settings)
    ids = torch.arange(len(x))
    parts = [
        attacks.fab(model, x[i : i + batch], y[i : i + batch], sample_ids=ids[i : i + batch], **settings)
        for i in range(0, len(x), batch)
    ]
    assert 0 < whole.attack_success_rate < 1
    for name in ("x_adv", "success", "label_adv", "loss", "first_step", "clean_correct", "norm"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name


def test_decided_samples_leave_the_batch(row_wise):
    model, x, y = row_wise()
    result = attacks.fab(model, x, y, eps=0.06, steps=10)
    assert model.batches[:2] == [len(x), len(x) - 3]
    assert model.batches == sorted(model.batches, reverse=True) and model.batches[-1] < len(x) - 3
    assert sum(model.batches) == int(result.forwards.sum())
    held = ~result.success
    assert (result.forwards[held] == 1 + 3 * 11).all() and (result.first_step[held] == -1).all()
    won = result.success & result.clean_correct
    assert torch.equal(result.first_step[won], result.backwards[won]) and (result.first_step[won] >= 1).all()


def test_the_seed_decides_where_restarts_begin(row_wise):
    model, x, y = row_wise()
    settings = {"eps": 0.2, "steps": 1, "restarts": 2, "stop": "never"}
    same = [attacks.fab(model, x, y, seed=seed, **settings).x_adv for seed in (1, 1, 2)]
    assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])


@pytest.mark.parametrize("norm", NORMS)
def test_later_restarts_begin_inside_half_of_the_ball(row_wise, norm):
    model, x, y = row_wise()
    seen = []
    watched = lambda points: seen.append(points.detach().clone()) or model(points)  # noqa: E731
    attacks.fab(watched, x, y, eps=0.01, norm=norm, steps=1, restarts=2, target_classes=1, stop="never")
    clean, first, _, later, _ = seen
    assert torch.equal(clean, x) and torch.equal(first, x[3:])
    lengths = distance(later, x[3:], norm)
    assert (lengths <= 0.005).all() and (lengths > 0).all() and lengths.max() > 0.004


def test_bounds_other_than_those_of_images(row_wise):
    model, x, y = row_wise((3, 2, 2))
    plain = attacks.fab(model, x, y, eps=0.1, steps=8, stop="never")
    wide = attacks.fab(lambda x: model(x / 4 + 0.5), 4 * x - 2, y, eps=0.4, steps=8, bounds=(-2.0, 2.0), stop="never")
    assert torch.equal(wide.success, plain.success)
    torch.testing.assert_close(wide.norm, 4 * plain.norm)
    low, size = torch.tensor([-1.0, 0.0, 2.0]).double(), torch.tensor([2.0, 0.5, 1.0]).double()
    shape = (3, 1, 1)
    raw = lambda z: model((z - low.view(shape)) / size.view(shape))  # noqa: E731
    result = attacks.fab(
        raw, low.view(shape) + size.view(shape) * x, y, eps=0.2, steps=8, bounds=(low, low + size), stop="never"
    )
    assert (result.x_adv >= low.view(shape)).all() and (result.x_adv <= (low + size).view(shape)).all()
    assert 0 < result.attack_success_rate < 1


def test_a_mask_leaves_the_others_alone(row_wise):
    model, x, y = row_wise()
    mask = torch.arange(len(x)) % 2 == 0
    some, every = (attacks.fab(model, x, y, eps=0.1, steps=5, mask=m) for m in (mask, None))
    assert torch.equal(some.x_adv[~mask], x[~mask]) and torch.equal(some.x_adv[mask], every.x_adv[mask])


def test_labels_are_those_of_the_model_in_whatever_form_it_was_asked():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 4)).eval()
    x = torch.rand(100, 3, 6, 6)
    y = net(x).argmax(1)
    result = attacks.fab(attacks.Rewritten(net, x), x, y, eps=0.02, steps=10)
    assert torch.equal(net(result.x_adv).argmax(1), result.label_adv) and 0 < result.attack_success_rate < 1
    assert torch.equal(result.success, result.label_adv != y) and (result.norm <= 0.02).all()


def test_eps_zero_changes_nothing(row_wise):
    model, x, y = row_wise()
    result = attacks.fab(model, x, y, eps=0.0)
    assert torch.equal(result.x_adv, x) and torch.equal(result.success, ~result.clean_correct)
    assert (result.forwards == 1).all() and (result.backwards == 0).all()


def test_no_samples():
    none = torch.zeros(0, D, dtype=torch.float64)
    result = attacks.fab(linear(3), none, torch.zeros(0, dtype=torch.int64), eps=0.1)
    assert result.x_adv.shape == (0, D)


@pytest.mark.parametrize("norm", NORMS)
def test_flat_and_broken_gradients_do_no_harm(norm):
    model = linear(3)
    x, y = samples(model, 0.3, 0.7)
    flat = attacks.fab(lambda x: model(x.round()), x, y, eps=1.0, norm=norm, steps=4)
    assert torch.isfinite(flat.x_adv).all()

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            g = g.clone()
            g[::2, 0], g[1::2, 1] = torch.nan, torch.inf
            return g

    broken = attacks.fab(lambda x: model(Broken.apply(x)), x, y, eps=1.0, norm=norm, steps=10)
    assert torch.isfinite(broken.x_adv).all() and broken.attack_success_rate > 0.5
    assert broken.nonfinite == int(broken.backwards.sum())


# ---------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("fail_at", [None, 1, 4])
def test_the_model_is_left_as_it_was(awkward, fail_at):
    with awkward(fail_at=fail_at) as (model, x, y):
        if fail_at is None:
            attacks.fab(model, x, y, eps=0.1, restarts=2, steps=5)
        else:
            with pytest.raises(RuntimeError, match="say"):
                attacks.fab(model, x, y, eps=0.1, restarts=2, steps=5)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(row_wise, without):
    model, x, y = row_wise()
    expected = attacks.fab(model, x, y, eps=0.06, steps=5)
    with without():
        result = attacks.fab(model, x.clone(), y.clone(), eps=0.06, steps=5)
    assert torch.equal(result.x_adv, expected.x_adv) and not result.x_adv.requires_grad


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "l1"}, "'l1'; it must be 'linf' or 'l2'"),
        ({"eps": -0.1}, "eps is -0.1"),
        ({"steps": 0}, "steps is 0"),
        ({"eot_samples": 0}, "eot_samples is 0"),
        ({"target_classes": 0}, "target_classes is 0"),
        ({"eta": 0.9}, "eta is 0.9"),
        ({"beta": 1.1}, "beta is 1.1"),
        ({"alpha_max": -1}, "alpha_max is -1"),
        ({"stop": "soon"}, "'success' or 'never'"),
        ({"y": torch.full((40,), 7)}, "y has labels from 7 to 7"),
        ({"model": lambda x: x[:, :4].detach()}, "no gradient"),
        ({"model": lambda x: x.sum(1)}, "not logits"),
    ],
)
def test_errors_name_what_was_given(row_wise, change, message):
    model, x, y = row_wise()
    with pytest.raises(ValueError, match=message):
        attacks.fab(**{"model": model, "x": x, "y": y, "eps": 0.1} | change)


# ------------------------------------------------------------------------------------------------------------- peers


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("linf", 0.1), ("l2", 0.3), ("l2", 0.6)])
def test_torchattacks_fools_no_more(digits_cnn, norm, eps):
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = digits_cnn
    peer = torchattacks.FAB(model, norm=norm.capitalize(), eps=eps, steps=20, multi_targeted=True)
    points = peer(x, y)
    within = distance(points, x, norm) <= eps
    theirs = float(((model(points).argmax(1) == y) | ~within).double().mean())
    ours = attacks.fab(model, x, y, eps=eps, norm=norm, steps=20).robust_accuracy
    print(f"\nFAB-T {norm} eps {eps:g}: robust accuracy {ours:.3f}, torchattacks {theirs:.3f}")
    assert ours <= theirs + 0.02


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", NORMS)
def test_with_half_the_passes_it_comes_as_near_as_torchattacks(digits_cnn, norm):
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = digits_cnn
    whole = 64.0  # no point is farther away
    peer = torchattacks.FAB(model, norm=norm.capitalize(), eps=whole, steps=30, multi_targeted=True, n_classes=2)
    ours = attacks.fab(model, x, y, eps=whole, norm=norm, steps=30, target_classes=1, stop="never")
    right = ours.clean_correct
    theirs = distance(peer(x, y), x, norm)[right]
    ratio = ours.norm[right] / theirs
    print(f"\nFAB-T {norm}: nearest point over torchattacks', mean {ratio.mean():.4f}, worst {ratio.max():.4f}")
    assert ratio.mean() <= 1.001 and (ours.forwards[right] == 1 + 31).all()


def test_a_channel_that_may_not_move_hides_no_other():
    """With eps 0 in one channel, points count where the others take them: not a rounding error's breadth is lost."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()
    x = torch.rand(24, 3, 8, 8)
    y = net(x).argmax(1)
    eps = torch.tensor([0.05, 0.0, 0.05]).view(1, 3, 1, 1)
    result = attacks.fab(net, x, y, eps=eps, steps=15, target_classes=3)
    assert result.success.sum() > 12
    assert torch.equal(result.x_adv[:, 1], x[:, 1]) and ((result.x_adv - x).abs() <= eps + 1e-7).all()
