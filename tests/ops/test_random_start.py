"""random_start: known words, bits of the reference, exact bounds, the same numbers wherever a sample stands, and their
distribution.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from dlbench.ops import lp_norms, random_start, reference
from dlbench.ops.limits import limits
from dlbench.ops.reference import starts

NORMS = ["linf", "l2", "l1"]
STATES = [torch.float32, torch.float64]
NO_BOX = {"lower": -math.inf, "upper": math.inf}
WORDS = torch.randint(0, 2**32, (200_000,), generator=torch.Generator().manual_seed(0))


def in_torch(x, eps, norm="linf", seed=0, sample_ids=None, restart=0, lower=0.0, upper=1.0):
    ids = torch.arange(len(x)) if sample_ids is None else sample_ids
    radius, _, low, high, table = limits(x, eps, lower=lower, upper=upper)
    streams = torch.stack([ids, torch.as_tensor(restart).expand(len(x))], 1)
    return reference.random_start(x, streams, norm, seed, radius, low, high, table)


def same_bits(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    integers = torch.int32 if a.dtype == torch.float32 else torch.int64
    both_nan = a.isnan() & b.isnan()
    return bool((both_nan | (a.contiguous().view(integers) == b.contiguous().view(integers))).all())


def rand(*shape, dtype=torch.float32, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0_A4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers_of_philox(counter, key, words):
    """Those that Random123, the authors' library, ships for philox4x32-10."""
    assert tuple(int(word) for word in starts.philox(tuple(torch.tensor(c) for c in counter), key)) == words


def test_which_word_is_whose():
    seed, id_, restart = 0x0123456789ABCDEF, -0x7EDCBA9876543210, 0xDEADBEEF
    drawn = random_start(
        torch.zeros(1, 7), eps=1.0, seed=seed, sample_ids=torch.tensor([id_]), restart=restart, **NO_BOX
    )
    halves = id_ % 2**64 % 2**32, id_ % 2**64 >> 32
    words = [
        word
        for block in (0, 1)
        for word in starts.philox(tuple(torch.tensor(c) for c in (block, restart, *halves)), seed)
    ]
    assert drawn[0].tolist() == [(int(word) >> 8) / 2**23 - 1 for word in words[:7]]


def test_the_references_multiplication_and_addition_round_once():
    """_fma against rational arithmetic, at halfway cases above all."""
    random = np.random.default_rng(0)
    a, b, c = random.standard_normal((3, 3000)).astype(np.float32)
    c[::3] = -a[::3] * b[::3]  # what cancels leaves the product's rounding
    c[1::3] *= 2**-24
    got = starts._fma(*(torch.from_numpy(v) for v in (a, b, c)))
    for i in range(len(a)):
        exact = Fraction(float(a[i])) * Fraction(float(b[i])) + Fraction(float(c[i]))
        near = np.float32(float(exact))
        around = (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf)))
        assert min(around, key=lambda v: abs(Fraction(float(v)) - exact)) == got[i].item()


# -------------------------------------------------------------------------------------------- the reference, bit by bit


@st.composite
def cases(draw):
    shape = draw(
        st.sampled_from([(1,), (5,), (3, 1), (2, 7), (4, 65), (2, 3, 5), (2, 3, 4, 5), (3, 1, 2, 2), (1, 2, 3, 2, 5)])
    )
    shape = (draw(st.sampled_from([0, 1, shape[0]])), *shape[1:])
    dtype = draw(st.sampled_from(STATES))
    norm = draw(st.sampled_from(NORMS))
    x = rand(*shape, dtype=dtype, seed=draw(st.integers(0, 9)))
    if x.dim() == 4 and draw(st.booleans()):
        x = x.to(memory_format=torch.channels_last)
    elif x.dim() > 1 and draw(st.booleans()):
        x = x.transpose(0, -1).contiguous().transpose(0, -1)
    eps = draw(st.one_of(st.sampled_from([0.0, 8 / 255, 1e-30, 1e-42, 3e38]), st.floats(0, 3), st.just("each")))
    if eps == "each":
        each_channel = norm == "linf" and x.dim() > 1 and draw(st.booleans())
        eps = rand(shape[0], *([shape[1], *[1] * (x.dim() - 2)] if each_channel else []), seed=7)
    box = draw(st.sampled_from([(0.0, 1.0), (0.25, 0.5), (-math.inf, math.inf), "channels"]))
    if box == "channels":
        box = (rand(shape[1], seed=8) * 0.5, 0.5 + rand(shape[1], seed=9) * 0.5) if x.dim() > 1 else (0.0, 1.0)
    return x, {
        "eps": eps,
        "norm": norm,
        "seed": draw(st.integers(-(2**63), 2**63 - 1)),
        "sample_ids": draw(st.sampled_from([None, torch.arange(shape[0]) * 0x123456789AB - 5])),
        "restart": draw(st.sampled_from([0, 1, 2**32 - 1])),
        "lower": box[0],
        "upper": box[1],
    }


