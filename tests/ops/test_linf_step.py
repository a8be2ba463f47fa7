"""linf_step_: against an oracle in rational numbers, against the reference bit by bit, and what it refuses."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import linf_step_, perturb, reference, status

STATES = {torch.float32: np.float32, torch.float64: np.float64}
GRADIENTS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
TINY = {torch.float32: 1e-45, torch.float64: 5e-324, torch.bfloat16: 1e-40, torch.float16: 6e-8}


def rounded_down(value: Fraction, kind: type) -> np.floating:
    """The largest number of ``kind`` that is not above a rational number."""
    number = kind(float(value))
    while Fraction(float(number)) > value:
        number = np.nextafter(number, kind(-np.inf))
    while Fraction(float(np.nextafter(number, kind(np.inf)))) <= value:
        number = np.nextafter(number, kind(np.inf))
    return number


def oracle(x_adv, x, grad, eps, step_size, lower, upper, kind):
    """One element, in rational arithmetic but for the addition of the step, which rounds to nearest."""
    sign = 0 if grad == 0 or not math.isfinite(grad) else math.copysign(1, grad)
    v = kind(x_adv) + kind(step_size) * kind(sign)
    radius = Fraction(float(rounded_down(Fraction(eps), kind)))
    centre = Fraction(float(x))
    v = min(max(v, -rounded_down(radius - centre, kind)), rounded_down(centre + radius, kind))
    return min(max(v, -rounded_down(Fraction(-lower), kind)), rounded_down(Fraction(upper), kind))


def step(x_adv, x, grad, eps=8 / 255, step_size=2 / 255, lower=0.0, upper=1.0):
    return linf_step_(x_adv, x, grad, eps=eps, step_size=step_size, lower=lower, upper=upper)


def in_torch(x_adv, x, grad, eps=8 / 255, step_size=2 / 255, lower=0.0, upper=1.0):
    out = x_adv.clone()
    reference.linf_step_(out, x, grad, eps, step_size, lower, upper)
    return out


def same_bits(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    both_nan = a.isnan() & b.isnan()
    integers = torch.int32 if a.dtype == torch.float32 else torch.int64
    return bool((both_nan | (a.contiguous().view(integers) == b.contiguous().view(integers))).all())


def example(shape, state=torch.float32, gradient=torch.float32, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=random, dtype=state)
    x_adv = (x + 0.06 * torch.rand(shape, generator=random, dtype=state) - 0.03).clamp(0, 1)
    return x_adv, x, torch.randn(shape, generator=random).to(gradient)


pixels = st.one_of(st.integers(0, 255).map(lambda n: n / 255), st.floats(0, 1), st.sampled_from([0.0, 1.0, 1e-40, 0.5]))
slopes = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-7, -1e30, math.nan, math.inf, -math.inf, "tiny", "-tiny"])


@settings(deadline=None, max_examples=200)
@given(data=st.data(), state=st.sampled_from(list(STATES)), gradient=st.sampled_from(GRADIENTS))
def test_every_element_is_what_rational_arithmetic_says(data, state, gradient):
    n = data.draw(st.integers(0, 37))
    eps = data.draw(st.one_of(st.sampled_from([0.0, 8 / 255, 0.3, 1e-9, 2.0]), st.floats(0, 3)))
    step_size = data.draw(st.one_of(st.sampled_from([2 / 255, -2 / 255, 0.0]), st.floats(-2, 2)))
    lower, upper = data.draw(st.sampled_from([(0.0, 1.0), (0.1, 0.9), (-2.1179, 2.64), (-1e30, 1e30)]))
    named = {"tiny": TINY[gradient], "-tiny": -TINY[gradient]}
    grad = torch.tensor([named.get(g, g) for g in data.draw(st.lists(slopes, min_size=n, max_size=n))], dtype=gradient)
    x = torch.tensor(data.draw(st.lists(pixels, min_size=n, max_size=n)), dtype=state)
    x_adv = torch.tensor(data.draw(st.lists(pixels, min_size=n, max_size=n)), dtype=state)
    start = x_adv.clone()

    assert step(x_adv, x, grad, eps, step_size, lower, upper) is x_adv

    kind = STATES[state]
    want = [
        oracle(a, c, g, eps, step_size, lower, upper, kind)
        for a, c, g in zip(start.numpy(), x.numpy(), grad.double().tolist(), strict=True)
    ]
    assert x_adv.tolist() == [float(w) for w in want]
    for result, centre in zip(x_adv.tolist(), x.tolist(), strict=True):
        assert Fraction(lower) <= Fraction(result) <= Fraction(upper)
        if lower <= centre <= upper:
            assert abs(Fraction(result) - Fraction(centre)) <= Fraction(eps)
    assert same_bits(x_adv, in_torch(start, x, grad, eps, step_size, lower, upper))


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 1000, 100_003])
def test_bits_of_the_reference_at_all_sizes(n, state, gradient):
    x_adv, x, grad = example((n,), state, gradient)
    want = in_torch(x_adv, x, grad)
    assert same_bits(step(x_adv, x, grad), want)


def test_elements_do_not_depend_on_those_beside_them():
    """Vectors have code of their own: all at once, and so few at a time that no vector is full."""
    special = [0.0, -0.0, 1e-45, -1e-45, 0.3, 1.0, -2.0, 3e38, -3e38, math.inf, -math.inf, math.nan]
    x_adv, x, grad = (t.flatten() for t in torch.meshgrid(*[torch.tensor(special)] * 3, indexing="ij"))
    for eps in (0.0, 0.1, 3e38):
        for box in ((0.0, 1.0), (-math.inf, math.inf)):
            whole = step(x_adv, x, grad, eps, 0.07, *box)
            parts = [step(*few, eps, 0.07, *box) for few in zip(x_adv.split(3), x.split(3), grad.split(3), strict=True)]
            assert same_bits(whole, torch.cat(parts))


@pytest.mark.parametrize("extreme", [3e38, -3e38, 1e-45, -0.0, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("where", ["x", "x_adv", "both"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 3e38])
@pytest.mark.parametrize("box", [(0.0, 1.0), (-math.inf, math.inf)])
def test_bits_of_the_reference_at_extremes(extreme, where, eps, box):
    x_adv, x, grad = example((33,))
    for name, tensor in (("x", x), ("x_adv", x_adv)):
        if where in (name, "both"):
            tensor[::2] = extreme
    want = in_torch(x_adv, x, grad, eps, 3e38, *box)
    got = step(x_adv, x, grad, eps, 3e38, *box)
    assert same_bits(got, want)
    assert got[x.isfinite() & ~want.isnan()].isfinite().all()
    assert got[~x.isfinite()].isnan().all()


def test_a_nan_of_the_state_stays():
    x = torch.full((20,), 0.5)
    assert step(torch.full((20,), math.nan), x, x).isnan().all()


@pytest.mark.parametrize("state", STATES)
def test_no_radius_gives_the_centre(state):
    x_adv, x, grad = example((513,), state)
    assert torch.equal(step(x_adv, x, grad, eps=0.0), x)


def test_a_negative_step_descends():
    x_adv, x, grad = example((100,))
    assert torch.equal(step(x_adv.clone(), x, grad, step_size=-0.01), step(x_adv.clone(), x, -grad, step_size=0.01))


def test_the_box_wins_where_the_ball_lies_outside():
    x = torch.tensor([1.5, -0.5])
    assert step(x.clone(), x, torch.ones(2), eps=0.1).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "shape", [(0,), (0, 3, 4), (1,), (1, 1, 1, 1), (3, 1, 1), (2, 3, 5, 7)], ids=lambda shape: "x".join(map(str, shape))
)
def test_shapes(shape):
    x_adv, x, grad = example(shape)
    want = in_torch(x_adv, x, grad)
    assert same_bits(step(x_adv, x, grad), want)


LAYOUTS = {
    "contiguous": lambda t: t.contiguous(),
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(0, 3).contiguous().transpose(0, 3),
    "every second": lambda t: t.repeat_interleave(2, dim=3)[..., ::2],
    "sliced": lambda t: torch.cat([t, t], dim=1)[:, : t.shape[1]],
    "misaligned": lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape),
}


@pytest.mark.parametrize("of_grad", LAYOUTS)
@pytest.mark.parametrize("of_x", LAYOUTS)
@pytest.mark.parametrize("of_state", LAYOUTS)
def test_layouts(of_state, of_x, of_grad):
    x_adv, x, grad = example((2, 3, 5, 4))
    want = in_torch(x_adv, x, grad)
    state = LAYOUTS[of_state](x_adv)
    strides = state.stride()
    assert same_bits(step(state, LAYOUTS[of_x](x), LAYOUTS[of_grad](grad)), want)
    assert state.stride() == strides


def test_what_lies_between_the_elements_is_left_alone():
    x_adv, x, grad = example((4, 6))
    around = torch.full((4, 12), 7.0)
    around[:, ::2] = x_adv
    step(around[:, ::2], x, grad)
    assert (around[:, 1::2] == 7).all() and torch.equal(around[:, ::2], step(x_adv, x, grad))


def test_expanded_centre_and_gradient():
    x_adv, x, grad = example((4, 6))
    want = in_torch(x_adv, x[:1].expand(4, 6), grad[:, :1].expand(4, 6))
    assert same_bits(step(x_adv, x[:1].expand(4, 6), grad[:, :1].expand(4, 6)), want)


def test_state_and_centre_may_be_one_tensor():
    _, x, grad = example((999,))
    want = in_torch(x, x, grad)
    assert same_bits(step(x, x, grad), want)


def test_other_overlaps_are_refused():
    x_adv, x, grad = example((100,))
    if status().implementation == "native":
        with pytest.raises(RuntimeError, match="single memory location"):
            step(x_adv[1:], x_adv[:-1], grad[1:])
    with pytest.raises(RuntimeError, match="single memory location"):
        step(x_adv[:1].expand(100), x, grad)


# ---------------------------------------------------------------------------- limits by sample and channel, observers

LIMITS = {
    "per sample": lambda n, c: {"eps": torch.rand(n) / 4, "step_size": torch.rand(n) - 0.5},
    "per channel": lambda n, c: {"eps": torch.rand(c, 1, 1) / 4, "step_size": torch.rand(1, c, 1, 1) / 9},
    "per both": lambda n, c: {"eps": torch.rand(n, c, 1, 1, dtype=torch.float64) / 4, "step_size": 0.03},
    "bounds per channel": lambda n, c: {
        "eps": 0.1,
        "step_size": 0.2,
        "lower": -torch.rand(c),
        "upper": 1 + torch.rand(c),
    },
    "one number as a tensor": lambda n, c: {"eps": torch.tensor(0.1), "step_size": 0.03},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "transposed", "every second"])
@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (2, 3, 70, 71), (4, 1, 1, 1), (1, 5, 3, 3), (0, 2, 3, 3)])
@pytest.mark.parametrize("form", LIMITS)
def test_limits_that_differ_are_those_of_each_part(form, shape, layout, state):
    torch.manual_seed(0)
    x_adv, x, grad = example(shape, state)
    given = {"lower": 0.0, "upper": 1.0} | LIMITS[form](*shape[:2])
    wide = {name: as_grid(name, value, len(shape)) for name, value in given.items()}
    want = x_adv.clone()
    for n in range(shape[0]):
        for c in range(shape[1]):
            numbers = {k: float(v[n % v.shape[0], c % v.shape[1]]) for k, v in wide.items()}
            part = want[n, c].clone()
            want[n, c] = linf_step_(part, x[n, c], grad[n, c], **numbers)
    got = LAYOUTS[layout](x_adv) if min(shape) else x_adv.clone()
    assert linf_step_(got, x, grad, **given) is got
    assert same_bits(got, want)


def as_grid(name, value, dim):
    value = torch.as_tensor(value, dtype=torch.float64)
    if value.dim() == 1:
        return value.view(1, -1) if name in ("lower", "upper") else value.view(-1, 1)
    if value.dim() == 0:
        return value.view(1, 1)
    return value.reshape((1, -1) if value.dim() == dim - 1 else value.shape[:2])


@pytest.mark.parametrize("state", STATES)
def test_bounds_of_limits_in_float64_hold_exactly(state):
    x_adv, x, grad = example((50, 3, 4, 4), state)
    eps = torch.rand(50, dtype=torch.float64) / 10
    lower = torch.tensor([0.1, 0.2, 1 / 3], dtype=torch.float64)
    x = x.clamp(min=0.4)
    linf_step_(x_adv, x, grad, eps=eps, step_size=1.0, lower=lower)
    assert ((x_adv.double() - x.double()).abs() <= eps.view(-1, 1, 1, 1)).all()
    assert (x_adv.double() >= lower.view(1, 3, 1, 1)).all()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("shape", [(5,), (3, 1), (4, 3, 5, 7), (2, 3, 80, 70)], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_hashes_tell_states_apart(state, shape, layout):
    if layout == "channels last" and len(shape) != 4:
        pytest.skip("only images have channels")
    x_adv, x, grad = (LAYOUTS[layout](t) for t in example(shape, state))
    hashes = torch.full((shape[0],), 7)
    linf_step_(x_adv, x, grad, eps=0.1, step_size=0.01, hash=hashes)
    assert torch.equal(hashes, reference.steps.hash_of(x_adv)) and len(hashes.unique()) == len(hashes)
    again = torch.zeros_like(hashes)
    linf_step_(x_adv, x, torch.zeros_like(grad), eps=0.1, step_size=0.01, hash=again)  # stays where it is
    assert torch.equal(again, hashes)
    changed = x_adv.clone()
    changed[1 % shape[0]] = changed[1 % shape[0]].flip(-1) + 1e-3 if len(shape) > 1 else 0.123
    linf_step_(changed, changed.clone(), torch.zeros_like(grad), eps=0.1, step_size=0.01, hash=again)
    assert (again != hashes).tolist() == [n == 1 % shape[0] for n in range(shape[0])]


def test_single_bits_and_exchanged_elements_change_a_hash():
    x = torch.rand(1, 600).repeat(600, 1)
    other = x.clone()
    other.view(torch.int32).diagonal().bitwise_xor_(1 << (torch.arange(600) % 23))
    for n in range(0, 600, 3):
        other[n] = x[n].roll(n + 1)
    both = torch.zeros(600, dtype=torch.int64), torch.zeros(600, dtype=torch.int64)
    for states, hashes in zip((x, other), both, strict=True):
        linf_step_(states.clone(), states, torch.zeros_like(x), eps=0.0, step_size=0.0, hash=hashes)
    assert len(both[0].unique()) == 1
    moved = (x != other).any(1)
    assert moved.sum() > 590 and torch.equal(both[0] != both[1], moved)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_tally_counts_what_is_no_ordinary_gradient(gradient):
    x_adv, x, _ = example((3, 5000))
    grad = torch.ones(3, 5000, dtype=gradient)
    grad[0, :7], grad[0, 4095:4099], grad[1, 2:5], grad[2, ::2] = 0, TINY[gradient], -math.inf, math.nan
    grad[0, 7] = -0.0
    tally = torch.ones(3, 4, dtype=torch.int64)
    linf_step_(x_adv, x, grad, eps=0.1, step_size=0.01, tally=tally)
    assert (tally - 1).tolist() == [[8, 4, 0, 0], [0, 0, 3, 0], [0, 0, 0, 2500]]


def test_observers_change_nothing_else():
    x_adv, x, grad = example((3, 3, 40, 40))
    want = step(x_adv.clone(), x, grad)
    seen = {"hash": torch.zeros(3, dtype=torch.int64), "tally": torch.zeros(3, 4, dtype=torch.int64)}
    got = linf_step_(x_adv, x, grad, eps=8 / 255, step_size=2 / 255, **seen)
    assert same_bits(got, want)


def test_threads_do_not_change_it():
    x_adv, x, grad = example((300_001,))
    results = []
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(step(x_adv.clone(), x, grad))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_it_counts_as_a_change_of_the_state():
    x_adv, x, grad = example((10,))
    version = x_adv._version
    step(x_adv, x, grad)
    assert x_adv._version > version
    with torch.inference_mode():
        step(x_adv.clone(), x, grad)


def test_under_no_grad_the_state_may_require_a_gradient():
    x_adv, x, grad = example((10,))
    x_adv.requires_grad_()
    with pytest.raises(ValueError, match=r"no_grad"):
        step(x_adv, x, grad)
    with torch.no_grad():
        step(x_adv, x, grad.requires_grad_())
    assert x_adv.requires_grad and x_adv.is_leaf


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"x": torch.zeros(4)}, ValueError, r"x has shape \[4\] but x_adv has \[3\]"),
        ({"grad": torch.zeros(3, 1)}, ValueError, r"grad has shape \[3, 1\]"),
        ({"x": torch.zeros(3, dtype=torch.float64)}, TypeError, "x is torch.float64 but x_adv is torch.float32"),
        ({"grad": torch.zeros(3, dtype=torch.int64)}, TypeError, "grad is torch.int64"),
        ({"x_adv": torch.zeros(3, dtype=torch.bfloat16)}, TypeError, "x_adv is torch.bfloat16"),
        ({"grad": torch.zeros(3, device="meta")}, ValueError, "grad is on meta but x_adv is on cpu"),
        ({"eps": -0.1}, ValueError, "eps=-0.1"),
        ({"eps": math.nan}, ValueError, "eps=nan"),
        ({"eps": math.inf}, ValueError, "eps=inf"),
        ({"step_size": math.nan}, ValueError, "step_size=nan"),
        ({"lower": 1.0, "upper": 0.0}, ValueError, "lower=1.0 and upper=0.0"),
        ({"lower": math.nan}, ValueError, "lower=nan"),
        ({"eps": torch.tensor([0.1, -1.0, 0.1])}, ValueError, "eps=-1.0"),
        ({"eps": torch.tensor([0.1, math.nan, 0.1])}, ValueError, "eps=nan"),
        ({"step_size": torch.tensor([0.1, math.inf, 0.1])}, ValueError, "step_size=inf"),
        (
            {"eps": torch.zeros(2)},
            ValueError,
            r"eps has shape \[2\]; for a state \[3\] give a number, \[3\] \(per sample\)",
        ),
        ({"lower": torch.zeros(3)}, ValueError, r"lower has shape \[3\]"),
        ({"lower": torch.tensor([2.0])}, ValueError, "lower=2.0 and upper=1.0"),
    ],
)
def test_refusals_say_what_was_given(change, error, says):
    arguments = dict.fromkeys(("x_adv", "x", "grad"), torch.zeros(3)) | {"eps": 0.1, "step_size": 0.1} | change
    with pytest.raises(error, match=says):
        linf_step_(arguments.pop("x_adv"), arguments.pop("x"), arguments.pop("grad"), **arguments)


def test_a_box_without_a_number_in_it_is_refused():
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="lies between"):
        step(x.clone(), x, x, lower=0.1, upper=0.1)  # 0.1 is no float32
    assert step(x.clone(), x, x, eps=0.0, lower=0.5, upper=0.5).tolist() == [0.5] * 3


def test_the_raw_operator_is_safe_too():
    x = torch.zeros(3)
    if status().implementation != "native":
        pytest.skip("the reference serves")
    for arguments in ((x, torch.zeros(2), x, 0.1, 0.1, 0.0, 1.0), (x, x, torch.zeros(2), 0.1, 0.1, 0.0, 1.0)):
        with pytest.raises(ValueError, match="shape"):
            torch.ops.dlbench.linf_step_(*arguments)
    with pytest.raises(TypeError):
        torch.ops.dlbench.linf_step_(x, x, x.int(), 0.1, 0.1, 0.0, 1.0)


def test_the_short_way_takes_the_same_step_or_none():
    short = perturb._short_step
    x, grad = torch.rand(3, 50), torch.randn(3, 50)
    usual = (0.1, 0.03, 0.0, 1.0)
    want = x.clone()
    torch.ops.dlbench.linf_step_(want, x, grad, *usual)
    if status().implementation == "native":
        got = x.clone()
        assert short(got, x, grad, *usual) and torch.equal(got, want) and not torch.equal(got, x)
        version = got._version
        assert short(got, x, grad.bfloat16(), *usual) and got._version > version
    impossible = [(0, -1.0), (0, torch.nan), (0, torch.inf), (1, torch.nan), (2, 2.0), (3, torch.nan), (0, x), (1, 1)]
    for arguments in [
        (x.half(), x.half(), grad, *usual),
        (x.clone(), x.double(), grad, *usual),
        (x.clone(), x, grad[:2], *usual),
        (x.clone(), x, grad.to("meta"), *usual),
        (x.clone(), x, grad.int(), *usual),
        (x.clone(), x, torch.nn.Parameter(grad), *usual),
        (x.clone().requires_grad_(), x, grad, *usual),
        (x.clone(), x, None, *usual),
        *((x.clone(), x, grad, *usual[:i], bad, *usual[i + 1 :]) for i, bad in impossible),
    ]:
        before = arguments[0].detach().clone()
        assert not short(*arguments) and torch.equal(arguments[0].detach(), before)
