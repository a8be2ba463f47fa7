"""fab_step_: the operator against the reference, by the conditions that a step has to meet, and at the edges."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import fab_step_, reference

from .made_graphs import with_threads


def made(shape, dtype=torch.float64, seed=0, near=0.2):
    """Samples in the box, points near them, gradients, leads, and who is adversarial."""
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=random, dtype=torch.float64)
    x_adv = (x + near * (2 * torch.rand(shape, generator=random, dtype=torch.float64) - 1)).clamp(0, 1)
    grad = torch.randn(shape, generator=random, dtype=torch.float64)
    grad[torch.rand(shape, generator=random) < 0.1] = 0
    lead = torch.randn(shape[0], generator=random, dtype=torch.float64) * grad[0].numel() ** 0.5 / 5
    adversarial = torch.rand(shape[0], generator=random) < 0.5
    return x_adv.to(dtype), x.to(dtype), grad.to(dtype), lead, adversarial


def box(x, lower=0.0, upper=1.0):
    return {"lower": torch.full_like(x[0], lower), "upper": torch.full_like(x[0], upper)}


def by_reference(x_adv, *rest, lower, upper, unit=None, norm="linf", eta=1.05, beta=0.9, alpha_max=0.1, tally=None):
    x_adv = x_adv.clone()
    far = reference.fab_step_(x_adv, *rest, lower, upper, unit, eta, beta, alpha_max, norm, tally)
    return x_adv, far


@settings(max_examples=150)
@given(
    shape=st.sampled_from([(1, 1), (3, 7), (4, 3, 5, 5), (2, 130), (5, 1, 33), (2, 3000)]),
    norm=st.sampled_from(["linf", "l2"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    units=st.booleans(),
    lead=st.sampled_from([0.0, 1e-6, 1.0, 30.0, 1e6, torch.inf, torch.nan]),
    scale=st.sampled_from([1e-30, 1.0, 1e20]),
    seed=st.integers(0, 999),
)
def test_it_is_the_reference(shape, norm, dtype, units, lead, scale, seed):
    x_adv, x, grad, leads, adversarial = made(shape, dtype, seed)
    grad, leads = grad * scale, leads * lead * scale
    unit = torch.rand_like(x) + 0.5 if units and norm == "linf" else None
    want, wanted_far = by_reference(x_adv, x, grad, leads, adversarial, unit=unit, norm=norm, **box(x))
    far = fab_step_(x_adv, x, grad, leads, adversarial, unit=unit, norm=norm, **box(x))
    close = {"rtol": 1e-4, "atol": 2e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(x_adv, want, **close)
    torch.testing.assert_close(far, wanted_far, **close)
    assert (x_adv >= 0).all() and (x_adv <= 1).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_from_the_sample_itself_a_step_is_a_projection_on_the_plane(norm):
    """With eta 1 the new point lies on the plane, as near to x as any point of it in a box far away."""
    _, x, grad, _, adversarial = made((6, 40))
    lead = torch.full((6,), -0.5, dtype=torch.float64)
    x_adv = x.clone()
    far = fab_step_(x_adv, x, grad, lead, ~adversarial & False, norm=norm, eta=1.0, **box(x, -50, 50))
    torch.testing.assert_close((grad * (x_adv - x)).sum(1), -lead)
    dual = grad.abs().sum(1) if norm == "linf" else grad.norm(dim=1)
    torch.testing.assert_close(far, -lead / dual)


def test_a_plane_out_of_reach_leads_to_the_corner():
    x_adv, x, grad, lead, adversarial = made((5, 12))
    grad = grad.where(grad != 0, 1.0)
    lead = -1e9 * torch.ones_like(lead)
    fab_step_(x_adv, x, grad, lead, adversarial, eta=1.0, **box(x))
    assert torch.equal(x_adv, (grad > 0).double())


def test_a_coordinate_without_room_stays_to_the_bit():
    """Its unit is tiny, so that a rounding error would count as a long way."""
    x_adv, x, grad, lead, adversarial = made((50, 3, 40), torch.float32)
    x_adv[:, 1] = x[:, 1]
    unit = torch.ones_like(x)
    unit[:, 1] = 1e-30
    for step in (
        lambda p: fab_step_(p, x, grad, lead, adversarial, unit=unit, **box(x)),
        lambda p: reference.fab_step_(p, x, grad, lead, adversarial, *box(x).values(), unit, 1.05, 0.9, 0.1, "linf"),
    ):
        points = x_adv.clone()
        assert (step(points) < 1.1).all() and torch.equal(points[:, 1], x[:, 1])


def test_odd_numbers_count_as_zero_and_are_told():
    x_adv, x, grad, lead, adversarial = made((2, 9))
    odd = grad.clone()
    odd[0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    zero = odd.nan_to_num(0.0, 0.0, 0.0)
    tally = torch.zeros(2, 4, dtype=torch.int64)
    want, _ = by_reference(x_adv, x, zero, lead, adversarial, **box(x))
    fab_step_(x_adv, x, odd, lead, adversarial, tally=tally, **box(x))
    torch.testing.assert_close(x_adv, want)
    assert tally[:, 2:].tolist() == [[2, 1], [0, 0]] and (tally[:, 0] == (odd == 0).sum(1)).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_a_slope_it_stays_where_it_is(norm):
    x_adv, x, grad, lead, adversarial = made((4, 6))
    before = x_adv.clone()
    far = fab_step_(x_adv, x, grad * 0, lead, adversarial & False, norm=norm, **box(x))
    alpha = 0.1  # both ways are nothing: the most that a step takes from x
    torch.testing.assert_close(x_adv, (1 - alpha) * before + alpha * x)
    torch.testing.assert_close(far, (x_adv - x).norm(torch.inf if norm == "linf" else 2, dim=1))


def test_layouts_and_threads_do_not_change_a_bit():
    x_adv, x, grad, lead, adversarial = made((9, 3, 20, 20), torch.float32)

    def step(layout=torch.contiguous_format):
        points = x_adv.clone(memory_format=layout)
        others = (x.contiguous(memory_format=layout), grad.contiguous(memory_format=layout))
        far = fab_step_(points, *others, lead, adversarial, **box(x))
        return torch.cat([points.flatten(), far.float()])

    first, *others = with_threads(step)
    assert all(torch.equal(first, other) for other in [*others, step(torch.channels_last)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4, 4), (0, 5), (3, 0)])
def test_opcheck_and_nothing_at_all(shape):
    tensors = made(shape) if 0 not in shape else (*[torch.zeros(shape).double()] * 3, torch.zeros(shape[0]).double())
    x_adv, x, grad, lead = (tensor.clone() for tensor in tensors[:4])
    limits = box(x) if shape[0] else {"lower": torch.zeros(5).double(), "upper": torch.ones(5).double()}
    rest = (limits["lower"], limits["upper"], None, 1.05, 0.9, 0.1, "l2", torch.zeros(shape[0], 4, dtype=torch.int64))
    arguments = (x_adv, x, grad, lead, torch.zeros(shape[0], dtype=torch.bool), *rest)
    torch.library.opcheck(torch.ops.dlbench.fab_step_.default, arguments)


def test_refusals_say_what_was_given():
    x_adv, x, grad, lead, adversarial = made((3, 5), torch.float32)
    good = {"x": x, "grad": grad, "lead": lead, "adversarial": adversarial, **box(x)}
    for change, error, says in [
        ({"x": x.double()}, TypeError, "x is torch.float64; it must be torch.float32"),
        ({"grad": grad[:2]}, ValueError, r"grad is \[2, 5\] on cpu; it must be \[3, 5\] on cpu"),
        ({"lead": lead.float()}, TypeError, "lead is torch.float32; it must be torch.float64"),
        ({"adversarial": lead}, TypeError, "adversarial is torch.float64; it must be torch.bool"),
        ({"lower": x}, ValueError, r"lower is \[3, 5\] on cpu; it must be \[5\]"),
        ({"unit": x[0]}, ValueError, r"unit is \[5\] on cpu; it must be \[3, 5\]"),
        ({"unit": x.abs() + 1, "norm": "l2"}, ValueError, "unit goes with the L-infinity norm"),
        ({"beta": -1.0}, ValueError, r"beta=-1.0.*in \[0, 1\]"),
        ({"eta": torch.nan}, ValueError, "eta=nan"),
        ({"norm": "l1"}, ValueError, "norm is 'l1'; it must be 'linf' or 'l2'"),
    ]:
        with pytest.raises(error, match=says):
            fab_step_(x_adv, **good | change)
    with pytest.raises(TypeError, match=r"x_adv is torch\.float16"):
        fab_step_(x_adv.half(), **good)