@settings(max_examples=150)
@given(cases())
def test_bits_of_the_reference(case):
    x, arguments = case
    got = random_start(x, **arguments)
    assert same_bits(got, in_torch(x, **arguments))
    assert got.is_contiguous() or got.stride() == x.stride()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", STATES)
def test_bits_of_the_reference_at_extremes(norm, dtype):
    values = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, math.inf, -math.inf, math.nan, 0.5], dtype=dtype)
    x = values.repeat(4, 3)
    for eps in (0.0, 1e-45, 1e-37, 0.1, 3e38):
        for box in ((0.0, 1.0), (-math.inf, math.inf)):
            got = random_start(x, eps=eps, norm=norm, seed=1, lower=box[0], upper=box[1])
            assert same_bits(got, in_torch(x, eps, norm, 1, lower=box[0], upper=box[1]))
            assert torch.equal(got.isnan(), ~x.isfinite())


# -------------------------------------------------------------------------------------------------------------- bounds


@settings(max_examples=60)
@given(
    dtype=st.sampled_from(STATES),
    norm=st.sampled_from(NORMS),
    eps=st.one_of(st.floats(0, 4), st.sampled_from([8 / 255, 1e-9, 1e-30, 1e-43, 5e-324])),
    scale=st.sampled_from([1.0, 1e-6, 255.0]),
    elements=st.sampled_from([1, 2, 9, 40]),
    seed=st.integers(0, 2**32),
)
def test_the_ball_holds_in_rational_arithmetic(dtype, norm, eps, scale, elements, seed):
    x = rand(2, elements, dtype=dtype, seed=seed % 100) * scale
    out = random_start(x, eps=eps, norm=norm, seed=seed, **NO_BOX)
    for centre, point in zip(x.tolist(), out.tolist(), strict=True):
        sizes = [abs(Fraction(p) - Fraction(c)) for c, p in zip(centre, point, strict=True)]
        if norm == "linf":
            assert max(sizes) <= Fraction(eps)
        elif norm == "l1":
            assert sum(sizes) <= Fraction(eps)
        else:
            assert sum(size**2 for size in sizes) <= Fraction(eps) ** 2


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", STATES)
def test_the_ball_holds_for_many_elements(norm, dtype):
    x = rand(8, 3, 64, 64, dtype=dtype)
    sizes = lp_norms(random_start(x, eps=0.5, norm=norm, seed=3), x)[:, {"linf": 3, "l2": 2, "l1": 1}[norm]]
    assert (sizes <= 0.5).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", STATES)
def test_no_radius_gives_the_samples(norm, dtype):
    x = torch.cat([rand(5, 7, dtype=dtype), torch.tensor([[0.0, -0.0, 1.0, 1e-45, 0.5, 0.5, 1 / 3]], dtype=dtype)])
    assert same_bits(random_start(x, eps=0.0, norm=norm, seed=1), x)


@pytest.mark.parametrize("norm", NORMS)
def test_the_box(norm):
    x = rand(50, 3, 4, 4)
    free, boxed = (
        random_start(x, eps=2.0, norm=norm, seed=1, lower=lo, upper=hi) for lo, hi in ((-9, 9), (0.25, 0.75))
    )
    assert torch.equal(boxed, free.clamp(0.25, 0.75))
    low, high = torch.tensor([0.0, 0.1, -math.inf]), torch.tensor([1.0, 0.4, math.inf])
    each = random_start(x, eps=2.0, norm=norm, seed=1, lower=low, upper=high)
    for c in range(3):
        alone = random_start(x, eps=2.0, norm=norm, seed=1, lower=float(low[c]), upper=float(high[c]))
        assert torch.equal(each[:, c], alone[:, c])


