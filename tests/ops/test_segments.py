"""segment_reduce: against a loop over segments in float64, and its derivatives."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import reference, segment_reduce, status

from .made_graphs import with_threads

REDUCTIONS = ["sum", "mean", "max", "min"]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def one_by_one(x, rowptr, reduce):
    """Segment by segment, in float64."""
    out = torch.zeros(len(rowptr) - 1, *x.shape[1:], dtype=torch.float64)
    for segment, (begin, end) in enumerate(pairwise(rowptr.tolist())):
        if end > begin:
            out[segment] = getattr(x[begin:end].double(), {"max": "amax", "min": "amin"}.get(reduce, reduce))(0)
    return out


def pointers(sizes, index=torch.int64):
    return torch.tensor([0, *sizes]).cumsum(0).to(index)


@settings(max_examples=120)
@given(
    sizes=st.lists(st.sampled_from([0, 0, 1, 2, 3, 7, 40, 300]), max_size=9),
    rest=st.sampled_from([(), (0,), (1,), (3,), (16,), (17,), (65,), (130,), (2, 5), (3, 0, 2)]),
    index=st.sampled_from([torch.int32, torch.int64]),
    dtype=st.sampled_from(list(TOLERANCE)),
    reduce=st.sampled_from(REDUCTIONS),
    seed=st.integers(0, 999),
)
def test_any_segments(sizes, rest, index, dtype, reduce, seed):
    torch.manual_seed(seed)
    x, rowptr = torch.randn(sum(sizes), *rest).to(dtype), pointers(sizes, index)
    out = segment_reduce(x, rowptr, reduce)
    assert out.dtype == dtype and out.shape == (len(sizes), *rest)
    want = one_by_one(x, rowptr, reduce)
    if reduce in ("max", "min"):
        assert torch.equal(out.double(), want)
    else:
        torch.testing.assert_close(out.double(), want, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("width", [1, 5])
def test_derivatives(width, reduce):
    x = torch.randn(12, width, dtype=torch.float64, requires_grad=True)
    rowptr = pointers([0, 3, 0, 5, 1, 3, 0])
    assert torch.autograd.gradcheck(lambda x: segment_reduce(x, rowptr, reduce), x)
    assert torch.autograd.gradgradcheck(lambda x: segment_reduce(x.pow(3), rowptr, reduce), x)


@pytest.mark.parametrize("serving", [torch.ops.dlbench, reference], ids=["operator", "reference"])
@pytest.mark.parametrize("reduce", ["max", "min"])
def test_the_first_of_equals_wins_and_specials_are_kept(reduce, serving):
    worst = -torch.inf if reduce == "max" else torch.inf
    x = torch.tensor([[1.0], [1.0], [worst], [worst], [2.0], [torch.nan], [torch.nan], [-worst]]).repeat(1, 19)
    out, arg = serving.segment_reduce(x, torch.tensor([0, 2, 4, 4, 8]), reduce)
    assert out[:, 0].nan_to_num(7, 99, -99).tolist() == [1.0, 99 if worst > 0 else -99, 0.0, 7.0]
    assert arg[:, 0].tolist() == [0, 2, 8, 5] and arg.dtype == torch.int64
    assert (out[:, :1].nan_to_num(7) == out.nan_to_num(7)).all() and (arg[:, :1] == arg).all()


def test_empty_segments_have_no_derivative():
    x = torch.randn(3, 2, requires_grad=True)
    for reduce in REDUCTIONS:
        (grad,) = torch.autograd.grad(segment_reduce(x, pointers([0, 0, 3, 0]), reduce)[[0, 1, 3]].sum(), x)
        assert (grad == 0).all()


def test_whole_numbers_are_summed_exactly_however_many():
    x = torch.ones(70_000, 3, dtype=torch.float16)
    assert (segment_reduce(x, torch.tensor([0, 70_000]), "mean") == 1).all()
    assert segment_reduce(x[:60_000], torch.tensor([0, 60_000])).tolist() == [[60_000.0] * 3]


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_threads_do_not_change_a_bit(reduce):
    x, rowptr = torch.randn(60_000, 70), pointers([20_000, 0, *[37] * 1000, 3000])
    first, *others = with_threads(lambda: segment_reduce(x, rowptr, reduce))
    assert all(torch.equal(other, first) for other in others)


def test_views():
    x, rowptr = torch.randn(30, 19), pointers([10, 20])
    for reduce in REDUCTIONS:
        want = segment_reduce(x, rowptr, reduce)
        assert torch.equal(segment_reduce(x.T.contiguous().T, rowptr, reduce), want)
        assert torch.equal(
            segment_reduce(x.repeat_interleave(2, 0)[::2], rowptr.repeat_interleave(2)[::2], reduce), want
        )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_opcheck(reduce):
    for x in (torch.randn(9, 3, requires_grad=True), torch.randn(9, 3).bfloat16()):
        torch.library.opcheck(torch.ops.dlbench.segment_reduce.default, (x, torch.tensor([0, 4, 4, 9]), reduce))


def test_refusals_say_what_was_given():
    x, rowptr = torch.zeros(3, 4), torch.tensor([0, 3])
    for arguments, error, says in [
        ((x.int(), rowptr), TypeError, "x is torch.int32"),
        ((x[0, 0], rowptr), ValueError, "x has no dimensions"),
        ((x, [0, 3]), TypeError, "rowptr is a list"),
        ((x, rowptr.float()), TypeError, "rowptr is torch.float32"),
        ((x, rowptr[:0]), ValueError, r"rowptr has shape \[0\]; for S segments it must be \[S \+ 1\]"),
        ((x, rowptr.to("meta")), ValueError, "rowptr is on meta but x is on cpu"),
        ((x, rowptr, "median"), ValueError, "reduce='median'"),
    ]:
        with pytest.raises(error, match=says):
            segment_reduce(*arguments)
    if status().implementation != "native":
        pytest.skip("the reference serves")
    for bad in ([0, 2], [1, 3], [0, 2, 1, 3], [0, 4], [-1, 3]):
        with pytest.raises(ValueError, match="rowptr must rise from 0 to the number of rows, 3, without falling"):
            segment_reduce(x, torch.tensor(bad))
