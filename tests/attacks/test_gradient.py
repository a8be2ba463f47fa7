"""FGSM and PGD: closed forms on linear models, the relations that every attack must satisfy, and the exact promises."""

import copy

import pytest
import torch
from torch import nn

from dlbench import attacks

from .conftest import Awkward, D, K, RowWise

N = 40


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


def linear(seed=0, classes=2):
    model = nn.Linear(D, classes, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.randn(classes, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        model.bias.zero_()
    return model


# ------------------------------------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("attack", [attacks.fgsm, attacks.pgd])
def test_on_a_linear_model_the_margin_falls_by_eps_times_the_one_norm(attack):
    model, eps = linear(), 0.05
    x = torch.rand(N, D, dtype=torch.float64) * 0.8 + 0.1  # far enough from the bounds
    y = model(x).argmax(1)
    result = attack(model, x, y, eps=eps, loss="margin")
    own, other = model.weight[y], model.weight[1 - y]
    margin = ((own - other) * x).sum(1)
    worst = margin - eps * (own - other).abs().sum(1)
    assert torch.equal(result.success, worst < 0)
    held = ~result.success
    assert held.any() and result.success.any()
    torch.testing.assert_close(-result.loss[held], worst[held])


def test_no_attack_does_better_on_a_linear_model(problem):
    model = linear()
    x = torch.rand(N, D, dtype=torch.float64) * 0.8 + 0.1
    y = model(x).argmax(1)
    best = attacks.fgsm(model, x, y, eps=0.05).success
    for other in (
        attacks.pgd(model, x, y, eps=0.05, restarts=3),
        attacks.noise(model, x, y, eps=0.05, restarts=50),
        attacks.noise(model, x, y, eps=0.05, restarts=50, kind="sign"),
    ):
        assert not (other.success & ~best).any()


def test_a_target_is_reached_exactly_where_a_linear_model_allows_it():
    model, eps = linear(classes=2), 0.05
    x = torch.rand(N, D, dtype=torch.float64) * 0.8 + 0.1
    result = attacks.pgd(model, x, torch.zeros(N, dtype=torch.int64), eps=eps, target=1, steps=20)
    toward = model.weight[1] - model.weight[0]
    assert torch.equal(result.success, (x @ toward) + eps * toward.abs().sum() > 0)
    assert (result.label_adv[result.success] == 1).all()


def test_a_step_count_is_the_closed_form():
    model = linear()  # fgsm direction is constant: after k steps of s the margin has fallen by k·s·‖w‖₁
    x = torch.rand(N, D, dtype=torch.float64) * 0.4 + 0.3
    y = model(x).argmax(1)
    step = 0.01
    result = attacks.pgd(model, x, y, eps=0.2, step_size=step, steps=20, random_start=False)
    own, other = model.weight[y], model.weight[1 - y]
    needed = (((own - other) * x).sum(1) / (own - other).abs().sum(1) / step).floor().long() + 1
    expected = torch.where(needed <= 20, needed, -1)
    assert torch.equal(result.first_step, expected)
    assert torch.equal(result.backwards, torch.where(expected < 0, 20, expected))
    assert torch.equal(result.forwards, result.backwards + 1)


# --------------------------------------------------------------------------------------------------------- relations


def test_more_restarts_and_more_steps_never_weaken_the_attack(problem):
    model, x, y = problem
    fixed = {"eps": 0.1, "step_size": 0.02}
    fewer = attacks.pgd(model, x, y, **fixed, steps=3, restarts=1)
    steps = attacks.pgd(model, x, y, **fixed, steps=9, restarts=1)
    restarts = attacks.pgd(model, x, y, **fixed, steps=9, restarts=4)
    assert not (fewer.success & ~steps.success).any()
    assert not (steps.success & ~restarts.success).any()


def test_accuracy_falls_with_eps_and_pgd_is_no_weaker_than_fgsm(problem):
    model, x, y = problem
    accuracy = [attacks.pgd(model, x, y, eps=eps).robust_accuracy for eps in (0.0, 0.02, 0.1, 0.3)]
    assert accuracy == sorted(accuracy, reverse=True)
    assert accuracy[0] == (N - 3) / N and accuracy[-1] < 0.5
    for eps in (0.02, 0.05, 0.1, 0.3):
        pgd, fgsm = attacks.pgd(model, x, y, eps=eps, restarts=2), attacks.fgsm(model, x, y, eps=eps)
        assert pgd.robust_accuracy <= fgsm.robust_accuracy + 1 / N


def test_any_wrong_class_is_easier_than_a_chosen_one(problem):
    model, x, y = problem
    untargeted = attacks.pgd(model, x, y, eps=0.1, restarts=3)
    targeted = attacks.pgd(model, x, y, eps=0.1, restarts=3, target=(y + 1) % K)
    assert targeted.attack_success_rate <= untargeted.attack_success_rate


def test_the_labels_found_are_found_again(problem):
    model, x, y = problem
    result = attacks.pgd(model, x, y, eps=0.1, restarts=2)
    assert torch.equal(model(result.x_adv).argmax(1), result.label_adv)
    assert torch.equal(result.label_adv != y, result.success)
    torch.testing.assert_close(nn.functional.cross_entropy(model(result.x_adv), y, reduction="none"), result.loss)


def test_going_on_after_success_ends_at_a_greater_loss(problem):
    model, x, y = problem
    first = attacks.pgd(model, x, y, eps=0.1, restarts=2)
    best = attacks.pgd(model, x, y, eps=0.1, restarts=2, stop="never")
    assert not (first.success & ~best.success).any()
    clean_error = ~first.clean_correct
    assert (best.loss[clean_error] > first.loss[clean_error]).all()
    assert torch.equal(first.x_adv[clean_error], x[clean_error])
    assert (best.forwards == 1 + 2 * 41).all() and (best.backwards == 80).all()


# ---------------------------------------------------------------------------------------------------- exact promises


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [8 / 255, 0.1, 0.3, 1e-6])
@pytest.mark.parametrize("random_start", [True, False])
def test_the_ball_and_the_bounds_hold_exactly(dtype, eps, random_start):
    model = nn.Sequential(nn.Linear(D, 8), nn.ReLU(), nn.Linear(8, K)).to(dtype)
    x = torch.rand(N, D, dtype=dtype)
    x[0], x[1] = 0, 1
    result = attacks.pgd(
        model, x, torch.zeros(N, dtype=torch.int64), eps=eps, steps=7, stop="never", random_start=random_start
    )
    assert ((result.x_adv.double() - x.double()).abs() <= eps).all()
    assert ((result.x_adv >= 0) & (result.x_adv <= 1)).all()
    assert not torch.equal(result.x_adv, x)


def test_other_bounds(problem):
    model, x, y = problem
    result = attacks.pgd(model, 4 * x - 2, y, eps=1.0, bounds=(-2.0, 2.0), stop="never")
    assert result.x_adv.min() == -2 and result.x_adv.max() == 2


def test_eps_zero_changes_nothing(problem):
    model, x, y = problem
    x[0, 0] = -0.0
    for result in (attacks.pgd(model, x, y, eps=0, restarts=3), attacks.fgsm(model, x, y, eps=0.0)):
        assert torch.equal(result.x_adv.view(torch.int64), x.view(torch.int64))
        assert torch.equal(result.success, ~result.clean_correct)
        assert (result.forwards == 1).all() and (result.backwards == 0).all()


@pytest.mark.parametrize("batch", [1, 7])
def test_a_split_into_batches_changes_nothing(problem, batch):
    model, x, y = problem
    settings = {"eps": 0.08, "restarts": 3, "steps": 10, "seed": 5}
    whole = attacks.pgd(model, x, y, **settings)
    ids = torch.arange(N)
    parts = [
        attacks.pgd(model, x[i : i + batch], y[i : i + batch], sample_ids=ids[i : i + batch], **settings)
        for i in range(0, N, batch)
    ]
    assert 0 < whole.attack_success_rate < 1
    for name in ("x_adv", "success", "label_adv", "loss", "first_step", "clean_correct", "norm", "cycled"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name


def test_the_seed_decides(problem):
    model, x, y = problem
    same = [attacks.pgd(model, x, y, eps=0.05, seed=seed, stop="never").x_adv for seed in (1, 1, 2)]
    assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])