@pytest.mark.parametrize("norm", NORMS)
def test_a_radius_for_each_sample(norm):
    x, eps = rand(6, 10), torch.linspace(0, 1, 6)
    whole = random_start(x, eps=eps, norm=norm, seed=1)
    for i in range(6):
        assert torch.equal(whole[i], random_start(x, eps=float(eps[i]), norm=norm, seed=1)[i])


def test_a_radius_for_each_channel():
    x, eps = rand(4, 3, 5, 5), torch.tensor([0.0, 0.1, 0.3])
    whole = random_start(x, eps=eps.view(3, 1, 1), seed=1)
    for c in range(3):
        assert torch.equal(whole[:, c], random_start(x, eps=float(eps[c]), seed=1)[:, c])


# ------------------------------------------------------------------------------------------------- wherever it stands


@pytest.mark.parametrize("norm", NORMS)
def test_a_sample_keeps_its_numbers(norm):
    x, ids = rand(11, 3, 5, 7), torch.arange(11) * 2**40 - 17
    restart = torch.arange(11) % 3
    whole = random_start(x, eps=0.3, norm=norm, seed=9, sample_ids=ids, restart=restart)
    some = torch.tensor([10, 3, 3, 7])  # split, reordered, repeated
    assert torch.equal(
        random_start(x[some], eps=0.3, norm=norm, seed=9, sample_ids=ids[some], restart=restart[some]), whole[some]
    )
    for i in range(11):
        alone = random_start(x[i : i + 1], eps=0.3, norm=norm, seed=9, sample_ids=ids[i : i + 1], restart=i % 3)
        assert torch.equal(alone[0], whole[i])


