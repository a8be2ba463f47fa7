"""margin_loss and dlr_loss: against the formulas, their derivatives, ties, NaNs, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import dlr_loss, margin_loss, reference, status

TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
LOSSES = {
    "margin": (margin_loss, 2),
    "dlr": (dlr_loss, 3),
    "targeted dlr": (lambda z, y: dlr_loss(z, y, target=(y + 1) % z.shape[1]), 4),
}


def formula(name, z, y):
    """One row, in float64, by sorting."""
    z, y = np.asarray(z, dtype=np.float64), int(y)
    down = np.sort(z)[::-1]
    best = np.delete(z, y).max()
    if name == "margin":
        return best - z[y]
    if name == "dlr":
        return -(z[y] - best) / (down[0] - down[2] + 1e-12)
    return -(z[y] - z[(y + 1) % len(z)]) / (down[0] - (down[2] + down[3]) / 2 + 1e-12)


def example(n, classes, dtype=torch.float32, seed=0):
    random = torch.Generator().manual_seed(seed)
    z = 5 * torch.randn(n, classes, generator=random, dtype=torch.float64)
    return z.to(dtype), torch.randint(0, classes, (n,), generator=random)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("classes", [4, 5, 10, 63, 64, 65, 130, 1000])
def test_the_formula(name, dtype, classes):
    loss, _ = LOSSES[name]
    z, y = example(33, classes, dtype)
    got = loss(z, y)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    want = [formula(name, row, label) for row, label in zip(z.double().numpy(), y, strict=True)]
    np.testing.assert_allclose(got.double().numpy(), want, rtol=1e-10 if dtype == torch.float64 else 1e-5, atol=1e-6)


def test_the_fewest_classes():
    z, y = torch.tensor([[1.0, 3.0], [2.0, -1.0]]), torch.tensor([0, 0])
    assert margin_loss(z, y).tolist() == [2.0, -3.0]
    z, y = torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([2])
    assert dlr_loss(z, y).tolist() == [0.5]
    z, y = torch.tensor([[4.0, 3.0, 2.0, 0.0]]), torch.tensor([0])
    assert dlr_loss(z, y, target=2).tolist() == pytest.approx([-2 / 3])
    assert torch.equal(dlr_loss(z, y, target=2), dlr_loss(z, y, target=torch.tensor([2])))


values = st.sampled_from([0.0, -0.0, 1.0, 2.0, 2.5, -3.0, 1e-45, 3e38, -3e38, math.inf, -math.inf, math.nan])


@settings(max_examples=80)
@given(
    rows=st.integers(4, 9).flatmap(
        lambda k: st.lists(st.lists(st.one_of(values, st.floats(width=16)), min_size=k, max_size=k), max_size=4)
    ),
    dtype=st.sampled_from(TYPES),
    targeted=st.booleans(),
    data=st.data(),
)
def test_ties_infinities_and_nans_as_in_the_reference(rows, dtype, targeted, data):
    """Places too: among equal logits the lower index comes first."""
    z = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), -1 if rows else 4).to(dtype)
    labels = st.lists(st.integers(0, z.shape[1] - 1), min_size=len(rows), max_size=len(rows))
    y, t = (torch.tensor(data.draw(labels), dtype=torch.int64) for _ in "yt")
    for got, want in (
        (torch.ops.dlbench.margin_loss(z, y), reference.margin_loss(z, y)),
        (torch.ops.dlbench.dlr_loss(z, y, t if targeted else None), reference.dlr_loss(z, y, t if targeted else None)),
    ):
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("where", [0, 3, 70, 99])
def test_a_nan_anywhere_makes_a_nan(name, where):
    loss, _ = LOSSES[name]
    z, y = example(3, 100)
    whole = loss(z, y)
    z[1, where] = math.nan
    z.requires_grad_()
    got = loss(z, y)
    assert got.isnan().tolist() == [False, True, False] and torch.equal(got[[0, 2]], whole[[0, 2]])
    (grad,) = torch.autograd.grad(got.sum(), z)
    assert grad[1].isnan().any() and grad[[0, 2]].isfinite().all()


@pytest.mark.parametrize("name", ["dlr", "targeted dlr"])
def test_neither_shift_nor_scale_changes_the_ratio(name):
    loss, _ = LOSSES[name]
    z, y = example(20, 10, torch.float64)
    torch.testing.assert_close(loss(z, y), loss(1000 * z - 7, y))


def test_the_margin_tells_who_is_misclassified():
    z, y = example(200, 5)
    assert torch.equal(margin_loss(z, y) > 0, z.argmax(1) != y)
    assert torch.equal(dlr_loss(z, y) > 0, z.argmax(1) != y)


# -------------------------------------------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("label", ["first", "second", "third", "last"])
def test_gradcheck(name, label):
    """Away from ties; the label at each rank, so that it coincides with each of the other places."""
    loss, _ = LOSSES[name]
    z, _ = example(6, 7, torch.float64)
    order = z.argsort(1, descending=True)
    y = order[:, {"first": 0, "second": 1, "third": 2, "last": 6}[label]]
    assert torch.autograd.gradcheck(lambda z: loss(z, y), z.requires_grad_())
    if name == "targeted dlr":
        for rank in range(5):
            assert torch.autograd.gradcheck(lambda z, t=order[:, rank]: dlr_loss(z, y, t), z)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", TYPES)
def test_the_gradient_has_the_type_of_the_logits(name, dtype):
    loss, _ = LOSSES[name]
    z, y = example(9, 12, dtype)
    (grad,) = torch.autograd.grad(loss(z.requires_grad_(), y).sum(), z)
    double = z.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(loss(double, y).sum(), double)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad.double(), want, rtol=1e-2 if dtype.itemsize == 2 else 1e-4, atol=1e-6)


def test_a_second_derivative_is_refused():
    z, y = example(4, 6, torch.float64)
    (grad,) = torch.autograd.grad(dlr_loss(z.requires_grad_(), y).sum(), z, create_graph=True)
    with pytest.raises(NotImplementedError, match="once, not twice"):
        torch.autograd.grad(grad.square().sum(), z)


def test_slopes_at_one_place_add_up():
    places, slopes = torch.tensor([[1, 1, 0], [2, 0, 2]]), torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    got = torch.ops.dlbench.scatter_slopes(places, slopes, torch.tensor([1.0, -2.0]), 4)
    assert got.tolist() == [[4.0, 3.0, 0.0, 0.0], [-4.0, 0.0, -10.0, 0.0]]


# ------------------------------------------------------------------------------------------- layouts, threads, refusals


@pytest.mark.parametrize("name", LOSSES)
def test_layouts_and_sizes(name):
    loss, fewest = LOSSES[name]
    z, y = example(17, 11)
    want = loss(z, y)
    assert torch.equal(loss(z.t().contiguous().t(), y), want)
    assert torch.equal(loss(torch.cat([z, z], 1)[:, :11], y), want)
    assert torch.equal(loss(z.repeat(2, 1)[::2][:0], y[:0]), want[:0])
    assert torch.equal(loss(z[:1], y[:1]), want[:1])
    assert loss(z[:, :fewest].contiguous(), y % fewest).shape == (17,)


@pytest.mark.parametrize("name", LOSSES)
def test_threads_do_not_change_it(name):
    loss, _ = LOSSES[name]
    z, y = example(3000, 50)
    z.requires_grad_()
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            value = loss(z, y)
            results.append((value.detach(), *torch.autograd.grad(value.sum(), z)))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda z, y: margin_loss(z[:, :1], y), ValueError, "margin_loss needs 2 classes or more and there are 1"),
        (lambda z, y: dlr_loss(z[:, :2], y), ValueError, "dlr_loss needs 3 classes or more and there are 2"),
        (lambda z, y: dlr_loss(z[:, :3], y, 1), ValueError, "dlr_loss with a target needs 4 classes or more"),
        (lambda z, y: margin_loss(z.int(), y), TypeError, "logits are torch.int32"),
        (lambda z, y: margin_loss(z[0], y), ValueError, r"logits have shape \[5\]"),
        (lambda z, y: margin_loss(z, y.int()), TypeError, "y is torch.int32"),
        (lambda z, y: margin_loss(z, y[:2]), ValueError, r"y has shape \[2\]; for these logits it must be \[3\]"),
        (lambda z, y: margin_loss(z, y.to("meta")), ValueError, "y is on meta but logits are on cpu"),
        (lambda z, y: dlr_loss(z, y, y[:2]), ValueError, r"target has shape \[2\]"),
        (lambda z, y: margin_loss(z, y + 5), IndexError, "y has"),
        (lambda z, y: dlr_loss(z, y - 1), IndexError, "y has"),
        (lambda z, y: dlr_loss(z, y, 5), IndexError, "target has"),
    ],
)
def test_refusals_say_what_was_given(call, error, says):
    with pytest.raises(error, match=says):
        call(torch.randn(3, 5), torch.zeros(3, dtype=torch.int64))


def test_the_raw_operators_are_safe_too():
    if status().implementation != "native":
        pytest.skip("the reference serves")
    ops, z, y = torch.ops.dlbench, torch.randn(3, 5), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="3 classes at least"):
        ops.dlr_loss(z[:, :2], y, None)
    with pytest.raises(ValueError, match="shape"):
        ops.margin_loss(z, y[:2])
    with pytest.raises(IndexError, match="places has 5"):
        ops.scatter_slopes(torch.full((3, 2), 5), z[:, :2], z[:, 0], 5)
    with pytest.raises(TypeError):
        ops.margin_loss(z.int(), y)
