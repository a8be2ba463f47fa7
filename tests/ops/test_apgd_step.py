"""apgd_step_: against the paper's algorithm sample by sample, against the reference bit by bit, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import fields
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import ApgdState, apgd_step_, linf_step_, reference, status

STATES = [torch.float32, torch.float64]
GRADIENTS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
NAMES = [field.name for field in fields(ApgdState)]


def in_linf_ball(point, x, eps, lower, upper):
    return [min(max(min(max(v, c - eps), c + eps), lower), upper) for v, c in zip(point, x, strict=True)]


def in_l2_ball(point, x, eps, lower, upper):
    """The nearest point of ball and box together: on the way from x, clipped, as far out as the ball reaches."""

    def at(share):
        return [min(max(c + share * (v - c), lower), upper) for v, c in zip(point, x, strict=True)]

    inside, outside = 0.0, 1.0
    if math.dist(at(1.0), x) <= eps:
        return at(1.0)
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if math.dist(at(middle), x) <= eps else (inside, middle)
    return at(inside)


BALLS = {
    "linf": (in_linf_ball, lambda grad: [(g > 0) - (g < 0) for g in grad]),
    "l2": (in_l2_ball, lambda grad: [g / (math.hypot(*grad) or 1.0) for g in grad]),
}


def paper(norm, x, start, losses, grads, eps, checkpoints, lower=0.0, upper=1.0, rho=0.75):
    """Algorithm 1 of the paper on one sample of floats: the points of all steps, and the step sizes taken.

    losses[k] and grads[k] are the answers at the k-th point, so that nothing but the algorithm decides what follows.
    """
    project, direction = BALLS[norm]

    def projected(point):
        return project(point, x, eps, lower, upper)

    step, point, before = 2 * eps, start, start
    loss, grad = losses[0], grads[0]
    best, grad_best, loss_best = point, grad, loss
    rises, last_checkpoint, at_last_checkpoint = 0, 0, None
    points, step_sizes = [], []
    for k in range(1, len(losses)):
        a = 1.0 if k == 1 else 0.75
        z = projected([v + step * d for v, d in zip(point, direction(grad), strict=True)])
        moved = projected([v + a * (w - v) + (1 - a) * (v - u) for v, w, u in zip(point, z, before, strict=True)])
        step_sizes.append(step)
        points.append(moved)
        before, point, grad = point, moved, grads[k]
        rises += losses[k] > loss
        loss = losses[k]
        if loss > loss_best:
            best, grad_best, loss_best = point, grad, loss
        if k in checkpoints:
            first = rises < rho * (k - last_checkpoint)
            second = (step, loss_best) == at_last_checkpoint
            at_last_checkpoint = (step, loss_best)
            rises, last_checkpoint = 0, k
            if first or second:
                step /= 2
                point, grad, loss = best, grad_best, loss_best
    return points, step_sizes


def run(x, start, losses, grads, eps, checkpoints, norm):
    """The same with the operator, for all samples at once: the points after every step [steps, N, D], and the state."""
    state, points, last = ApgdState.start(start, grads[0].dtype), [], 0
    for k, (loss, grad) in enumerate(zip(losses[:-1], grads[:-1], strict=True)):
        since = k - last if k in checkpoints else 0
        last = k if k in checkpoints else last
        momentum = 0.25 if k else 0.0
        assert apgd_step_(state, x, grad, loss, eps=eps, momentum=momentum, since_checkpoint=since, norm=norm) is state
        points.append(state.x_adv.clone())
    return points, state


@settings(deadline=None, max_examples=100)
@given(data=st.data(), dtype=st.sampled_from(STATES), norm=st.sampled_from(list(BALLS)))
def test_it_is_the_papers_algorithm(data, dtype, norm):
    n, size, steps = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 20)), data.draw(st.integers(1, 12))
    checkpoints = data.draw(st.sets(st.integers(1, 12), max_size=6))
    eps = data.draw(st.sampled_from([0.0, 8 / 255, 0.25, 3.0]))
    # Few values, so that ties and standstills are many; mostly rising or not, so that both conditions come up.
    values = data.draw(st.sampled_from([[0.0, 1.0, 2.0], [1.0, math.nan], [-math.inf, 0.5, 1e9]]))
    rise = data.draw(st.sampled_from([0.0, 0.4, 2.0]))
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 2**20)))
    chosen = torch.randint(len(values), (steps + 1, n), generator=random)
    losses = torch.tensor(values, dtype=torch.float64)[chosen] + rise * torch.arange(steps + 1)[:, None]
    losses[0].nan_to_num_(0.0, neginf=-math.inf)
    grads = torch.randn(steps + 1, n, size, generator=random, dtype=dtype).round(decimals=0)  # many are 0
    x = torch.rand(n, size, generator=random, dtype=dtype)
    start = (x + eps * (torch.rand(n, size, generator=random, dtype=dtype) - 0.5)).clamp(0, 1)

    points, state = run(x, start, losses, grads, eps, checkpoints, norm=norm)
    for sample in range(n):
        told = losses[:, sample].tolist(), grads[:, sample].tolist()
        want, step_sizes = paper(norm, x[sample].tolist(), start[sample].tolist(), *told, eps, checkpoints)
        atol = 1e-11 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(torch.stack(points)[:, sample].tolist(), want, rtol=0, atol=atol)
        assert 2 * eps * float(state.step_scale[sample]) == step_sizes[-1]


def example(shape, dtype=torch.float32, gradient=torch.float32, seed=0, steps=6):
    """Centres, a start, and losses and gradients for some steps; among the latter zeros, infinities and NaN."""
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=random, dtype=dtype)
    start = (x + 0.1 * torch.rand(shape, generator=random, dtype=dtype) - 0.05).clamp(0, 1)
    grads = torch.randn((steps, *shape), generator=random).to(gradient)
    flat = grads.view(-1)
    flat[::13], flat[5::17], flat[7::101], flat[::103] = 0, -math.inf, math.nan, 1e-40
    return x, start, torch.randn(steps, shape[0], generator=random).to(dtype), grads


def in_torch(state, x, grad, loss, *limits, momentum=0.25, since=0, norm="linf"):
    """The reference on a copy of a state."""
    tensors = {name: getattr(state, name).clone() for name in NAMES}
    reference.apgd_step_(*tensors.values(), x, grad, loss.double(), *limits, momentum, since, 0.75, norm)
    tensors["x_adv"], tensors["x_prev"] = tensors["x_prev"], tensors["x_adv"]
    return ApgdState(**tensors)


def assert_same_bits(state, want):
    for name in NAMES:
        a, b = getattr(state, name), getattr(want, name)
        assert a.dtype == b.dtype and a.shape == b.shape
        assert torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(7), b.nan_to_num(7)), name
        assert torch.equal(a.signbit(), b.signbit()) or a.isnan().any(), name


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("dtype", STATES)
@pytest.mark.parametrize("shape", [(1, 1), (3,), (2, 17), (5, 3, 4, 4), (2, 3, 41, 43), (0, 4)], ids=str)
def test_bits_of_the_reference(shape, dtype, gradient):
    x, start, losses, grads = example(shape, dtype, gradient)
    state = ApgdState.start(start, gradient)
    for k, (loss, grad) in enumerate(zip(losses, grads, strict=True)):
        since = 2 if k in (2, 4) else 0
        want = in_torch(state, x, grad, loss, 0.1, 0.2, 0.0, 1.0, None, momentum=0.25 * (k > 0), since=since)
        apgd_step_(state, x, grad, loss, eps=0.1, momentum=0.25 * (k > 0), since_checkpoint=since)
        assert_same_bits(state, want)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("dtype", STATES)
@pytest.mark.parametrize("shape", [(1, 1), (3,), (2, 17), (5, 3, 4, 4), (2, 3, 41, 43), (0, 4)], ids=str)
def test_in_the_l2_ball_it_is_the_reference_but_for_rounding(shape, dtype, gradient):
    x, start, losses, grads = example(shape, dtype, gradient)
    state = ApgdState.start(start, gradient)
    for k, (loss, grad) in enumerate(zip(losses, grads, strict=True)):
        since = 2 if k in (2, 4) else 0
        settings = {"momentum": 0.25 * (k > 0), "since": since, "norm": "l2"}
        want = in_torch(state, x, grad, loss, 0.5, 1.0, 0.0, 1.0, None, **settings)
        apgd_step_(state, x, grad, loss, eps=0.5, momentum=0.25 * (k > 0), since_checkpoint=since, norm="l2")
        torch.testing.assert_close(state.x_adv, want.x_adv, rtol=0, atol=4 * torch.finfo(dtype).eps)
        state.x_adv.copy_(want.x_adv)  # lest differences add up
        assert_same_bits(state, want)


LAYOUTS = {
    "contiguous": lambda t: t.contiguous(),
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(0, 3).contiguous().transpose(0, 3),
}


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("of_grad", LAYOUTS)
@pytest.mark.parametrize("of_x", LAYOUTS)
@pytest.mark.parametrize("of_state", LAYOUTS)
def test_layouts(of_state, of_x, of_grad, norm):
    x, start, losses, grads = example((3, 2, 5, 4))
    want, state = ApgdState.start(start), ApgdState.start(LAYOUTS[of_state](start))
    for k, (loss, grad) in enumerate(zip(losses, grads, strict=True)):
        settings = {"eps": 0.1, "since_checkpoint": 2 * (k % 2), "upper": torch.tensor([0.9, 1.0]), "norm": norm}
        apgd_step_(want, x, grad, loss, **settings)
        apgd_step_(state, LAYOUTS[of_x](x), LAYOUTS[of_grad](grad), loss, **settings)
    if norm == "linf":
        assert_same_bits(state, want)
    for name in NAMES:  # sums over channels that come last are sums in another order
        torch.testing.assert_close(getattr(state, name), getattr(want, name), rtol=0, atol=1e-6, equal_nan=True)


LIMITS = {
    "per sample": lambda n, c: {"eps": torch.rand(n) / 4},
    "per channel": lambda n, c: {"eps": torch.rand(c, 1, 1) / 4, "step_size": torch.rand(1, c, 1, 1) / 9},
    "per both": lambda n, c: {"eps": torch.rand(n, c, 1, 1, dtype=torch.float64) / 4, "step_size": 0.03},
    "bounds per channel": lambda n, c: {"eps": 0.1, "lower": torch.rand(c) / 9, "upper": 1 - torch.rand(c) / 9},
}


@pytest.mark.parametrize("dtype", STATES)
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize("form", LIMITS)
def test_limits_that_differ_are_those_of_each_part(form, layout, dtype):
    torch.manual_seed(0)
    x, start, losses, grads = example((3, 2, 50, 51), dtype, dtype)
    limits = LIMITS[form](3, 2)
    whole = ApgdState.start(LAYOUTS[layout](start))
    parts = {(n, c): ApgdState.start(start[n : n + 1, c : c + 1]) for n in range(3) for c in range(2)}
    grids = {name: as_grid(name, value) for name, value in limits.items()}
    for k, (loss, grad) in enumerate(zip(losses, grads, strict=True)):
        settings = {"since_checkpoint": 2 if k in (2, 4) else 0}
        apgd_step_(whole, x, grad, loss, **limits, **settings)
        for (n, c), part in parts.items():
            numbers = {name: float(grid[n % grid.shape[0], c % grid.shape[1]]) for name, grid in grids.items()}
            here = slice(n, n + 1), slice(c, c + 1)
            apgd_step_(part, x[here], grad[here], loss[here[:1]], **numbers, **settings)
    for (n, c), part in parts.items():
        assert torch.equal(whole.x_adv[n, c], part.x_adv[0, 0]) and torch.equal(whole.x_best[n, c], part.x_best[0, 0])


def as_grid(name, value):
    value = torch.as_tensor(value, dtype=torch.float64)
    if value.dim() == 1:
        return value.view(1, -1) if name in ("lower", "upper") else value.view(-1, 1)
    return value.reshape((1, -1) if value.dim() < 4 else value.shape[:2]) if value.dim() else value.view(1, 1)


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("dtype", STATES)
def test_bounds_hold_exactly(dtype, norm):
    x, start, losses, grads = example((4, 3, 5, 5), dtype, dtype, steps=12)
    eps, lower, upper = 8 / 255 if norm == "linf" else 0.5, 0.1, 0.9
    x, start = x.clamp(0.11, 0.89), start.clamp(0.11, 0.89)
    state = ApgdState.start(start)
    for k, (loss, grad) in enumerate(zip(losses, grads, strict=True)):
        limits = {"eps": eps, "lower": lower, "upper": upper}
        apgd_step_(state, x, grad, loss, **limits, since_checkpoint=3 * (k % 3 == 0), norm=norm)
        for points, centres in zip(state.x_adv.flatten(1).tolist(), x.flatten(1).tolist(), strict=True):
            away = [abs(Fraction(point) - Fraction(centre)) for point, centre in zip(points, centres, strict=True)]
            assert max(away) <= Fraction(eps) if norm == "linf" else sum(d * d for d in away) <= Fraction(eps) ** 2
            assert Fraction(lower) <= Fraction(min(points)) and Fraction(max(points)) <= Fraction(upper)


# ------------------------------------------------------------------------------------------------------------- books


def test_the_first_step_is_that_of_pgd():
    x, start, losses, grads = example((3, 4))
    state = apgd_step_(ApgdState.start(start), x, grads[0], losses[0], eps=0.1, momentum=0.0)
    assert torch.equal(state.x_adv, linf_step_(start.clone(), x, grads[0], eps=0.1, step_size=0.2))
    assert torch.equal(state.x_prev, start) and torch.equal(state.x_best, start)
    assert torch.equal(state.loss_best, losses[0].double()) and state.rises.tolist() == [0, 0, 0]


def test_buffers_change_places_and_only_the_best_is_copied():
    x, start, losses, grads = example((3, 4))
    state = ApgdState.start(start)
    apgd_step_(state, x, grads[0], losses[0], eps=0.1, momentum=0.0)
    pointers = state.x_adv.data_ptr(), state.x_prev.data_ptr()
    best, here = state.x_best.clone(), state.x_adv.clone()
    apgd_step_(state, x, grads[1], losses[0] + torch.tensor([1.0, 0.0, -1.0]), eps=0.1)
    assert (state.x_prev.data_ptr(), state.x_adv.data_ptr()) == pointers
    assert torch.equal(state.x_best, torch.stack([here[0], best[1], best[2]]))
    assert torch.equal(state.grad_best.nan_to_num(9), torch.stack([grads[1, 0], *grads[0, 1:]]).nan_to_num(9))
    assert torch.equal(state.x_prev, here) and state.rises.tolist() == [1, 0, 0]


def test_a_sample_that_is_sent_back_goes_on_from_its_best_point():
    x, start, _, grads = example((2, 50))
    state = ApgdState.start(start)
    for loss in ([3.0, 1.0], [1.0, 2.0]):
        apgd_step_(state, x, grads[0], torch.tensor(loss), eps=0.1)
    abandoned, before = state.x_adv.clone(), state.x_prev.clone()
    apgd_step_(state, x, grads[1], torch.tensor([2.0, 3.0]), eps=0.1, since_checkpoint=2)
    assert state.halved.tolist() == [True, False] and state.step_scale.tolist() == [0.5, 1.0]
    assert torch.equal(state.x_prev, torch.stack([start[0], abandoned[1]]))
    assert state.loss_prev.tolist() == [3.0, 3.0] and state.rises.tolist() == [0, 0]
    z = linf_step_(start[:1].clone(), x[:1], grads[0, :1], eps=0.1, step_size=0.1)
    moved = start[:1] + 0.75 * (z - start[:1]) + 0.25 * (start[:1] - before[:1])
    limits = torch.maximum(x[:1] - 0.1, torch.zeros(1)), torch.minimum(x[:1] + 0.1, torch.ones(1))
    torch.testing.assert_close(state.x_adv[:1], moved.clamp(*limits), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", BALLS)
def test_without_a_gradient_it_stays(norm):
    x, start, losses, grads = example((2, 6))
    for grad in (torch.zeros_like(grads[0]), torch.full_like(grads[0], math.nan), torch.full_like(grads[0], math.inf)):
        state = ApgdState.start(start)
        for k in range(4):
            apgd_step_(state, x, grad, losses[k], eps=0.2, since_checkpoint=2 * (k == 2), norm=norm)
        assert torch.equal(state.x_adv, start)


def test_a_nan_is_best_only_where_there_is_nothing_else():
    x, start, _, grads = example((2, 6))
    state = ApgdState.start(start)
    for losses in ([2.0, math.nan], [math.nan, math.nan], [math.nan, -math.inf], [math.nan, math.nan]):
        there = state.x_adv.clone()
        apgd_step_(state, x, grads[0], torch.tensor(losses), eps=0.1)
        if losses[1] == -math.inf:
            best = there[1]
    assert state.loss_best.tolist() == [2.0, -math.inf] and not state.rises.any()
    assert torch.equal(state.x_best, torch.stack([start[0], best])) and state.x_adv.isfinite().all()


@pytest.mark.parametrize("norm", BALLS)
def test_the_tally_counts_what_is_no_ordinary_gradient(norm):
    x, start, losses, _ = example((3, 5000))
    grad = torch.ones(3, 5000)
    grad[0, :7], grad[0, 4095:4099], grad[1, 2:5], grad[2, ::2] = 0, 1e-45, -math.inf, math.nan
    tally = torch.ones(3, 4, dtype=torch.int64)
    apgd_step_(ApgdState.start(start), x, grad, losses[0], eps=0.1, tally=tally, norm=norm)
    assert (tally - 1).tolist() == [[7, 4, 0, 0], [0, 0, 3, 0], [0, 0, 0, 2500]]


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_samples_do_not_depend_on_each_other(layout, norm):
    x, start, losses, grads = example((7, 3, 20, 20))
    start = LAYOUTS[layout](start)
    whole, rows = ApgdState.start(start), torch.tensor([5, 2, 3])
    few = ApgdState.start(start)[rows]
    for k, (loss, grad) in enumerate(zip(losses, grads, strict=True)):
        settings = {"eps": 0.1, "since_checkpoint": 2 if k in (2, 4) else 0, "norm": norm}
        apgd_step_(whole, x, grad, loss, **settings)
        apgd_step_(few, x[rows], grad[rows], loss[rows], **settings)
        if k == 3:
            few, rows = few[1:], rows[1:]
    assert_same_bits(few, whole[rows])


@pytest.mark.parametrize("norm", BALLS)
def test_threads_do_not_change_it(norm):
    x, start, losses, grads = example((5, 3, 100, 101))
    results, threads = [], torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            state = ApgdState.start(start)
            for k, (loss, grad) in enumerate(zip(losses, grads, strict=True)):
                apgd_step_(state, x, grad, loss, eps=0.1, since_checkpoint=2 if k in (2, 4) else 0, norm=norm)
            results.append(state)
    finally:
        torch.set_num_threads(threads)
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


def test_it_counts_as_a_change_of_the_state():
    x, start, losses, grads = example((2, 3))
    state = ApgdState.start(start)
    before = {name: (getattr(state, name), getattr(state, name)._version) for name in ("x_prev", "x_best", "loss_best")}
    apgd_step_(state, x, grads[0], losses[0], eps=0.1)
    assert all(tensor._version > version for tensor, version in before.values())
    with torch.inference_mode():
        apgd_step_(ApgdState.start(start), x, grads[0], losses[0], eps=0.1)


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"x": torch.zeros(4)}, ValueError, r"x has shape \[4\] but x_adv has \[3\]"),
        ({"x": torch.zeros(3, dtype=torch.float64)}, TypeError, "x is torch.float64 but x_adv is torch.float32"),
        ({"grad": torch.zeros(3, dtype=torch.float64)}, TypeError, "the state was started for torch.float32"),
        ({"loss": torch.zeros(2)}, ValueError, r"loss is torch.float32 \[2\]; give 3 floats"),
        ({"loss": torch.zeros(3, dtype=torch.int64)}, ValueError, "loss is torch.int64"),
        ({"eps": -0.1}, ValueError, "eps=-0.1"),
        ({"momentum": math.nan}, ValueError, "momentum=nan"),
        ({"since_checkpoint": -1}, ValueError, "since_checkpoint=-1"),
        ({"rho": 2.0}, ValueError, "rho=2.0"),
        ({"norm": "l1"}, ValueError, "norm='l1' is unknown"),
        ({"lower": 1.0, "upper": 0.0}, ValueError, "lower=1.0 and upper=0.0"),
    ],
)
def test_refusals_say_what_was_given(change, error, says):
    call = {"x": torch.zeros(3), "grad": torch.zeros(3), "loss": torch.zeros(3), "eps": 0.1} | change
    with pytest.raises(error, match=says):
        apgd_step_(ApgdState.start(torch.zeros(3)), call.pop("x"), call.pop("grad"), call.pop("loss"), **call)


def test_a_state_needs_samples():
    with pytest.raises(ValueError, match="no dimension"):
        ApgdState.start(torch.tensor(0.5))


def test_the_raw_operator_is_safe_too():
    if status().implementation != "native":
        pytest.skip("the reference serves")
    x, start, losses, grads = example((3, 2, 4, 4))

    def call(**change):
        tensors = [change.pop(name, getattr(state, name)) for name in NAMES]
        torch.ops.dlbench.apgd_step_(
            *tensors, change.pop("x", x), grads[0], change.pop("loss", losses[0].double()),
            0.1, 0.2, 0.0, 1.0, change.pop("table", None), 0.25, change.pop("since", 0), 0.75,
            change.pop("norm", "linf"), change.pop("tally", None),
        )  # fmt: skip

    state = ApgdState.start(start)
    call()
    for change, error, says in [
        ({"x_prev": start[:2]}, ValueError, "shape"),
        ({"x_best": start.double()}, TypeError, "type"),
        ({"grad_best": start.half()}, TypeError, "type"),
        ({"x_best": LAYOUTS["channels last"](start)}, ValueError, "contiguous"),
        ({"x_best": state.x_adv}, RuntimeError, "memory location"),
        ({"x_prev": x}, RuntimeError, "memory location"),
        ({"loss": losses[0]}, ValueError, "float64"),
        ({"rises": torch.zeros(3)}, ValueError, "int64"),
        ({"halved": torch.zeros(2, dtype=torch.bool)}, ValueError, "bool"),
        ({"step_scale": torch.ones(6, dtype=torch.float64)[::2]}, ValueError, "contiguous"),
        ({"table": torch.zeros(4, 2, 1)}, ValueError, "table"),
        ({"tally": torch.zeros(3, dtype=torch.int64)}, ValueError, "tally"),
        ({"since": -1}, ValueError, "since_checkpoint"),
        ({"norm": "l1"}, ValueError, "norm"),
    ]:
        with pytest.raises(error, match=says):
            call(**change)
