"""l2_step_, l1_step_, project_: exact bounds, nearest points by independent ways, samples, layouts, extremes, peers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import balls, l1_step_, l2_step_, linf_step_, project_, status

STATES = [torch.float32, torch.float64]
GRADIENTS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
ULP = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}
UNBOUNDED = {"lower": -math.inf, "upper": math.inf}


def example(shape, state=torch.float32, gradient=torch.float32, seed=0):
    """Images, a third of whose pixels are black or white, points around them, and gradients of very different sizes."""
    random = torch.Generator().manual_seed(seed)
    x = (torch.rand(shape, generator=random, dtype=state) * 1.5 - 0.25).clamp(0, 1)
    x_adv = (x + 0.1 * torch.randn(shape, generator=random, dtype=state)).clamp(0, 1)
    grad = torch.randn(shape, generator=random) * torch.randn(shape, generator=random).exp()
    return x_adv, x, grad.to(gradient)


def whole(number):
    """A float64 in units so small that it is an integer."""
    fraction, exponent = math.frexp(number)
    return int(fraction * 2**53) << (exponent + 1074)


def exact_norm_is_within(z, x, eps, norm):
    """In whole numbers, for every sample."""
    power = {"l2": 2, "l1": 1}[norm]
    radii = torch.as_tensor(eps, dtype=torch.float64).expand(len(z)).tolist()
    return all(
        sum(abs(whole(a) - whole(b)) ** power for a, b in zip(own, centre, strict=True)) <= whole(radius) ** power
        for own, centre, radius in zip(z.flatten(1).tolist(), x.flatten(1).tolist(), radii, strict=True)
    )


def lengths(d, norm):
    d = d.double().flatten(1)
    return d.norm(dim=1) if norm == "l2" else d.abs().sum(1)


def nearest(v, x, eps, norm, lower=0.0, upper=1.0):
    """One sample, by bisection in float64, from the definition: z minimises |z - v| over ball and box."""
    v, x = v.double().numpy().ravel(), x.double().numpy().ravel()

    def at(multiplier):
        d = v - x
        pulled = multiplier * d if norm == "l2" else np.sign(d) * np.maximum(np.abs(d) - multiplier, 0)
        return np.clip(x + pulled, lower, upper)

    def length(multiplier):
        d = at(multiplier) - x
        return math.sqrt((d * d).sum()) if norm == "l2" else np.abs(d).sum()

    unchanged, inside = (1.0, 0.0) if norm == "l2" else (0.0, float(np.abs(v - x).max(initial=0)))
    if length(unchanged) <= eps:
        return torch.from_numpy(at(unchanged))
    outside = unchanged
    for _ in range(110):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if length(middle) <= eps else (inside, middle)
    return torch.from_numpy(at(inside))


def shrinking(dtype):
    """By which share of it the radius that is aimed at may be smaller than eps: 3 * 2^-21, or 12 units."""
    return 12 * ULP[dtype] if dtype == torch.float32 else 1e-11


def tolerance(v, x, norm, eps):
    """What a few roundings and the smaller radius may do to an element."""
    return 4 * ULP[v.dtype] * float(max(v.abs().max(), x.abs().max(), 1)) + shrinking(v.dtype) * eps


numbers = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 1.0, 1e-40, 0.5, 1 / 255]))
points = st.one_of(numbers, st.floats(-3, 3, width=32), st.sampled_from([1e-45, -1e10, 3e38]))


@settings(max_examples=80)
@given(
    data=st.data(),
    state=st.sampled_from(STATES),
    norm=st.sampled_from(["l2", "l1"]),
    eps=st.one_of(st.sampled_from([0.0, 8 / 255, 0.5, 1e-9, 12.0]), st.floats(1e-6, 5)),
    size=st.integers(1, 25),
)
def test_projections_are_exact_optimal_and_final(data, state, norm, eps, size):
    v = torch.tensor([data.draw(st.lists(points, min_size=size, max_size=size))], dtype=state)
    x = torch.tensor([data.draw(st.lists(numbers, min_size=size, max_size=size))], dtype=state)
    is_projected(v, x, norm, eps)


@pytest.mark.parametrize("state", STATES)
def test_a_projection_that_the_box_leaves_little_of(state):
    """One element goes as far as the box; the other takes what is left, 0.75 of 1.25."""
    is_projected(torch.tensor([[0.0, 2.0]], dtype=state), torch.tensor([[1.0, 0.0]], dtype=state), "l2", 1.25)


def is_projected(v, x, norm, eps):
    state, z = v.dtype, v.clone()
    assert project_(z, x, eps=eps, norm=norm) is z
    assert (z >= 0).all() and (z <= 1).all() and exact_norm_is_within(z, x, eps, norm)
    # Of several elements from far away it matters in L1 which is farther, and that is lost where v - x is rounded.
    tie = norm == "l1" and (v.abs() > 1e6).sum() > 1
    far = (torch.finfo(state).eps if tie else 1e-16) * float(v.abs().max())
    # Where the box holds most of eps, what is left for an element moves by more than eps does.
    want = nearest(v, x, eps, norm)
    moved = float((want - nearest(v, x, eps * (1 - shrinking(state)), norm)).abs().max())
    atol = tolerance(v.clamp(-3, 3), x, norm, eps) + far + moved
    torch.testing.assert_close(z[0].double(), want, rtol=0, atol=atol)
    assert torch.equal(project_(z.clone(), x, eps=eps, norm=norm), z)
    if eps == 0:
        assert torch.equal(z, x)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 15, 16, 17, 33, 2047, 2048, 2049, 5000])
def test_all_sizes(size, norm, state):
    x_adv, x, _ = example((3, size), state)
    v = x_adv + 0.3 * torch.randn(3, size, dtype=state, generator=torch.Generator().manual_seed(1))
    eps = 0.5 * float(lengths(v.clamp(0, 1) - x, norm).min()) + 1e-3
    z = project_(v.clone(), x, eps=eps, norm=norm)
    assert exact_norm_is_within(z, x, eps, norm) and (z >= 0).all() and (z <= 1).all()
    for n in range(3):
        want = nearest(v[n], x[n], eps, norm)
        torch.testing.assert_close(z[n].double(), want, rtol=0, atol=tolerance(v, x, norm, eps))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_general_solver_finds_no_nearer_point(norm, state):
    from scipy.optimize import minimize

    random = np.random.default_rng(0)
    for _ in range(12):
        x, v = random.uniform(0, 1, 4), random.normal(0.5, 1, 4)
        eps = random.uniform(0.1, 0.8)
        ball = {
            "l2": lambda z, x=x, eps=eps: eps**2 - ((z - x) ** 2).sum(),
            "l1": lambda z, x=x, eps=eps: eps - np.sqrt((z - x) ** 2 + 1e-16).sum(),
        }[norm]
        found = minimize(
            lambda z, v=v: ((z - v) ** 2).sum(),
            x,
            bounds=[(0, 1)] * 4,
            constraints={"type": "ineq", "fun": ball},
            method="SLSQP",
        )
        ours = project_(torch.tensor(v, dtype=state)[None], torch.tensor(x, dtype=state)[None], eps=eps, norm=norm)
        assert ((ours[0].double().numpy() - v) ** 2).sum() <= found.fun * (1 + 1e-5) + 1e-6


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_projections_bring_points_no_farther_apart(norm, state):
    a, x, _ = example((20, 50), state)
    a, b = (a + torch.randn(20, 50, dtype=state) for _ in "ab")
    apart = project_(a.clone(), x, eps=0.7, norm=norm) - project_(b.clone(), x, eps=0.7, norm=norm)
    assert (apart.double().norm(dim=1) <= (a - b).double().norm(dim=1) * (1 + 1e-6) + 1e-6).all()


def duchi(d, eps):
    """Duchi et al. (ICML 2008), figure 1, with the signs put back."""
    size = d.abs().sort(descending=True).values
    if size.sum() <= eps:
        return d
    excess = size.cumsum(0) - eps
    last = int((size * torch.arange(1, len(d) + 1) > excess).nonzero().max())
    return d.sign() * (d.abs() - excess[last] / (last + 1)).clamp(min=0)


@pytest.mark.parametrize("eps", [0.01, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("size", [1, 5, 400])
def test_without_a_box_it_is_the_sorted_l1_projection(size, eps):
    x, d = torch.rand(4, size, dtype=torch.float64), torch.randn(4, size, dtype=torch.float64)
    z = project_(x + d, x, eps=eps, norm="l1", **UNBOUNDED)
    torch.testing.assert_close(z - x, torch.stack([duchi(row, eps) for row in d]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("state", STATES)
def test_without_a_box_it_is_the_rescaled_vector(state):
    x, d = torch.randn(5, 300, dtype=state), torch.randn(5, 300, dtype=state)
    z = project_(x + d, x, eps=2.0, norm="l2", **UNBOUNDED)
    want = x + 2 * d / d.norm(dim=1, keepdim=True)
    torch.testing.assert_close(z, want, rtol=0, atol={torch.float32: 2e-6, torch.float64: 2e-12}[state])
    assert exact_norm_is_within(z, x, 2.0, "l2")
    assert (lengths(z - x, "l2") > 2 * (1 - 4e-6)).all()


@pytest.mark.parametrize("state", STATES)
def test_linf_is_the_linf_step_that_does_not_move(state):
    x_adv, x, grad = example((3, 3, 4, 4), state)
    v, eps = x_adv + 0.2, torch.rand(1, 3, 1, 1) / 4
    want = linf_step_(v.clone(), x, grad, eps=eps, step_size=0.0)
    assert torch.equal(project_(v, x, eps=eps, norm="linf"), want)


# ------------------------------------------------------------------------------------------------------------ the steps


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("state", STATES)
def test_an_l2_step_is_the_projection_of_the_normalised_gradient(state, gradient):
    x_adv, x, grad = example((4, 3, 11, 13), state, gradient)
    g = grad.double().flatten(1)
    move = (0.4 * g / g.norm(dim=1, keepdim=True)).view(x.shape)
    v = (x_adv.double() + move).to(state)
    project_(x_adv, x, eps=1.5, norm="l2")
    v = (x_adv.double() + move).to(state)
    got = l2_step_(x_adv.clone(), x, grad, eps=1.5, step_size=0.4)
    for n in range(4):
        want = nearest(v[n], x[n], 1.5, "l2").view(x[n].shape)
        torch.testing.assert_close(got[n].double(), want, rtol=0, atol=tolerance(v, x, "l2", 1.5))
    assert exact_norm_is_within(got, x, 1.5, "l2")


def chosen_by_sorting(x_adv, grad, step_size, sparsity, lower=0.0, upper=1.0):
    """What an L1 step adds to one flat sample: stable sorting, one element after the other."""
    g = grad.double().tolist()
    free = [
        i
        for i, (a, slope) in enumerate(zip(x_adv.tolist(), g, strict=True))
        if math.isfinite(slope) and slope != 0 and (a < upper if slope * step_size > 0 else a > lower)
    ]
    k = max(1, math.floor(sparsity * len(g) + 0.5))
    order = sorted(free, key=lambda i: -abs(g[i]))
    chosen = [i for i in free if abs(g[i]) >= abs(g[order[min(k, len(order)) - 1]])]
    move = torch.zeros(len(g), dtype=torch.float64)
    for i in chosen:
        move[i] = math.copysign(step_size, step_size * g[i]) / len(chosen)
    return move.to(x_adv.dtype).double()


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("size", [1, 17, 2500])
@pytest.mark.parametrize("ties", [False, True])
def test_an_l1_step_moves_the_largest_that_may(ties, size, state, gradient):
    for seed, (sparsity, step_size) in enumerate([(0.01, 0.3), (0.3, -0.3), (1.0, 0.7), (1e-9, 0.2)]):
        x_adv, x, grad = example((2, size), state, gradient, seed)
        if ties:
            grad = grad.sign() * (grad.abs() * 2).ceil().clamp(max=4)
        grad[0, ::5], grad[0, 3::11], grad[0, 4::13] = 0, math.nan, math.inf
        step_size = float(torch.tensor(step_size, dtype=state))
        move = torch.stack([chosen_by_sorting(*pair, step_size, sparsity) for pair in zip(x_adv, grad, strict=True)])
        v = (x_adv.double() + move).to(state)
        got = l1_step_(x_adv.clone(), x, grad, eps=1e6, step_size=step_size, sparsity=sparsity)
        assert torch.equal(got, v.clamp(0, 1))
        got = l1_step_(x_adv.clone(), x, grad, eps=0.4, step_size=step_size, sparsity=sparsity)
        for n in range(2):
            torch.testing.assert_close(
                got[n].double(), nearest(v[n], x[n], 0.4, "l1"), rtol=0, atol=tolerance(v, x, "l1", 0.4)
            )
        assert exact_norm_is_within(got, x, 0.4, "l1")


@pytest.mark.parametrize("kind", ["a sample misleads", "nearly all alike", "few values", "all zeros but one", "rising"])
@pytest.mark.parametrize("sparsity", [1e-9, 0.01, 0.5, 0.99, 1.0])
def test_many_gradients_of_any_kind(kind, sparsity):
    """Thousands are told apart by a sample of every n^(1/3)-th first, which may be no help."""
    n = 5000
    random, places = torch.Generator().manual_seed(0), torch.arange(n)
    grad = torch.randn(n, generator=random)
    if kind == "a sample misleads":
        grad[places % 17 == 0] *= 1000
    elif kind == "nearly all alike":
        grad = torch.where(places % 1000 == 7, grad, torch.ones(()))
    elif kind == "few values":
        grad = grad.round()
    elif kind == "all zeros but one":
        grad = torch.where(places == 4321, -1.0, 0.0)
    elif kind == "rising":
        grad = places / n
    x = torch.rand(n, generator=random)
    want = (x + chosen_by_sorting(x, grad, 0.7, sparsity, -9.0, 9.0)).float()
    got = l1_step_(x[None].clone(), x[None], grad[None], eps=1e6, step_size=0.7, sparsity=sparsity, lower=-9, upper=9)
    torch.testing.assert_close(got[0], want, atol=1e-6, rtol=0)


def test_an_l1_step_has_its_length_and_a_tie_shares_it():
    x = torch.full((1, 6), 0.5)
    grad = torch.tensor([[0.1, -3.0, 3.0, 0.2, 3.0, -0.5]])
    got = l1_step_(x.clone(), x, grad, eps=1.0, step_size=0.3, sparsity=1 / 6)
    torch.testing.assert_close(got - x, torch.tensor([[0, -0.1, 0.1, 0, 0.1, 0]]))


STEPS = {
    "l2": lambda a, x, g, **more: l2_step_(a, x, g, **{"eps": 0.9, "step_size": 0.3} | more),
    "l1": lambda a, x, g, **more: l1_step_(a, x, g, **{"eps": 2.0, "step_size": 0.8, "sparsity": 0.2} | more),
}
each_step = pytest.mark.parametrize("norm", STEPS)


@each_step
@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-20, 1e20, 1e37])
def test_the_size_of_a_gradient_does_not_matter(norm, scale):
    x_adv, x, _ = example((3, 200))
    grad = torch.randint(1, 9, (3, 200)).float() * torch.randint(0, 2, (3, 200)).mul(2).sub(1)
    want = STEPS[norm](x_adv.clone(), x, grad)
    scaled = grad * torch.tensor(scale)
    assert (scaled != 0).all() and scaled.isfinite().all()
    if scale == 1e-45:
        scaled = grad * 2.0**-149
    torch.testing.assert_close(STEPS[norm](x_adv, x, scaled), want, rtol=0, atol=2.0**-23)


@each_step
@pytest.mark.parametrize("scale", [2.0**-1074, 1e-300, 1e300, 1e307])
def test_nor_does_it_in_float64(norm, scale):
    x_adv, x, _ = example((3, 200), torch.float64)
    grad = torch.randint(1, 9, (3, 200)).double() * torch.randint(0, 2, (3, 200)).mul(2).sub(1)
    want = STEPS[norm](x_adv.clone(), x, grad)
    torch.testing.assert_close(STEPS[norm](x_adv, x, grad * scale), want, rtol=0, atol=1e-14)


@each_step
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_what_is_no_gradient_does_not_move(norm, gradient):
    x_adv, x, grad = example((3, 40), gradient=gradient)
    project_(x_adv, x, eps=0.5, norm=norm)
    grad[0] = 0
    grad[1, ::2], grad[1, 1::2] = math.nan, math.inf
    grad[2, ::3], grad[2, 1::3] = -math.inf, math.nan
    got = STEPS[norm](x_adv.clone(), x, grad, eps=0.5)
    assert torch.equal(got[:2], x_adv[:2]) and got.isfinite().all()
    clean = torch.where(grad.isfinite(), grad, torch.zeros_like(grad))
    assert torch.equal(got, STEPS[norm](x_adv.clone(), x, clean, eps=0.5))


@each_step
def test_a_negative_step_descends(norm):
    x_adv, x, grad = example((2, 60))
    step = {"l2": 0.3, "l1": 0.8}[norm]
    want = STEPS[norm](x_adv.clone(), x, -grad, step_size=step)
    assert torch.equal(STEPS[norm](x_adv, x, grad, step_size=-step), want)


@each_step
def test_no_radius_gives_the_centre(norm):
    x_adv, x, grad = example((2, 60))
    assert torch.equal(STEPS[norm](x_adv, x, grad, eps=0.0), x)


# ----------------------------------------------------------------------------------------------- samples and channels


@each_step
@pytest.mark.parametrize("state", STATES)
def test_limits_of_samples_are_those_of_a_loop(norm, state):
    x_adv, x, grad = example((6, 3, 5, 7), state)
    eps, step_size = torch.rand(6) * 2, torch.rand(6, dtype=torch.float64) - 0.5
    share = {"sparsity": torch.rand(6) / 2 + 0.01} if norm == "l1" else {}
    want = torch.cat(
        [
            STEPS[norm](
                x_adv[n : n + 1].clone(),
                x[n : n + 1],
                grad[n : n + 1],
                eps=float(eps[n]),
                step_size=float(step_size[n]),
                **{k: float(v[n]) for k, v in share.items()},
            )
            for n in range(6)
        ]
    )
    assert torch.equal(STEPS[norm](x_adv.clone(), x, grad, eps=eps, step_size=step_size, **share), want)
    assert torch.equal(STEPS[norm](x_adv, x, grad, eps=eps.view(6, 1, 1, 1), step_size=step_size, **share), want)
    assert exact_norm_is_within(want, x, eps, norm)


def channels_last(t):
    return t.contiguous(memory_format=torch.channels_last)


LAYOUTS = {
    "contiguous": lambda t: t.contiguous(),
    "channels last": channels_last,
    "transposed": lambda t: t.transpose(0, 3).contiguous().transpose(0, 3),
    "every second": lambda t: t.repeat_interleave(2, dim=3)[..., ::2],
    "misaligned": lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape),
}


@each_step
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 5, 33, 40), (3, 2, 1, 1)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_bounds_per_channel_are_those_of_each_element(norm, shape, layout):
    x_adv, x, grad = example(shape, torch.float64)
    lower, upper = -torch.rand(shape[1]) / 4, 0.5 + torch.rand(shape[1]) / 2
    x = x.clamp(lower.view(-1, 1, 1), upper.view(-1, 1, 1))
    bounds = {"lower": lower, "upper": upper}
    got = STEPS[norm](LAYOUTS[layout](x_adv.clone()), LAYOUTS[layout](x), LAYOUTS[layout](grad), **bounds)
    assert exact_norm_is_within(got, x, {"l2": 0.9, "l1": 2.0}[norm], norm)
    assert (got >= lower.view(-1, 1, 1)).all() and (got <= upper.view(-1, 1, 1)).all()
    flat = [t.flatten(1) for t in (x_adv, x, grad)]  # every element a channel
    wide = {k: b.view(-1, 1, 1).expand(shape[1:]).flatten() for k, b in bounds.items()}
    want = STEPS[norm](flat[0].clone(), *flat[1:], **wide).view(shape)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@each_step
@pytest.mark.parametrize("state", STATES)
def test_images_of_mean_and_deviation_need_no_wrapper(norm, state):
    """With equal deviations the units are the only difference; a ball has one radius."""
    x_adv, x, grad = example((4, 3, 6, 6), state)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]).to(state), 0.25

    def normalised(t):
        return (t - mean.view(-1, 1, 1)) / deviation

    size = {"eps": 0.8, "step_size": 0.4}
    want = normalised(STEPS[norm](x_adv.clone(), x, grad, **size))
    got = STEPS[norm](
        normalised(x_adv),
        normalised(x),
        grad,
        **{k: v / deviation for k, v in size.items()},
        lower=(0 - mean) / deviation,
        upper=(1 - mean) / deviation,
    )
    torch.testing.assert_close(got, want, rtol=0, atol={torch.float32: 1e-5, torch.float64: 1e-10}[state])


@each_step
@pytest.mark.parametrize("of_grad", LAYOUTS)
@pytest.mark.parametrize("of_state", LAYOUTS)
def test_layouts(norm, of_state, of_grad):
    x_adv, x, grad = example((2, 3, 5, 4))
    want = STEPS[norm](x_adv.clone(), x, grad)
    state = LAYOUTS[of_state](x_adv)
    strides = state.stride()
    got = STEPS[norm](state, x, LAYOUTS[of_grad](grad))
    assert got is state and state.stride() == strides
    torch.testing.assert_close(got, want, rtol=0, atol=2.0**-23)  # sums have another order where channels come last
    assert torch.equal(got, want) or of_state == "channels last"


@each_step
def test_what_lies_between_the_elements_is_left_alone(norm):
    x_adv, x, grad = example((4, 6))
    around = torch.full((4, 12), 7.0)
    around[:, ::2] = x_adv
    STEPS[norm](around[:, ::2], x, grad)
    assert (around[:, 1::2] == 7).all() and torch.equal(around[:, ::2], STEPS[norm](x_adv, x, grad))


@each_step
@pytest.mark.parametrize("shape", [(0,), (0, 3, 4), (3, 0), (5,), (1, 1, 1, 1), (7, 1)], ids=str)
def test_small_shapes(norm, shape):
    x_adv, x, grad = example(shape)
    got = STEPS[norm](x_adv.clone(), x, grad)
    assert got.shape == shape
    for n in range(len(x) if x.numel() else 0):  # one number: both norms are its size
        size = {"l2": (0.9, 0.3), "l1": (2.0, 0.8)}[norm]
        v = float(x_adv[n]) + math.copysign(size[1], float(grad[n]))
        assert float(got[n]) == pytest.approx(min(max(v, float(x[n]) - size[0], 0), float(x[n]) + size[0], 1), abs=1e-6)


@each_step
def test_state_and_centre_may_be_one_tensor(norm):
    _, x, grad = example((3, 99))
    want = STEPS[norm](x.clone(), x.clone(), grad)
    assert torch.equal(STEPS[norm](x, x, grad), want)


@each_step
def test_other_overlaps_are_refused(norm):
    x_adv, x, grad = example((10, 4))
    if status().implementation == "native":
        with pytest.raises(RuntimeError, match="single memory location"):
            STEPS[norm](x_adv[1:], x_adv[:-1], grad[1:])
    with pytest.raises(RuntimeError, match="single memory location"):
        STEPS[norm](x_adv[:1].expand(10, 4), x, grad)


@each_step
def test_threads_do_not_change_it(norm):
    x_adv, x, grad = example((9, 3, 60, 60))
    results = []
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(STEPS[norm](x_adv.clone(), x, grad))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@each_step
def test_other_samples_do_not_change_one(norm):
    x_adv, x, grad = example((9, 3, 20, 20))
    want = STEPS[norm](x_adv.clone(), x, grad)
    some = torch.tensor([7, 2, 3])
    assert torch.equal(STEPS[norm](x_adv[some], x[some], grad[some]), want[some])


@each_step
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_tally_counts_what_is_no_ordinary_gradient(norm, gradient):
    x_adv, x, _ = example((3, 5000))
    tiny = {torch.float32: 1e-45, torch.float64: 5e-324, torch.bfloat16: 1e-40, torch.float16: 6e-8}[gradient]
    grad = torch.ones(3, 5000, dtype=gradient)
    grad[0, :7], grad[0, 4095:4099], grad[1, 2:5], grad[2, ::2] = 0, tiny, -math.inf, math.nan
    grad[0, 7] = -0.0
    tally = torch.ones(3, 4, dtype=torch.int64)
    STEPS[norm](x_adv, x, grad, tally=tally)
    assert (tally - 1).tolist() == [[8, 4, 0, 0], [0, 0, 3, 0], [0, 0, 0, 2500]]


# ------------------------------------------------------------------------------------------------------------ extremes


@each_step
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("where", ["x", "x_adv"])
@pytest.mark.parametrize("what", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_stays_where_it_is(norm, what, where, state):
    x_adv, x, grad = example((3, 3, 5, 5), state)
    broken = {"x_adv": x_adv.clone(), "x": x.clone()}
    broken[where][1, :, ::2, 2] = what
    got = STEPS[norm](broken["x_adv"].clone(), broken["x"], grad)
    clean = STEPS[norm](x_adv.clone(), x, grad)
    assert torch.equal(got[[0, 2]], clean[[0, 2]])
    hit = torch.zeros(3, 3, 5, 5, dtype=torch.bool)
    hit[1, :, ::2, 2] = True
    if where == "x" or math.isnan(what):
        assert got[hit].isnan().all()
    assert got[~hit].isfinite().all()
    if where == "x_adv" and math.isinf(what):  # a point very far away
        far = x_adv.clone()
        far[hit] = math.copysign(1e30, what)
        torch.testing.assert_close(got, STEPS[norm](far, x, grad), rtol=0, atol=1e-6)
    held = torch.where(got.isnan() | x.isnan(), x, got)
    assert exact_norm_is_within(held, x, {"l2": 0.9, "l1": 2.0}[norm], norm)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("eps", [0.0, 1e-45, 1e-30, 0.1, 1e30, 3e38])
@pytest.mark.parametrize("box", [(0.0, 1.0), (-math.inf, math.inf)])
def test_extreme_numbers(norm, eps, box):
    values = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 1e-38, 1e-20, 0.5, 1 / 3, 3e38, -3e38, 1e10])
    v, x = (t.contiguous() for t in torch.meshgrid(values, values, indexing="ij"))
    inside = (x >= box[0]) & (x <= box[1])
    z = project_(v.clone(), x, eps=eps, norm=norm, lower=box[0], upper=box[1])
    assert z.isfinite().all() and (z >= box[0]).all() and (z <= box[1]).all()
    assert not (torch.signbit(z) & (z == 0)).any()
    assert exact_norm_is_within(torch.where(inside, z, x), x, eps, norm) or not inside.all()
    if box[1] == math.inf:
        assert exact_norm_is_within(z, x, eps, norm)


@pytest.mark.parametrize("size", [3, 64, 70, 200])
@pytest.mark.parametrize("eps", [1e-7, 1e-4, 1.0])
def test_the_ball_holds_far_away_whatever_the_rest_of_a_vector(eps, size):
    x = torch.zeros(1, size)
    v = x.clone()
    v[0, size - 1] = 1e38  # whose square no float holds
    assert exact_norm_is_within(project_(v.clone(), x, eps=eps, norm="l2", **UNBOUNDED), x, eps, "l2")
    grad = torch.zeros(1, size)
    grad[0, size - 1] = 1e-30
    got = l2_step_(x.clone(), x, grad, eps=eps, step_size=1e38, **UNBOUNDED)
    assert exact_norm_is_within(got, x, eps, "l2")
    assert eps < 1 or got.abs().sum() > 0.9  # a smaller share of 1e38 is denormal, and loses digits


def test_a_negative_zero_is_a_zero():
    x_adv, x, grad = example((2, 64))
    x[:, ::3] = 0
    negative = torch.where(x == 0, -x, x)
    assert torch.signbit(negative[x == 0]).all()
    for take in (l2_step_, l1_step_):
        want = take(x_adv.clone(), x, grad, eps=0.3, step_size=0.2)
        assert torch.equal(take(x_adv.clone(), negative, grad, eps=0.3, step_size=0.2), want)


@each_step
@pytest.mark.parametrize("state", STATES)
def test_the_box_wins_where_the_ball_lies_outside(norm, state):
    x = torch.tensor([[1.5, -0.5, 0.5, 0.5]], dtype=state)
    grad = torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=state)
    got = STEPS[norm](x.clone(), x, grad, eps=0.1)
    torch.testing.assert_close(got, torch.tensor([[1.0, 0.0, 0.5, 0.5]], dtype=state), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_centre_outside_the_box_leaves_the_rest_of_the_radius(norm):
    x, v = torch.tensor([[1.25, 0.5, 0.5]]).double(), torch.tensor([[1.0, 1.0, 0.9]]).double()
    z = project_(v.clone(), x, eps=0.5, norm=norm)
    assert z[0, 0] == 1 and lengths(z - x, norm) == pytest.approx(0.5, abs=1e-10)
    torch.testing.assert_close(z[0], nearest(v, x, 0.5, norm), rtol=0, atol=1e-10)


# ------------------------------------------------------------------------------------------------------ what is refused


@each_step
def test_it_counts_as_a_change_of_the_state(norm):
    x_adv, x, grad = example((2, 10))
    version = x_adv._version
    STEPS[norm](x_adv, x, grad)
    assert x_adv._version > version
    with torch.inference_mode():
        STEPS[norm](x_adv.clone(), x, grad)
    x_adv.requires_grad_()
    with pytest.raises(ValueError, match="no_grad"):
        STEPS[norm](x_adv, x, grad)


@each_step
@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"x": torch.zeros(3, 5)}, ValueError, r"x has shape \[3, 5\] but x_adv has \[3, 4\]"),
        ({"grad": torch.zeros(3, 4).int()}, TypeError, "grad is torch.int32"),
        ({"x_adv": torch.zeros(3, 4, dtype=torch.bfloat16)}, TypeError, "x_adv is torch.bfloat16"),
        ({"eps": -0.1}, ValueError, "eps=-0.1"),
        ({"eps": math.inf}, ValueError, "eps=inf"),
        ({"step_size": math.nan}, ValueError, "step_size=nan"),
        ({"lower": 1.0, "upper": 0.0}, ValueError, "lower=1.0 and upper=0.0"),
        ({"eps": torch.zeros(2)}, ValueError, r"eps has shape \[2\]"),
        ({"eps": torch.zeros(1, 4)}, ValueError, r"eps has shape \[1, 4\], but this norm is taken over a whole sample"),
        ({"step_size": torch.zeros(3, 4)}, ValueError, r"give a number or \[3\] \(per sample\)"),
        ({"eps": torch.tensor([0.1, -1.0, 0.1])}, ValueError, "eps=-1.0"),
    ],
)
def test_refusals_say_what_was_given(norm, change, error, says):
    tensors = dict.fromkeys(("x_adv", "x", "grad"), torch.zeros(3, 4))
    given = {k: change.get(k, tensors[k]) for k in tensors}
    with pytest.raises(error, match=says):
        STEPS[norm](*given.values(), **{k: v for k, v in change.items() if k not in tensors})


@pytest.mark.parametrize(
    ("sparsity", "says"),
    [
        (0.0, r"sparsity=0.0 .* must be in \(0, 1\]"),
        (1.5, "sparsity=1.5"),
        (math.nan, "sparsity=nan"),
        (torch.zeros(2), r"sparsity has shape \[2\]; give a number or \[3\]"),
        (torch.tensor([0.1, 0.0, 0.1]), "they must be in"),
    ],
)
def test_a_sparsity_is_a_share(sparsity, says):
    x = torch.zeros(3, 4)
    with pytest.raises(ValueError, match=says):
        l1_step_(x.clone(), x, x, eps=1.0, step_size=1.0, sparsity=sparsity)


def test_other_refusals():
    x = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="norm is 'l3'; give one of linf, l2, l1"):
        project_(x.clone(), x, eps=1.0, norm="l3")
    with pytest.raises(ValueError, match="no dimension"):
        project_(x[0, 0].clone(), x[0, 0], eps=1.0, norm="l2")
    if status().implementation != "native":
        pytest.skip("the reference serves")
    for raw in (
        lambda: torch.ops.dlbench.l2_step_(x, torch.zeros(2), x, 0.1, 0.1, 0.0, 1.0),
        lambda: torch.ops.dlbench.l1_step_(x, x, x, 0.1, 0.1, 0.0, 1.0, 0.0),
        lambda: torch.ops.dlbench.l1_step_(x, x, x, 0.1, 0.1, 0.0, 1.0, 0.1, None, torch.zeros(3)),
        lambda: torch.ops.dlbench.project_(x, x, 0.1, 0.0, 1.0, "l3"),
        lambda: torch.ops.dlbench.project_(x, x, 0.1, 0.0, 1.0, "l2", torch.zeros(4, 2, 1)),
    ):
        with pytest.raises(ValueError, match="must"):
            raw()


# --------------------------------------------------------------------------------------------------------------- peers


class Linear(torch.nn.Module):
    """Logits whose cross-entropy has the input gradient that it is given, times one number a sample."""

    def __init__(self, direction):
        super().__init__()
        self.direction = direction

    def forward(self, x):
        score = (x * self.direction[: len(x)]).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score - score.detach()], dim=1)


@pytest.mark.peers
class TestPeers:
    """The box is out of the way where peers clip after they have projected."""

    def points(self, spread=0.02):
        torch.manual_seed(0)
        x = 0.5 + spread * torch.randn(4, 3, 8, 8)
        return x, torch.randn_like(x), torch.zeros(4, dtype=torch.int64)

    def ours(self, x, grad, steps, eps, step_size):
        x_adv = x.clone()
        for _ in range(steps):
            l2_step_(x_adv, x, grad, eps=eps, step_size=step_size)
        return x_adv

    @pytest.mark.parametrize("steps", [1, 7])
    def test_l2_of_torchattacks(self, steps):
        torchattacks = pytest.importorskip("torchattacks")
        x, grad, y = self.points()
        attack = torchattacks.PGDL2(Linear(grad), eps=0.5, alpha=0.1, steps=steps, random_start=False)
        torch.testing.assert_close(attack(x, y), self.ours(x, grad, steps, 0.5, 0.1), rtol=0, atol=1e-6)

    @pytest.mark.parametrize("steps", [1, 7])
    def test_l2_of_foolbox(self, steps):
        foolbox = pytest.importorskip("foolbox")
        x, grad, y = self.points()
        model = foolbox.PyTorchModel(Linear(grad).eval(), bounds=(0, 1))
        attack = foolbox.attacks.L2PGD(abs_stepsize=0.1, steps=steps, random_start=False)
        theirs = attack.run(model, x, foolbox.criteria.Misclassification(y), epsilon=0.5)
        torch.testing.assert_close(theirs, self.ours(x, grad, steps, 0.5, 0.1), rtol=0, atol=1e-6)

    def test_tiny_gradients_stop_them_and_not_us(self):
        """Their norms have a floor, 1e-10 and 1e-12; ours is that of the gradient."""
        torchattacks, foolbox = pytest.importorskip("torchattacks"), pytest.importorskip("foolbox")
        x, grad, y = self.points()
        tiny = grad * 1e-16
        attack = torchattacks.PGDL2(Linear(tiny), eps=0.5, alpha=0.5, steps=1, random_start=False)
        assert ((attack(x, y) - x).flatten(1).norm(dim=1) < 0.01).all()
        model = foolbox.PyTorchModel(Linear(tiny).eval(), bounds=(0, 1))
        attack = foolbox.attacks.L2PGD(abs_stepsize=0.5, steps=1, random_start=False)
        theirs = attack.run(model, x, foolbox.criteria.Misclassification(y), epsilon=0.5)
        assert ((theirs - x).flatten(1).norm(dim=1) < 0.01).all()
        ours = self.ours(x, tiny, 1, 0.5, 0.5)
        assert ((ours - x).flatten(1).norm(dim=1) > 0.4999).all()

    def test_where_the_box_is_in_the_way_we_are_nearer(self):
        """Rescaling and clipping, as all of them do, ends at another point of ball and box, not the nearest."""
        x, grad, _ = self.points()
        x = (x * 40 - 19.5).clamp(0, 1)
        v = x + 2 * grad
        ours = project_(v.clone(), x, eps=1.0, norm="l2")
        d = (v - x).flatten(1)
        theirs = (x + (d / d.norm(dim=1, keepdim=True)).view(x.shape)).clamp(0, 1)
        assert ((ours - v).flatten(1).norm(dim=1) < (theirs - v).flatten(1).norm(dim=1)).all()

    def test_l1_of_foolbox(self):
        """Their sparse steps are ours; their projection ends outside the ball (its index is one too large)."""
        foolbox = pytest.importorskip("foolbox")
        ep = pytest.importorskip("eagerpy")
        x, grad, _ = self.points()
        attack = foolbox.attacks.SparseL1DescentAttack(quantile=0.95)
        bounds = foolbox.types.Bounds(0, 1)
        ours, theirs = x.clone(), ep.astensor(x)
        for _ in range(3):
            l1_step_(ours, x, grad, eps=1.5, step_size=0.5, sparsity=10 / 192)
            theirs = theirs + 0.5 * attack.normalize(ep.astensor(grad), x=theirs, bounds=bounds)
        torch.testing.assert_close(ours, theirs.raw, rtol=0, atol=1e-6)
        theirs = attack.project(theirs, ep.astensor(x), 1.0).raw
        assert (lengths(theirs - x, "l1") > 1.01).all()
        project_(ours, x, eps=1.0, norm="l1")
        assert exact_norm_is_within(ours, x, 1.0, "l1") and (lengths(ours - x, "l1") > 1 - 1e-5).all()

    @pytest.mark.parametrize("eps", [0.1, 2.0, 50.0])
    def test_l1_projection_of_art(self, eps):
        utils = pytest.importorskip("art.utils")
        x, d = torch.rand(4, 30), torch.randn(4, 30)
        theirs = utils.projection(d.numpy(), eps, 1, suboptimal=False)
        ours = project_(x + d, x, eps=eps, norm="l1", **UNBOUNDED) - x
        torch.testing.assert_close(ours.numpy(), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("state", "size", "step"), [(torch.float32, 1e-12, 1e28), (torch.float64, 1e-118, 1e200)])
def test_a_step_of_which_a_unit_overflows_moves_no_element_without_a_gradient(state, size, step):
    x, grad = torch.full((1, 100), 0.5, dtype=state), torch.zeros(1, 100, dtype=state)
    grad[0, :40] = size
    got = l2_step_(x.clone(), x, grad, eps=0.5, step_size=step)
    assert torch.equal(got[0, 40:], x[0, 40:])
    assert float((got - x).double().norm()) == pytest.approx(0.5, rel=1e-5)


def test_one_element_far_outside_of_the_box_does_not_pull_the_others():
    x = torch.full((1, 100), 0.5)
    v = x.clone()
    v[0, 1:] = 0.9
    x[0, 0] = v[0, 0] = -1e20
    got = project_(v.clone(), x, eps=1e25, norm="l2")
    assert torch.equal(got[0, 1:], v[0, 1:]) and got[0, 0] == 0


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_more_keys_are_alike_than_their_type_can_count(gradient):
    size = 70_000  # of 16 bits, which count to 65,535
    x = torch.full((1, size), 0.5)
    grad = torch.ones(1, size, dtype=gradient)
    grad[0, ::7] = 2.0
    got = l1_step_(x.clone(), x, grad, eps=1e6, step_size=1.0, sparsity=0.01)
    assert (got[0, ::7] == 0.5 + torch.tensor(1 / 10_000)).all() and (got != x).sum() == 10_000
    got = l1_step_(x.clone(), x, grad, eps=1e6, step_size=1.0, sparsity=0.5)
    assert (got == 0.5 + torch.tensor(1 / size)).all()


@pytest.mark.parametrize(("norm", "more"), [("l2", ()), ("l1", (0.1,))])
def test_the_short_way_takes_the_same_step_or_none(norm, more):
    short = {"l2": balls._short_l2_step, "l1": balls._short_l1_step}[norm]
    op = {"l2": torch.ops.dlbench.l2_step_, "l1": torch.ops.dlbench.l1_step_}[norm]
    x, grad = torch.rand(3, 50), torch.randn(3, 50)
    usual = (0.1, 0.3, 0.0, 1.0, *more)
    want = x.clone()
    op(want, x, grad, *usual)
    if status().implementation == "native":
        got = x.clone()
        assert short(got, x, grad, *usual) and torch.equal(got, want) and not torch.equal(got, x)
        version = got._version
        assert short(got, x, grad.bfloat16(), *usual) and got._version > version
    impossible = [(0, -1.0), (0, torch.nan), (0, torch.inf), (1, torch.nan), (2, 2.0), (3, torch.nan), (0, x), (1, 1)]
    impossible += [(4, bad) for bad in (0.0, 1.5, torch.nan, 1, None)] if more else []
    for arguments in [
        (x.half(), x.half(), grad, *usual),
        (x.clone(), x.double(), grad, *usual),
        (x.clone(), x, grad[:2], *usual),
        (x.clone(), x, grad.int(), *usual),
        (x[0, 0].clone(), x[0, 0], grad[0, 0], *usual),  # which has no samples
        (x.clone().requires_grad_(), x, grad, *usual),
        (None, x, grad, *usual),
        *((x.clone(), x, grad, *usual[:i], bad, *usual[i + 1 :]) for i, bad in impossible),
    ]:
        before = None if arguments[0] is None else arguments[0].detach().clone()
        assert not short(*arguments)
        assert before is None or torch.equal(arguments[0].detach(), before)