def test_decided_samples_leave_the_batch(problem):
    model, x, y = problem
    result = attacks.pgd(model, x, y, eps=0.08, steps=10, stop="success")
    assert model.batches[0] == N and model.batches[1] == N - 3  # after the clean pass the three errors are decided
    assert model.batches[1:] == sorted(model.batches[1:], reverse=True) and model.batches[-1] < N - 3
    assert sum(model.batches) == int(result.forwards.sum())


def test_what_withstands_costs_every_step():
    model = linear()
    x = torch.full((2, D), 0.5, dtype=torch.float64)
    y = model(x).argmax(1)
    result = attacks.pgd(model, x, y, eps=1e-9, steps=6, restarts=3, stop="success")
    assert (
        (result.forwards == 1 + 3 * 7).all() and (result.backwards == 3 * 6).all() and (result.first_step == -1).all()
    )


def test_no_samples():
    result = attacks.pgd(linear(), torch.zeros(0, D, dtype=torch.float64), torch.zeros(0, dtype=torch.int64), eps=0.1)
    assert result.x_adv.shape == (0, D) and result.attack_success_rate != result.attack_success_rate


# ------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("fail_at", [None, 1, 4])
def test_the_model_is_left_as_it_was(fail_at):
    torch.manual_seed(0)
    model = Awkward()
    model.train()
    model.layers[1].eval()  # flags differ from module to module
    x, y = torch.rand(N, D), torch.randint(K, (N,))
    model(x).sum().backward()
    model.calls.zero_()
    model.fail_at = fail_at
    state, flags = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    wanted = [p.requires_grad for p in model.parameters()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    random_state = torch.get_rng_state()

    if fail_at is None:
        attacks.pgd(model, x, y, eps=0.1, restarts=2, steps=5)
    else:
        with pytest.raises(RuntimeError, match="say"):
            attacks.pgd(model, x, y, eps=0.1, restarts=2, steps=5)

    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == flags
    assert [p.requires_grad for p in model.parameters()] == wanted
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert (parameter.grad is None) if gradient is None else torch.equal(parameter.grad, gradient)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not x.requires_grad


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(problem, without):
    model, x, y = problem
    expected = attacks.pgd(model, x, y, eps=0.05)
    with without():
        result = attacks.pgd(model, x.clone(), y.clone(), eps=0.05)
        assert not torch.is_grad_enabled()
    assert torch.equal(result.x_adv, expected.x_adv) and not result.x_adv.requires_grad


def test_any_callable_is_a_model(problem):
    model, x, y = problem
    result = attacks.pgd(lambda x: model(x) / 2, x, y, eps=0.1)
    assert result.attack_success_rate > 0
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_a_saturated_model_falls_to_the_margin_but_not_to_the_cross_entropy():
    model = linear()
    sharp = lambda x: 1e5 * model(x)  # noqa: E731
    x = torch.rand(N, D, dtype=torch.float32)
    y = model.float()(x).argmax(1)
    ce = attacks.pgd(sharp, x, y, eps=0.2)
    margin = attacks.pgd(sharp, x, y, eps=0.2, loss="margin")
    assert margin.attack_success_rate > ce.attack_success_rate


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": torch.full((N,), 7)}, "y has labels from 7 to 7; the model knows 0 to 3"),
        ({"y": torch.full((N,), -1)}, "from -1 to -1"),
        ({"y": torch.zeros(N)}, "int64 labels"),
        ({"y": torch.zeros(N - 1, dtype=torch.int64)}, "40 int64 labels"),
        ({"target": 9}, "target has labels from 9"),
        ({"x": 2 * torch.ones(N, D)}, r"from 2 to 2 and bounds are \(0, 1\)"),
        ({"x": torch.full((N, D), torch.nan)}, "bounds"),
        ({"x": torch.zeros(N, D, dtype=torch.bfloat16)}, "float32 or float64"),
        ({"bounds": (1.0, 0.0)}, "lower must be smaller"),
        ({"norm": "l3"}, "'l3'; it must be 'linf', 'l2' or 'l1'"),
        ({"eps": -0.1}, "eps is -0.1"),
        ({"eps": float("nan")}, "eps is nan"),
        ({"steps": 0}, "steps is 0"),
        ({"step_size": -1.0}, "a finite number, zero or more"),
        ({"restarts": 2, "random_start": False}, "all of them would be the same"),
        ({"loss": "mse"}, "'mse'; it must be 'ce', 'margin'"),
        ({"stop": "soon"}, "'soon'; it must be 'cycle', 'success' or 'never'"),
        ({"sample_ids": torch.arange(3)}, "40 int64 numbers"),
        ({"model": lambda x: x.sum(1)}, "not logits"),
        ({"model": lambda x: x[:, :K].detach()}, "no gradient"),
        ({"model": lambda x: x[:, :K].softmax(1)}, "returned probabilities"),
        ({"x": torch.zeros(N, D, dtype=torch.uint8)}, "x is torch.uint8; an attack needs float32 or float64"),
        ({"y": torch.zeros(N, dtype=torch.int64, device="meta")}, "y is on meta and x is on cpu"),
    ],
)
def test_errors_name_what_was_given(problem, change, message):
    model, x, y = problem
    call = {"model": model, "x": x, "y": y, "eps": 0.1} | change
    with pytest.raises(ValueError, match=message):
        attacks.pgd(**call)


