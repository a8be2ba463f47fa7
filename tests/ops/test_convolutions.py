"""winograd_conv2d: against the direct convolution in float64, with its derivatives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dlbench.ops import WinogradKernels, reference, status, winograd_conv2d

from .made_graphs import with_threads

SIDES = st.sampled_from([1, 2, 3, 4, 5, 8, 9, 13])


def made(images, channels, features, height, width, seed=0):
    """Images, and weights that keep their scale, with a bias."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(images, channels, height, width, generator=random)
    weight = torch.randn(features, channels, 3, 3, generator=random) / (3 * max(channels, 1) ** 0.5)
    return x, weight, torch.randn(features, generator=random)


def direct(x, weight, bias, relu, padding=1):
    out = F.conv2d(x.double(), weight.double(), None if bias is None else bias.double(), padding=padding)
    return out.relu() if relu else out


@settings(max_examples=150)
@given(
    images=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 7, 16, 20, 33, 64]),
    features=st.sampled_from([1, 4, 16, 17, 31, 32, 40, 70]),
    height=SIDES,
    width=SIDES,
    biased=st.booleans(),
    relu=st.booleans(),
    padding=st.sampled_from([0, 1, 1, 2]),
    seed=st.integers(0, 999),
)
def test_any_shape_forth_and_back(images, channels, features, height, width, biased, relu, padding, seed):
    assume(min(height, width) + 2 * padding >= 3)
    x, weight, bias = made(images, channels, features, height, width, seed)
    bias = bias if biased else None
    x.requires_grad_()
    out = winograd_conv2d(x, WinogradKernels.of(weight), bias, padding=padding, relu=relu)
    want = direct(x, weight, bias, relu, padding)
    assert out.dtype == torch.float32 and out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out.double(), want, rtol=2e-4, atol=2e-4)

    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))
    sure = (want.abs() > 1e-3) | (not relu)  # a rectifier's slope is that of the side that rounding puts it on
    (slope,) = torch.autograd.grad(out, x, grad * sure)
    (wanted,) = torch.autograd.grad(want, x, (grad * sure).double())
    torch.testing.assert_close(slope.double(), wanted.double(), rtol=5e-4, atol=5e-4)