LAYOUTS = {
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(1, 3).contiguous().transpose(1, 3),
    "samples inside": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "every second": lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
    "misaligned": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_does_not_matter(layout, norm):
    x = rand(3, 3, 8, 8)
    low = torch.tensor([0.1, 0.2, 0.3])
    for lower in (0.0, low):
        want = random_start(x, eps=0.4, norm=norm, seed=5, lower=lower)
        got = random_start(LAYOUTS[layout](x), eps=0.4, norm=norm, seed=5, lower=lower)
        assert torch.equal(got, want)
        assert got.is_contiguous(memory_format=torch.channels_last) == (layout == "channels last")


@pytest.mark.parametrize("norm", NORMS)
def test_the_types_share_their_numbers(norm):
    x = rand(4, 30)
    single, double = (random_start(x.to(t), eps=0.3, norm=norm, seed=2, **NO_BOX) for t in STATES)
    torch.testing.assert_close(single.double(), double, atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_threads_do_not_change_it(norm):
    x = rand(9, 6000)
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(random_start(x, eps=0.5, norm=norm, seed=1))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_seeds_and_restarts_wrap_around():
    x = rand(3, 9)

    def start(seed, restart):
        return random_start(x, eps=0.5, seed=seed, restart=restart)

    for seed in (0, -1, 2**63, 5):
        for restart in (0, -1, 7):
            assert torch.equal(start(seed, restart), start(seed + 2**64, restart + 2**32))
    draws = [start(seed, restart) for seed in (0, 1, 2**32, 2**63) for restart in (0, 1)]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(draws)


# -------------------------------------------------------------------------------------------------------- distribution


def test_normal_numbers():
    drawn = starts._normal(WORDS).double()
    assert stats.kstest(drawn.numpy(), "norm", (0, math.sqrt(0.5))).pvalue > 0.01
    for first, tolerance in ((1000, 1e-6), (0, 2e-3)):  # Giles fitted tails of 1e-7 and more
        word = torch.arange(first, 2**31, 2**31 // 50_000)
        want = special.erfcinv((word.double().numpy() + 0.5) / 2**31)
        np.testing.assert_allclose(starts._normal(word).double().numpy(), want, atol=tolerance)


def test_exponential_numbers():
    drawn = starts._exponential(WORDS).double()
    assert stats.kstest(drawn.numpy(), "laplace").pvalue > 0.01
    word = torch.arange(0, 2**31, 2**31 // 50_000)
    want = -np.log((word.double().numpy() + 0.5) / 2**31)
    np.testing.assert_allclose(starts._exponential(word).double().numpy(), want, atol=2e-6)


@pytest.mark.parametrize("elements", [1, 2, 5, 100])
@pytest.mark.parametrize("norm", NORMS)
def test_uniform_in_the_ball(norm, elements):
    """The distance's n-th power is uniform, and no side, no coordinate and no quadrant is preferred."""
    n = 4000
    v = random_start(torch.zeros(n, elements), eps=0.7, norm=norm, seed=11, lower=-1.0).double()
    distance = torch.linalg.vector_norm(v, ord={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1) / 0.7
    assert stats.kstest((distance**elements).numpy(), "uniform").pvalue > 0.01
    assert stats.binomtest(int((v > 0).sum()), v.numel()).pvalue > 0.01
    second = (v**2).mean(0)
    spread = {"linf": 1 / 3, "l2": 1 / (elements + 2), "l1": 2 / ((elements + 1) * (elements + 2))}[norm] * 0.49
    assert abs(float(second.mean()) / spread - 1) < 0.06
    assert float(second.std()) / spread < 0.12 if elements > 1 else True
    if elements > 1:
        assert abs(float((v[:, 0] * v[:, 1]).mean())) / spread < 0.06


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_coordinate_of_the_ball(norm):
    """Its law in closed form: density proportional to the (n - 1)-volume that is left, (1 - |t|^p)^((n - 1) / p)."""
    n, elements = 5000, 4
    v = random_start(torch.zeros(n, elements), eps=1.0, norm=norm, seed=4, lower=-1.0).double()[:, 2].numpy()
    if norm == "l2":
        assert stats.kstest((v + 1) / 2, stats.beta((elements + 1) / 2, (elements + 1) / 2).cdf).pvalue > 0.01
    else:
        assert stats.kstest(np.abs(v), stats.beta(1, elements).cdf).pvalue > 0.01


def test_streams_are_uncorrelated():
    x = torch.zeros(300, 300)
    base = random_start(x, eps=1.0, norm="l2", seed=0, lower=-1.0)
    others = [
        random_start(x, eps=1.0, norm="l2", seed=1, lower=-1.0),
        random_start(x, eps=1.0, norm="l2", seed=0, restart=1, lower=-1.0),
        base.roll(1, 0),
        base.roll(1, 1),
    ]
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([base.flatten(), other.flatten()]))[0, 1])) < 0.015


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"x": torch.zeros(3, 2, dtype=torch.bfloat16)}, TypeError, "x is torch.bfloat16"),
        ({"x": torch.tensor(0.0)}, ValueError, "no dimensions"),
        ({"norm": "l0"}, ValueError, "norm='l0' is unknown; it must be 'linf', 'l2' or 'l1'"),
        ({"eps": -0.1}, ValueError, "eps=-0.1"),
        ({"eps": math.nan}, ValueError, "eps=nan"),
        ({"eps": math.inf}, ValueError, "eps=inf"),
        ({"eps": torch.tensor([0.1, -0.1, 0.1])}, ValueError, "eps=-0.1"),
        ({"eps": torch.rand(2)}, ValueError, r"eps has shape \[2\]"),
        ({"eps": torch.rand(3, 2), "norm": "l2"}, ValueError, "only the linf ball has a radius for each channel"),
        ({"lower": 1.0, "upper": 0.0}, ValueError, "lower=1.0 and upper=0.0"),
        ({"lower": torch.rand(3)}, ValueError, r"lower has shape \[3\]"),
        ({"lower": 0.1, "upper": 0.1}, ValueError, "lies between"),
        ({"sample_ids": torch.arange(2)}, ValueError, r"sample_ids has shape \[2\]"),
        ({"sample_ids": torch.arange(3.0)}, TypeError, "sample_ids is torch.float32"),
        ({"sample_ids": torch.zeros(3, dtype=torch.int64, device="meta")}, ValueError, "sample_ids is on meta"),
        ({"restart": torch.arange(2)}, ValueError, r"restart has shape \[2\]"),
    ],
)
def test_refusals_say_what_was_given(change, error, says):
    arguments = {"x": torch.zeros(3, 2), "eps": 0.1, "seed": 0} | change
    with pytest.raises(error, match=says):
        random_start(arguments.pop("x"), **arguments)


def test_no_samples_and_no_elements():
    for shape in ((0, 3, 4), (3, 0), (0,)):
        for norm in NORMS:
            assert random_start(torch.zeros(shape), eps=0.1, norm=norm, seed=0).shape == shape


def test_nothing_is_differentiated_through():
    x = rand(3, 4).requires_grad_()
    assert not random_start(x, eps=0.1, seed=0).requires_grad