@pytest.mark.parametrize("attack", ["cw", "deepfool", "spsa", "perturb", "fgsm"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda model, x: model(x)[:, 0], "the model returned"),
        (lambda model, x: model(x)[:, :1], "the model returned"),
    ],
)
def test_what_is_no_logits_is_named(problem, attack, spoil, message):
    model, x, y = problem
    more = {"random_start": False} if attack == "perturb" else {}
    with pytest.raises(ValueError, match=message):
        getattr(attacks, attack)(lambda x: spoil(model, x), x, y * 0, eps=0.1, **more)


@pytest.mark.parametrize("attack", ["cw", "deepfool", "perturb", "fgsm"])
def test_a_model_that_detaches_its_input_is_named(problem, attack):
    model, x, _ = problem
    weight = torch.ones(K, dtype=x.dtype, requires_grad=True)
    with pytest.raises(ValueError, match="no gradient with respect to x; is it detached inside"):
        getattr(attacks, attack)(lambda x: model(x.detach()) * weight, x, model(x).argmax(1), eps=0.1)


@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
def test_labels_are_checked_where_the_first_pass_needs_them(problem, loss):
    model, x, y = problem
    with pytest.raises(ValueError, match="y has labels from 0 to 9; the model knows 0 to 3"):
        attacks.fgsm(model, x, y.index_fill(0, torch.tensor([5]), 9), eps=0.1, loss=loss)