@pytest.mark.parametrize("relu", [False, True])
def test_the_reference_is_the_convolution_in_float64(relu):
    x, weight, bias = made(2, 5, 9, 6, 7)
    kernels = WinogradKernels.of(weight)
    x, bias, gate = x.double(), bias.double(), torch.randn(2, 5, 6, 7)
    out = reference.winograd_conv2d(x, kernels.ahead.double(), kernels.back, bias, gate, kernels.features, 1, relu)
    # the kernels at the points are float32
    torch.testing.assert_close(out, direct(x * (gate > 0), weight, bias, relu), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("features", [4, 40])
def test_the_operator_is_the_reference(features):
    x, weight, bias = made(2, 19, features, 6, 9)
    kernels, gate = WinogradKernels.of(weight), torch.randn(2, 19, 6, 9)
    for arguments in ((bias, gate), (None, gate), (bias, None), (None, None)):
        for relu in (False, True):
            rest = (kernels.ahead, kernels.back, *arguments, kernels.features, 1, relu)
            out, want = torch.ops.dlbench.winograd_conv2d(x, *rest), reference.winograd_conv2d(x, *rest)
            torch.testing.assert_close(out, want, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("relu", [False, True])
def test_it_is_differentiated_twice(relu):
    x, weight, bias = made(1, 6, 5, 5, 6)
    grad = torch.randn(1, 5, 5, 6)
    seconds = []
    for convolve, dtype in (
        (lambda x: winograd_conv2d(x, WinogradKernels.of(weight), bias, relu=relu), torch.float32),
        (lambda x: direct(x, weight, bias, relu), torch.float64),
    ):
        point = x.to(dtype).requires_grad_()
        (slope,) = torch.autograd.grad(convolve(point**2), point, grad.to(dtype), create_graph=True)
        seconds.append(torch.autograd.grad(slope.square().sum(), point)[0].double())
    torch.testing.assert_close(*seconds, rtol=2e-3, atol=2e-3)


def test_what_is_not_finite_spoils_the_tiles_around_it_and_no_others():
    x, weight, _ = made(2, 4, 6, 12, 12)
    x[0, 1, 5, 5] = torch.nan
    out = winograd_conv2d(x, WinogradKernels.of(weight))
    spoilt = out.isnan().any(1)
    assert spoilt[0, 4:7, 4:7].all() and not spoilt[0, 8:].any() and not spoilt[0, :, 8:].any() and not spoilt[1].any()


def test_layouts_and_threads_do_not_change_a_bit():
    x, weight, bias = made(9, 40, 70, 11, 14)
    kernels = WinogradKernels.of(weight)
    first, *others = with_threads(lambda: winograd_conv2d(x, kernels, bias))
    assert all(torch.equal(other, first) for other in others)
    assert torch.equal(winograd_conv2d(x.contiguous(memory_format=torch.channels_last), kernels, bias), first)
    assert torch.equal(winograd_conv2d(x.repeat_interleave(2, 0)[::2], kernels, bias), first)
    assert torch.equal(torch.cat([winograd_conv2d(one, kernels, bias) for one in x.split(1)]), first)


def test_nothing_at_all():
    kernels = WinogradKernels.of(torch.randn(5, 3, 3, 3))
    for shape in ((0, 3, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0)):
        assert winograd_conv2d(torch.zeros(shape), kernels).shape == (shape[0], 5, *shape[2:])
    assert winograd_conv2d(torch.zeros(1, 3, 4, 4), WinogradKernels.of(torch.zeros(0, 3, 3, 3))).shape == (1, 0, 4, 4)
    nothing = WinogradKernels.of(torch.zeros(5, 0, 3, 3))
    assert (winograd_conv2d(torch.zeros(1, 0, 4, 4), nothing, torch.ones(5)) == 1).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_opcheck_and_compilation():
    x, weight, bias = made(2, 5, 7, 6, 6)
    kernels = WinogradKernels.of(weight)
    x.requires_grad_()
    for relu in (False, True):
        arguments = (x, kernels.ahead, kernels.back, bias, None, kernels.features, 1, relu)
        torch.library.opcheck(torch.ops.dlbench.winograd_conv2d.default, arguments, rtol=1e-4, atol=1e-4)
    layer = lambda x: winograd_conv2d(x * 2, kernels, bias, relu=True).sum()  # noqa: E731
    torch._dynamo.reset()
    values = [f(x) for f in (layer, torch.compile(layer, fullgraph=True, backend="aot_eager"))]
    torch.testing.assert_close(*(torch.autograd.grad(value, x)[0] for value in values))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of forward mode
def test_refusals_say_what_was_given():
    x, kernels = torch.zeros(1, 3, 4, 4), WinogradKernels.of(torch.zeros(5, 3, 3, 3))
    for arguments, error, says in [
        ((x.double(), kernels), TypeError, "x is torch.float64; it must be float32"),
        ((x[0], kernels), ValueError, r"x has shape \[3, 4, 4\]; for these kernels it must be \[N, 3, H, W\]"),
        ((x[:, :2], kernels), ValueError, r"x has shape \[1, 2, 4, 4\]"),
        ((x.to("meta"), kernels), ValueError, "kernels is on cpu but x is on meta"),
        (
            (x[..., :2, :], kernels, None, 0),
            ValueError,
            r"x has shape \[1, 3, 2, 4\]; with padding=0 its images are smaller",
        ),
        ((x, kernels, None, 3), ValueError, "padding is 3; it must be 0, 1 or 2"),
        ((x, kernels, torch.zeros(4)), ValueError, r"bias is torch.float32 of shape \[4\]; .* \[5\]"),
    ]:
        with pytest.raises(error, match=says):
            winograd_conv2d(*arguments[:3], **({"padding": arguments[3]} if len(arguments) > 3 else {}))
    with pytest.raises(ValueError, match=r"weight has shape \[5, 3, 5, 5\]; it must be"):
        WinogradKernels.of(torch.zeros(5, 3, 5, 5))
    if status().implementation == "native":
        bias = torch.zeros(5, requires_grad=True)
        with pytest.raises(NotImplementedError, match="derivatives with respect to x only"):
            winograd_conv2d(x, kernels, bias)
        with pytest.raises(NotImplementedError, match="reverse mode only"):
            torch.func.jvp(lambda x: winograd_conv2d(x, kernels), (x,), (x,))


def test_what_a_gate_shuts_out_counts_as_zero_whatever_it_is():
    x, weight, _ = made(1, 4, 6, 6, 6)
    kernels, gate = WinogradKernels.of(weight), torch.ones(1, 4, 6, 6)
    x[0, 2, 3, 3], gate[0, 2, 3, 3] = torch.inf, 0
    rest = (kernels.ahead, kernels.back, None, gate, kernels.features, 1, False)
    for out in (torch.ops.dlbench.winograd_conv2d(x, *rest), reference.winograd_conv2d(x, *rest)):
        assert out.isfinite().all()
