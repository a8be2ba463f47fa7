"""Auto-PGD: the paper's trajectory, closed forms, exact promises, few classes, and a peer at the same budget."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlbench import attacks
from dlbench.attacks.apgd import checkpoints

from .test_gradient import Awkward, D, K, N, RowWise, linear


@pytest.fixture(autouse=True)
def _same_numbers_each_time():
    torch.manual_seed(0)


@pytest.fixture
def problem():
    model = RowWise()
    x = torch.rand(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % K  # three that the model gets wrong
    model.batches.clear()
    return model, x, y


LOSSES = ["ce", "margin", "dlr", "dlr_targeted"]

# --------------------------------------------------------------------------------------------------- the algorithm


def test_checkpoints_are_the_official_ones():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1000) == [220, 410, 570, 700, 800, 870, 930, 990]
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9, 10] and checkpoints(1) == [1]


def dlr(logits, y):
    rest = logits.clone()
    rest[y] = -torch.inf
    ranked = logits.sort(descending=True).values
    return -(logits[y] - rest.max()) / (ranked[0] - ranked[2] + 1e-12)


def in_linf_ball(point, x, eps):
    return torch.minimum(torch.maximum(point, x - eps), x + eps).clamp(0, 1)


def in_l2_ball(point, x, eps):
    """The nearest point of ball and box together: on the way from x, clipped, as far out as the ball reaches."""
    inside, outside = 0.0, 1.0
    at = lambda share: (x + share * (point - x)).clamp(0, 1)  # noqa: E731
    if (at(1.0) - x).norm() <= eps:
        return at(1.0)
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if (at(middle) - x).norm() <= eps else (inside, middle)
    return at(inside)


BALLS = {"linf": (in_linf_ball, torch.sign), "l2": (in_l2_ball, lambda grad: grad / grad.norm())}


def paper(model, x, start, y, loss, eps, steps, norm="linf", rho=0.75):
    """Algorithm 1 of the paper for one sample: every point at which the loss is taken, and whether the step shrank."""
    project, direction = BALLS[norm]

    def told(point):
        point = point.clone().requires_grad_()
        value = loss(model(point[None])[0], y)
        return float(value.detach()), torch.autograd.grad(value, point)[0]

    step, before, point = 2 * eps, start, start
    f, grad = told(point)
    best, f_best, grad_best = point, f, grad
    rises, last, at_last = 0, 0, None
    points = [point]
    for k in range(1, steps + 1):
        a = 1.0 if k == 1 else 0.75
        z = project(point + step * direction(grad), x, eps)
        before, point = point, project(point + a * (z - point) + (1 - a) * (point - before), x, eps)
        points.append(point)
        f_before, (f, grad) = f, told(point)
        rises += f > f_before
        if f > f_best:
            best, f_best, grad_best = point, f, grad
        if k in checkpoints(steps):
            slow, stuck = rises < rho * (k - last), (step, f_best) == at_last
            rises, last, at_last = 0, k, (step, f_best)
            if slow or stuck:
                step, point, f, grad = step / 2, best, f_best, grad_best
    return torch.stack(points), step < 2 * eps


def visited(model, x, y, **settings):
    """The points at which an attack asks about all samples, after the samples themselves: [steps + 1, N, D]."""
    seen = []
    attacks.apgd(lambda p: seen.append(p.detach().clone()) or model(p), x, y, stop="never", **settings)
    assert torch.equal(seen[0], x)
    return torch.stack(seen[1:])


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("linf", 0.1), ("linf", 0.4), ("l2", 0.1), ("l2", 0.5)])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_the_trajectory_is_the_papers(problem, loss, norm, eps):
    model, x, y = problem
    literal = {"ce": lambda z, label: F.cross_entropy(z[None], label[None]), "dlr": dlr}[loss]
    points = visited(model, x, y, eps=eps, norm=norm, steps=40, loss=loss)
    shrunk = []
    for i in range(4):
        wanted, less = paper(model, x[i], points[0, i], y[i], literal, eps, 40, norm)
        torch.testing.assert_close(points[:, i], wanted, rtol=0, atol=1e-12 if norm == "linf" else 1e-5)
        shrunk.append(less)
    assert any(shrunk)


def test_a_targeted_run_is_the_papers_on_the_loss_that_falls(problem):
    model, x, y = problem
    points = visited(model, x, y, eps=0.1, steps=20, target=2)
    for i in range(5):
        fall = lambda z, label: -F.cross_entropy(z[None], torch.tensor([2]))  # noqa: E731
        wanted, _ = paper(model, x[i], points[0, i], y[i], fall, 0.1, 20)
        torch.testing.assert_close(points[:, i], wanted, rtol=0, atol=1e-12)


def test_each_target_class_is_raised_in_the_order_of_the_logits(problem):
    model, x, y = problem
    points = visited(model, x, y, eps=0.05, steps=5, loss="dlr_targeted", target_classes=2).view(2, 6, N, D)
    for i in range(6):
        likeliest = [label for label in model(x)[i].argsort(descending=True).tolist() if label != y[i]]
        for which, target in enumerate(likeliest[:2]):

            def ratio(z, label, target=target):
                ranked = z.sort(descending=True).values
                return -(z[label] - z[target]) / (ranked[0] - 0.5 * ranked[2] - 0.5 * ranked[3] + 1e-12)

            wanted, _ = paper(model, x[i], points[which, 0, i], y[i], ratio, 0.05, 5)
            torch.testing.assert_close(points[which, :, i], wanted, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize(("norm", "eps", "dual"), [("linf", 0.05, 1), ("l2", 0.1, 2)])
def test_on_a_linear_model_the_margin_falls_by_eps_times_the_dual_norm(loss, norm, eps, dual):
    model = linear()
    x = torch.rand(N, D, dtype=torch.float64) * 0.8 + 0.1  # far enough from the bounds
    y = model(x).argmax(1)
    result = attacks.apgd(model, x, y, eps=eps, norm=norm, loss=loss, steps=10, stop="never")
    own, other = model.weight[y], model.weight[1 - y]
    worst = ((own - other) * x).sum(1) - eps * (own - other).norm(dual, dim=1)
    assert torch.equal(result.success, worst < 0) and 0 < result.attack_success_rate < 1
    torch.testing.assert_close(result.loss, -worst if loss == "margin" else F.softplus(-worst))
    assert (result.norm <= eps).all()


def test_a_target_is_reached_exactly_where_a_linear_model_allows_it():
    model, eps = linear(), 0.05
    x = torch.rand(N, D, dtype=torch.float64) * 0.8 + 0.1
    result = attacks.apgd(model, x, torch.zeros(N, dtype=torch.int64), eps=eps, target=1, steps=5)
    toward = model.weight[1] - model.weight[0]
    assert torch.equal(result.success, (x @ toward) + eps * toward.abs().sum() > 0)


def test_a_saturated_model_falls_to_the_ratio_but_not_to_the_cross_entropy():
    model = linear(classes=5)
    sharp = lambda x: 1e5 * model(x)  # noqa: E731
    x = torch.rand(N, D)
    y = model.float()(x).argmax(1)
    rate = {
        loss: attacks.apgd(sharp, x, y, eps=0.1, steps=20, loss=loss).attack_success_rate
        for loss in ("ce", *LOSSES[2:])
    }
    assert rate["ce"] + 0.1 < rate["dlr"] <= rate["dlr_targeted"]


# --------------------------------------------------------------------------------------------------------- relations


@pytest.mark.parametrize("loss", LOSSES)
def test_more_restarts_steps_and_classes_never_weaken_the_attack(problem, loss):
    model, x, y = problem
    settings = {"eps": 0.1, "loss": loss, "stop": "never"}
    once = attacks.apgd(model, x, y, steps=9, **settings, target_classes=1)
    more = [attacks.apgd(model, x, y, steps=9, restarts=3, **settings, target_classes=1)]
    if loss == "dlr_targeted":
        more.append(attacks.apgd(model, x, y, steps=9, **settings))
    for other in more:
        assert not (once.success & ~other.success).any()
        assert (other.loss[once.success == other.success] >= once.loss[once.success == other.success]).all()


def test_the_loss_is_the_best_on_the_way_and_greater_after_more_steps(problem):
    model, x, y = problem
    few, many = (attacks.apgd(model, x, y, eps=0.1, steps=steps, stop="never") for steps in (3, 60))
    assert many.loss.mean() > few.loss.mean() and not (few.success & ~many.success).any()


def test_it_is_no_weaker_than_pgd_at_the_same_budget(problem):
    model, x, y = problem
    for eps in (0.05, 0.1, 0.2):
        pgd, apgd = (attack(model, x, y, eps=eps, steps=40) for attack in (attacks.pgd, attacks.apgd))
        assert apgd.robust_accuracy <= pgd.robust_accuracy + 1 / N


@pytest.mark.parametrize("loss", LOSSES)
def test_the_labels_and_losses_found_are_found_again(problem, loss):
    model, x, y = problem
    result = attacks.apgd(model, x, y, eps=0.1, steps=10, loss=loss)
    logits = model(result.x_adv)
    assert torch.equal(logits.argmax(1), result.label_adv) and torch.equal(result.label_adv != y, result.success)
    again = {
        "ce": lambda: F.cross_entropy(logits, y, reduction="none"),
        "margin": lambda: logits.scatter(1, y[:, None], -torch.inf).amax(1) - logits.gather(1, y[:, None])[:, 0],
        "dlr": lambda: torch.stack([dlr(row, label) for row, label in zip(logits, y, strict=True)]),
    }
    if loss in again:
        torch.testing.assert_close(again[loss](), result.loss)
    else:
        assert torch.equal(result.loss > 0, result.success)


# ---------------------------------------------------------------------------------------------------- exact promises


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [8 / 255, 0.3, 1e-6])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-0.1, torch.linspace(1, 1.2, D))])
@pytest.mark.parametrize("norm", BALLS)
def test_the_ball_and_the_bounds_hold_exactly(dtype, eps, bounds, norm):
    model = nn.Sequential(nn.Linear(D, 8), nn.ReLU(), nn.Linear(8, K)).to(dtype)
    x = torch.rand(N, D, dtype=dtype)
    x[0], x[1] = 0, 1
    y = torch.zeros(N, dtype=torch.int64)
    result = attacks.apgd(model, x, y, eps=eps, norm=norm, steps=12, stop="never", bounds=bounds)
    assert (result.norm <= eps).all()
    assert ((result.x_adv >= bounds[0]) & (result.x_adv <= bounds[1])).all()
    assert not torch.equal(result.x_adv, x)


def test_eps_zero_changes_nothing(problem):
    model, x, y = problem
    x[0, 0] = -0.0
    result = attacks.apgd(model, x, y, eps=0, restarts=3)
    assert torch.equal(result.x_adv.view(torch.int64), x.view(torch.int64))
    assert torch.equal(result.success, ~result.clean_correct) and (result.forwards == 1).all()


def test_a_radius_for_each_sample_is_a_loop_over_radii(problem):
    model, x, y = problem
    eps = torch.linspace(0, 0.2, 6, dtype=torch.float64)
    whole = attacks.apgd(model, x[3:9], y[3:9], eps=eps, steps=8)
    for i in range(6):
        at = slice(3 + i, 4 + i)
        part = attacks.apgd(model, x[at], y[at], eps=float(eps[i]), steps=8, sample_ids=torch.tensor([i]))
        assert torch.equal(part.x_adv[0], whole.x_adv[i])


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize(
    ("norm", "eps", "loss"), [("linf", 0.06, "ce"), ("linf", 0.06, "dlr_targeted"), ("l2", 0.2, "dlr")]
)
def test_a_split_into_batches_changes_nothing(problem, norm, eps, loss, batch):
    model, x, y = problem
    settings = {"eps": eps, "norm": norm, "restarts": 2, "steps": 10, "seed": 5, "loss": loss}
    whole = attacks.apgd(model, x, y, **settings)
    ids = torch.arange(N)
    parts = [
        attacks.apgd(model, x[i : i + batch], y[i : i + batch], sample_ids=ids[i : i + batch], **settings)
        for i in range(0, N, batch)
    ]
    assert 0 < whole.attack_success_rate < 1
    for name in ("x_adv", "success", "label_adv", "loss", "first_step", "clean_correct"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name


def test_the_seed_decides(problem):
    model, x, y = problem
    same = [attacks.apgd(model, x, y, eps=0.05, steps=5, seed=seed, stop="never").x_adv for seed in (1, 1, 2)]
    assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])


def test_starts_reach_the_surface_of_the_ball(problem):
    model, x, y = problem
    x = x / 2 + 0.25  # away from the bounds
    for norm, order in (("linf", torch.inf), ("l2", 2)):
        away = visited(model, x, y, eps=0.1, norm=norm, steps=1)[0] - x
        torch.testing.assert_close(away.norm(order, dim=1), torch.full((N,), 0.1, dtype=torch.float64))
        assert away.abs().mean() < 0.08 and abs(away.mean()) < 0.01


# ------------------------------------------------------------------------------------------------------------- costs


def test_what_withstands_costs_every_step_and_no_more():
    model = linear(classes=5)
    x = torch.full((40, D), 0.5, dtype=torch.float64)
    y = model(x).argmax(1)
    result = attacks.apgd(model, x, y, eps=1e-9, steps=6, restarts=3)
    assert (result.forwards == 1 + 3 * 7).all() and (result.backwards == 3 * 6).all()
    result = attacks.apgd(model, x, y, eps=1e-9, steps=6, loss="dlr_targeted", restarts=2, target_classes=3)
    assert (result.forwards == 1 + 3 * 2 * 7).all() and (result.backwards == 3 * 2 * 6).all()
    assert (result.first_step == -1).all() and result.nonfinite == 0


def test_decided_samples_leave_the_batch(problem):
    model, x, y = problem
    result = attacks.apgd(model, x, y, eps=0.08, steps=10)
    assert model.batches[0] == N and model.batches[1] == N - 3  # after the clean pass the three errors are decided
    assert model.batches[1:] == sorted(model.batches[1:], reverse=True) and model.batches[-1] < N - 3
    assert sum(model.batches) == int(result.forwards.sum())


def test_a_mask_leaves_the_others_alone(problem):
    model, x, y = problem
    mask = torch.arange(N) % 2 == 0
    some, every = (attacks.apgd(model, x, y, eps=0.1, steps=5, mask=m) for m in (mask, None))
    assert torch.equal(some.x_adv[~mask], x[~mask]) and torch.equal(some.x_adv[mask], every.x_adv[mask])


def test_labels_are_those_of_the_model_in_whatever_form_it_was_asked(monkeypatch):
    monkeypatch.setattr(attacks.rewrite, "WORTH_REWRITING", 0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, K)).eval()
    x = torch.rand(100, 3, 6, 6)
    y = net(x).argmax(1)
    for model in (net, attacks.Rewritten(net, x)):
        result = attacks.apgd(model, x, y, eps=0.02, steps=20)
        assert torch.equal(net(result.x_adv).argmax(1), result.label_adv) and 0 < result.attack_success_rate < 1
        assert torch.equal(result.success, result.label_adv != y)


def test_several_answers_to_a_question_find_what_a_random_model_hides(problem):
    model, x, y = problem

    def noisy(points, draws):
        random = [torch.Generator().manual_seed(int(draw) % 2**62) for draw in draws]
        return points + 0.4 * torch.stack([torch.randn(D, generator=g, dtype=points.dtype) for g in random])

    result = attacks.apgd(model, x, y, eps=0.1, steps=6, eot_samples=5, transform=noisy, stop="never")
    assert (result.forwards == 5 * (1 + 7)).all() and (result.backwards == 5 * 6).all()
    again = attacks.apgd(model, x, y, eps=0.1, steps=6, eot_samples=5, transform=noisy, stop="never")
    assert torch.equal(result.x_adv, again.x_adv)


def test_gradients_that_are_no_numbers_are_counted(problem):
    model, (_, x, _) = linear(classes=K), problem
    broken = lambda p: model(p) + 0 * p[:, :1].sub(p[:, :1].detach()).sqrt()  # noqa: E731  its slope at 0 is infinite
    result = attacks.apgd(broken, x, model(x).argmax(1), eps=0.1, steps=4, stop="never")
    assert result.nonfinite == N * 4 and result.x_adv.isfinite().all()


def test_no_samples():
    x, y = torch.zeros(0, D, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    for loss in LOSSES:
        assert attacks.apgd(linear(classes=5), x, y, eps=0.1, loss=loss).x_adv.shape == (0, D)


# ------------------------------------------------------------------------------------------------------- few classes


@pytest.mark.parametrize(("loss", "classes"), [("dlr", 2), ("dlr_targeted", 2), ("dlr_targeted", 3)])
def test_with_few_classes_the_margin_is_raised_and_it_says_so(loss, classes):
    model = linear(classes=classes)
    x = torch.rand(N, D, dtype=torch.float64) * 0.8 + 0.1
    y = model(x).argmax(1)
    with pytest.warns(UserWarning, match=rf"{loss}.* needs {3 if loss == 'dlr' else 4} classes and .* knows {classes}"):
        result = attacks.apgd(model, x, y, eps=0.02, loss=loss, steps=20)
    others = torch.stack([(model.weight[y] - row).abs().sum(1) for row in model.weight])
    margins = model(x).gather(1, y[:, None]) - model(x)
    reachable = ((margins - 0.02 * others.T < 0) & (margins > 0)).any(1)
    assert torch.equal(result.success, reachable) and 0 < result.attack_success_rate < 1


def test_targets_are_as_many_as_there_are_other_classes():
    model = linear(classes=5)
    x = torch.full((40, D), 0.5, dtype=torch.float64)
    y = model(x).argmax(1)
    assert (attacks.apgd(model, x, y, eps=1e-9, steps=2, loss="dlr_targeted").backwards == 4 * 2).all()


# --------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("fail_at", [None, 1, 4])
def test_the_model_is_left_as_it_was(fail_at):
    model = Awkward()
    model.train()
    model.layers[1].eval()
    x, y = torch.rand(N, D), torch.randint(K, (N,))
    model(x).sum().backward()
    model.calls.zero_()
    model.fail_at = fail_at
    state, flags = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    random_state = torch.get_rng_state()

    if fail_at is None:
        attacks.apgd(model, x, y, eps=0.1, restarts=2, steps=5)
    else:
        with pytest.raises(RuntimeError, match="say"):
            attacks.apgd(model, x, y, eps=0.1, restarts=2, steps=5)

    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == flags
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert (parameter.grad is None) if gradient is None else torch.equal(parameter.grad, gradient)
    assert torch.equal(torch.get_rng_state(), random_state) and not x.requires_grad


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(problem, without):
    model, x, y = problem
    expected = attacks.apgd(model, x, y, eps=0.05, steps=10)
    with without():
        result = attacks.apgd(model, x.clone(), y.clone(), eps=0.05, steps=10)
    assert torch.equal(result.x_adv, expected.x_adv) and not result.x_adv.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "l1"}, "'l1'; it must be 'linf' or 'l2'"),
        ({"loss": "mse"}, "'mse'; it must be 'ce', 'margin', 'dlr' or 'dlr_targeted'"),
        ({"steps": 0}, "steps is 0"),
        ({"target_classes": 0}, "target_classes is 0"),
        ({"rho": 1.5}, "rho is 1.5"),
        ({"eps": -0.1}, "eps is -0.1"),
        ({"loss": "dlr_targeted", "target": 1}, "use 'dlr'"),
        ({"y": torch.full((N,), 7)}, "y has labels from 7 to 7"),
        ({"model": lambda x: x[:, :K].detach()}, "no gradient"),
    ],
)
def test_errors_name_what_was_given(problem, change, message):
    model, x, y = problem
    with pytest.raises(ValueError, match=message):
        attacks.apgd(**({"model": model, "x": x, "y": y, "eps": 0.1} | change))


# ---------------------------------------------------------------------------------------------------------- the peer


@pytest.fixture(scope="module")
def digits():
    """A small network trained on slightly perturbed digits, and others to attack."""
    datasets = pytest.importorskip("sklearn.datasets")
    data = datasets.load_digits()
    torch.manual_seed(0)
    x = torch.from_numpy(data.images).float()[:, None] / 16
    y = torch.from_numpy(data.target)
    order = torch.randperm(len(x))
    train, test = order[400:], order[:400]
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 9, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(8):
        for chosen in train[torch.randperm(len(train))].split(64):
            batch = attacks.fgsm(net, x[chosen], y[chosen], eps=0.1).x_adv
            optimizer.zero_grad()
            F.cross_entropy(net(batch), y[chosen]).backward()
            optimizer.step()
    return net.eval(), x[test], y[test]


@pytest.mark.peers
@pytest.mark.parametrize(
    ("norm", "eps", "loss", "steps", "restarts"),
    [
        ("linf", 0.15, "ce", 10, 1),
        ("linf", 0.15, "ce", 100, 1),
        ("linf", 0.15, "ce", 20, 3),
        ("linf", 0.15, "dlr", 20, 2),
        ("linf", 0.15, "dlr_targeted", 20, 1),
        ("l2", 0.8, "ce", 20, 1),
        ("l2", 0.8, "dlr", 100, 1),
        ("l2", 0.8, "dlr_targeted", 20, 1),
    ],
)
def test_it_is_no_weaker_than_torchattacks_at_the_same_budget(digits, norm, eps, loss, steps, restarts):
    torchattacks = pytest.importorskip("torchattacks")
    net, x, y = digits
    ours = attacks.apgd(net, x, y, eps=eps, norm=norm, loss=loss, steps=steps, restarts=restarts).robust_accuracy
    settings = {"norm": norm.capitalize(), "eps": eps, "steps": steps, "n_restarts": restarts}
    if loss == "dlr_targeted":
        attack = torchattacks.APGDT(net, **settings, n_classes=10)
    else:
        attack = torchattacks.APGD(net, **settings, loss=loss)
    theirs = float((net(attack(x, y)).argmax(1) == y).double().mean())
    print(f"{norm} {loss} {steps} steps x {restarts}: robust accuracy {ours:.4f}, torchattacks {theirs:.4f}")
    assert 0.05 < ours <= theirs + 0.01
