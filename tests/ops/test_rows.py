"""lp_norms and compact: what is done to whole rows of a batch."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import compact, lp_norms, status

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(1, 3).contiguous().transpose(1, 3),
    "samples inside": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "every second": lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
    "every second sample": lambda x: x.repeat_interleave(2, dim=0)[::2],
    "expanded": lambda x: x[:, :1].expand_as(x),
}


def randn(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def in_numpy(a, b=None):
    d = a.double().numpy() - (0 if b is None else b.double().numpy())
    d = np.abs(d.reshape(len(d), -1)) if d.size else np.zeros((len(d), 1))
    return np.stack([(d != 0).sum(1), d.sum(1), np.sqrt((d * d).sum(1)), d.max(1, initial=0)], 1)


def with_threads(function):
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(function())
    finally:
        torch.set_num_threads(threads)
    return results


# --------------------------------------------------------------------------------------------------------------- norms


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (5,), (4, 1), (3, 17), (2, 3, 5, 7), (2, 40_003)])
def test_norms_of_all_sizes(shape, dtype):
    a, b = randn(*shape, dtype=dtype), randn(*shape, dtype=dtype, seed=1)
    b.view(-1)[::3] = a.view(-1)[::3]
    for got, want in ((lp_norms(a, b), in_numpy(a, b)), (lp_norms(a), in_numpy(a))):
        assert got.dtype == torch.float64 and got.shape == (shape[0], 4)
        np.testing.assert_array_equal(got[:, [0, 3]].numpy(), want[:, [0, 3]])
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=40))
def test_differences_of_pixels_are_those_of_rational_numbers(pixels):
    """The difference of two numbers of [2^-29, 1] is one of float64, so that a bound can be verified with it."""
    pixels = [(max(a, 2**-29), max(b, 2**-29)) for a, b in pixels]
    a, b = torch.tensor(pixels, dtype=torch.float64).float().t().unsqueeze(1)
    nonzeros, _, _, most = lp_norms(a, b)[0].tolist()
    exact = [abs(Fraction(p) - Fraction(q)) for p, q in zip(a[0].tolist(), b[0].tolist(), strict=True)]
    assert nonzeros == sum(d != 0 for d in exact) and Fraction(most) == max(exact)


@pytest.mark.parametrize("of_b", LAYOUTS)
@pytest.mark.parametrize("of_a", LAYOUTS)
def test_norms_of_all_layouts(of_a, of_b):
    a, b = LAYOUTS[of_a](randn(3, 3, 5, 4)), LAYOUTS[of_b](randn(3, 3, 5, 4, seed=1))
    np.testing.assert_allclose(lp_norms(a, b).numpy(), in_numpy(a, b), rtol=1e-12)


@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [0, 1, 33, 99])
@pytest.mark.parametrize("dtype", FLOATS)
def test_norms_of_nans_and_infinities(dtype, where, special):
    a = randn(3, 100, dtype=dtype)
    a[1, where] = special
    nonzeros, *rest = lp_norms(a)[1].tolist()
    assert nonzeros == 100
    assert all(math.isnan(v) if math.isnan(special) else v == math.inf for v in rest)
    assert lp_norms(a)[[0, 2]].isfinite().all()
    assert lp_norms(a, a)[1, 1:].isnan().all()  # inf - inf too


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_half_number_is_widened_exactly(dtype):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)[:, None]
    norms, want = lp_norms(every), every.double().abs()
    torch.testing.assert_close(norms[:, 1:2], want, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(norms[:, :1] != 0, every != 0)


def test_tiny_and_huge_numbers():
    a = torch.tensor([[1e-45, 0.0, -0.0], [3e38, 3e38, 3e38]])
    b = torch.tensor([[0.0, 0.0, 0.0], [-3e38, -3e38, -3e38]])
    assert lp_norms(a, b)[0].tolist() == pytest.approx([1, *[2.0**-149] * 3])
    assert lp_norms(a, b)[1].tolist() == pytest.approx([3, 18e38, 6e38 * math.sqrt(3), 6e38])


def test_threads_do_not_change_norms():
    a, b = randn(40, 5001), randn(40, 5001, seed=1)
    first, *others = with_threads(lambda: lp_norms(a, b))
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((torch.zeros(3, dtype=torch.int64),), TypeError, "a is torch.int64"),
        ((torch.tensor(0.0),), ValueError, "a has no dimensions"),
        ((torch.zeros(3), torch.zeros(3, dtype=torch.float64)), TypeError, "b is torch.float64 but a is torch.float32"),
        ((torch.zeros(3), torch.zeros(4)), ValueError, r"b has shape \[4\] but a has \[3\]"),
        ((torch.zeros(3), torch.zeros(3, device="meta")), ValueError, "b is on meta but a is on cpu"),
    ],
)
def test_norms_refuse_what_does_not_fit(arguments, error, says):
    with pytest.raises(error, match=says):
        lp_norms(*arguments)


# ------------------------------------------------------------------------------------------------------------- compact


@settings(max_examples=100)
@given(keep=st.lists(st.booleans(), max_size=40), width=st.integers(0, 9), data=st.data())
def test_compact_is_a_stable_partition(keep, width, data):
    keep = torch.tensor(keep, dtype=torch.bool)
    dtype = data.draw(st.sampled_from([torch.float32, torch.int64, torch.bool, torch.uint8, torch.complex64]))
    rows = randn(len(keep), width, seed=1).to(dtype if dtype != torch.uint8 else torch.int8).to(dtype)
    count, moved, numbers = compact(keep, rows, torch.arange(len(keep)))
    assert count.dtype == torch.int64 and count.shape == () and count == keep.sum()
    assert numbers.tolist() == keep.nonzero().flatten().tolist() + (~keep).nonzero().flatten().tolist()
    assert torch.equal(moved, rows[numbers])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_compact_of_all_layouts(layout):
    x = LAYOUTS[layout](randn(9, 3, 5, 4))
    keep = torch.arange(9) % 3 != 1
    _, moved = compact(keep, x)
    assert torch.equal(moved, torch.cat([x[keep], x[~keep]]))
    assert moved.is_contiguous(
        memory_format=torch.channels_last if layout == "channels last" else torch.contiguous_format
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.bfloat16, torch.float64, torch.complex128])
@pytest.mark.parametrize("width", [1, 2, 3, 8, 16, 1000])
def test_compact_of_rows_of_all_sizes(width, dtype):
    x = torch.arange(50 * width).reshape(50, width).to(dtype)
    keep = torch.rand(50, generator=torch.Generator().manual_seed(0)) < 0.6
    assert torch.equal(compact(keep, x)[1], torch.cat([x[keep], x[~keep]]))


def test_compact_of_nothing():
    (count,) = compact(torch.tensor([True, False]))
    assert count == 1
    count, rows = compact(torch.zeros(0, dtype=torch.bool), torch.zeros(0, 3))
    assert count == 0 and rows.shape == (0, 3)


def test_flags_need_not_be_contiguous():
    keep = torch.tensor([True, True, False, True, False, False])[::2]
    assert compact(keep, torch.arange(3))[1].tolist() == [0, 1, 2]


def test_conjugates_and_negatives_are_moved_as_what_they_stand_for():
    x = torch.complex(randn(4, 3), randn(4, 3, seed=1))
    keep = torch.tensor([False, True, False, True])
    for view in (x.conj(), x.conj().imag):
        assert torch.equal(compact(keep, view)[1], torch.cat([view[keep], view[~keep]]))


def test_threads_do_not_change_compact():
    x, keep = randn(300, 1000), torch.arange(300) % 7 < 4
    first, *others = with_threads(lambda: compact(keep, x, torch.arange(300)))
    assert all(map(torch.equal, first, other) for other in others)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((torch.zeros(3),), TypeError, "keep is torch.float32; it must be bool"),
        ((torch.zeros(3, 1, dtype=torch.bool),), ValueError, r"keep has shape \[3, 1\]"),
        ((torch.zeros(3, dtype=torch.bool), torch.zeros(3), torch.zeros(2)), ValueError, r"tensor 1 has shape \[2\]"),
        ((torch.zeros(3, dtype=torch.bool), torch.tensor(1.0)), ValueError, r"tensor 0 has shape \[\]"),
        ((torch.zeros(3, dtype=torch.bool), torch.zeros(3, device="meta")), ValueError, "tensor 0 is on meta"),
    ],
)
def test_compact_refuses_what_does_not_fit(arguments, error, says):
    with pytest.raises(error, match=says):
        compact(*arguments)


def test_the_raw_operators_are_safe_too():
    if status().implementation != "native":
        pytest.skip("the reference serves")
    keep = torch.zeros(3, dtype=torch.bool)
    with pytest.raises(ValueError, match="keep's 3 rows"):
        torch.ops.dlbench.compact(keep, [torch.zeros(2)])
    with pytest.raises(ValueError, match="b has shape"):
        torch.ops.dlbench.lp_norms(torch.zeros(3), torch.zeros(2))
