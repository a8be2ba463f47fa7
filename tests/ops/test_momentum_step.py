"""momentum_step_: the gathered gradient by definition, the step by linf_step_, extremes, layouts, peers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlbench.ops import linf_step_, momentum_step_, status

STATES = [torch.float32, torch.float64]
GRADIENTS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SIZE = {"eps": 8 / 255, "step_size": 2 / 255}


def example(shape, state=torch.float32, gradient=torch.float32, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=random, dtype=state)
    x_adv = (x + 0.06 * torch.rand(shape, generator=random, dtype=state) - 0.03).clamp(0, 1)
    momentum = torch.randn(shape, generator=random, dtype=state) / math.prod(shape[1:])
    return x_adv, x, torch.randn(shape, generator=random).to(gradient), momentum


def gathered(momentum, grad, decay):
    """The paper's accumulation in float64, for gradients of ordinary size."""
    g = grad.double()
    g = torch.where(g.isfinite(), g, torch.zeros_like(g))
    norm = g.flatten(1).abs().sum(1).clamp(min=1e-300).view(-1, *[1] * (g.dim() - 1))
    return decay * momentum.double() + g / norm


@given(
    state=st.sampled_from(STATES),
    gradient=st.sampled_from(GRADIENTS),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 90)),
    decay=st.sampled_from([0.0, 0.9, 1.0, 2.0]),
    seed=st.integers(0, 99),
    zeros=st.booleans(),
)
def test_it_gathers_the_gradient_and_follows_its_sign(state, gradient, shape, decay, seed, zeros):
    x_adv, x, grad, momentum = example(shape, state, gradient, seed)
    if zeros:
        grad[0] = 0
        grad[-1, ::3] = math.nan
    want = gathered(momentum, grad, decay)
    start, before = x_adv.clone(), momentum.clone()
    assert momentum_step_(x_adv, x, grad, momentum, decay=decay, **SIZE) is x_adv
    torch.testing.assert_close(momentum.double(), want, rtol=1e-6 if state == torch.float32 else 1e-13, atol=1e-9)
    assert torch.equal(x_adv, linf_step_(start, x, momentum, **SIZE))
    if zeros and shape[0] > 1:
        assert torch.equal(momentum[0], (decay * before[0].double()).to(state))


@pytest.mark.parametrize("state", STATES)
def test_its_bounds_are_exact(state):
    x_adv, x, grad, momentum = example((3, 3, 40, 50), state)
    for _ in range(10):
        momentum_step_(x_adv, x, grad, momentum, eps=0.03, step_size=0.02)
    assert ((x_adv.double() - x.double()).abs() <= 0.03).all() and (x_adv >= 0).all() and (x_adv <= 1).all()


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_without_a_gradient_the_momentum_decays(gradient):
    x_adv, x, grad, momentum = example((4, 30), gradient=gradient)
    grad[0], grad[1], grad[2] = 0, math.nan, math.inf
    want = (0.5 * momentum.double()).float()
    start = x_adv.clone()
    momentum_step_(x_adv, x, grad, momentum, decay=0.5, **SIZE)
    assert torch.equal(momentum[:3], want[:3]) and momentum.isfinite().all()
    assert torch.equal(x_adv[:3], linf_step_(start, x, want, **SIZE)[:3])


def test_at_first_nothing_moves_without_a_gradient():
    x_adv, x, _, _ = example((2, 30))
    start, momentum = x_adv.clone(), torch.zeros(2, 30)
    momentum_step_(x_adv, x, torch.zeros(2, 30), momentum, eps=1.0, step_size=0.1)
    assert torch.equal(x_adv, start) and (momentum == 0).all()


@pytest.mark.parametrize(
    ("scale", "gradient"),
    [(2.0**-149, torch.float32), (2.0**125, torch.float32), (2.0**-1074, torch.float64), (2.0**1021, torch.float64)],
)
def test_the_size_of_a_gradient_does_not_matter(scale, gradient):
    x_adv, x, _, momentum = example((3, 200), torch.float64)
    grad = torch.randint(1, 4, (3, 200)).to(gradient) * torch.randint(0, 2, (3, 200)).mul(2).sub(1)
    want = gathered(momentum, grad, 1.0)
    momentum_step_(x_adv, x, grad * scale, momentum, **SIZE)
    torch.testing.assert_close(momentum, want, rtol=0, atol=1e-14)


LAYOUTS = {
    "contiguous": lambda t: t.clone(),
    "channels last": lambda t: t.clone(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(0, 3).contiguous().transpose(0, 3),
    "every second": lambda t: t.repeat_interleave(2, dim=3)[..., ::2],
}


@pytest.mark.parametrize("of_momentum", LAYOUTS)
@pytest.mark.parametrize("of_state", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (3, 2, 70, 71)], ids=str)
def test_layouts_and_limits_of_samples_and_channels(shape, of_state, of_momentum):
    x_adv, x, grad, momentum = example(shape, torch.float64)
    eps, upper = torch.rand(shape[0], shape[1], 1, 1) / 9, 0.5 + torch.rand(shape[1])
    want = gathered(momentum, grad, 0.9)
    start = x_adv.clone()
    state, own = LAYOUTS[of_state](x_adv), LAYOUTS[of_momentum](momentum)
    strides = own.stride()
    assert momentum_step_(state, x, grad, own, eps=eps, step_size=0.03, upper=upper, decay=0.9) is state
    torch.testing.assert_close(own, want, rtol=0, atol=1e-15)
    assert own.stride() == strides
    assert torch.equal(state, linf_step_(start, x, own, eps=eps, step_size=0.03, upper=upper))


@pytest.mark.parametrize("shape", [(0,), (0, 3, 4), (3, 0), (5,), (1, 1, 1, 1)], ids=str)
def test_small_shapes(shape):
    x_adv, x, grad = (torch.rand(shape) for _ in "123")
    momentum = torch.zeros(shape)
    momentum_step_(x_adv, x, grad - 0.5, momentum, **SIZE)
    assert (momentum.abs() == 1).all()  # one number a sample, and a norm that is its size


def test_samples_and_threads_do_not_matter():
    x_adv, x, grad, momentum = example((5, 3, 60, 61))
    results = []
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            state, own = x_adv.clone(), momentum.clone()
            momentum_step_(state, x, grad, own, **SIZE)
            results.append((state, own))
    finally:
        torch.set_num_threads(threads)
    some = torch.tensor([3, 1])
    state, own = x_adv[some], momentum[some]
    momentum_step_(state, x[some], grad[some], own, **SIZE)
    for i, part in enumerate((state, own)):
        assert torch.equal(results[0][i], results[1][i]) and torch.equal(results[0][i], results[2][i])
        assert torch.equal(part, results[0][i][some])


def test_the_tally_counts_and_versions_rise():
    x_adv, x, grad, momentum = example((2, 5000))
    grad[0, 4090:4100], grad[1, :3], grad[1, 7] = math.inf, 0, math.nan
    tally = torch.ones(2, 4, dtype=torch.int64)
    versions = x_adv._version, momentum._version
    momentum_step_(x_adv, x, grad, momentum, tally=tally, **SIZE)
    assert (tally - 1).tolist() == [[0, 0, 10, 0], [3, 0, 0, 1]]
    assert x_adv._version > versions[0] and momentum._version > versions[1]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"momentum": torch.zeros(3, 5)}, ValueError, r"momentum is \[3, 5\] on cpu but x_adv is \[3, 4\]"),
        ({"momentum": torch.zeros(3, 4).double()}, TypeError, "momentum is torch.float64"),
        ({"grad": torch.zeros(3, 4).int()}, TypeError, "grad is torch.int32"),
        ({"decay": -0.1}, ValueError, "decay=-0.1"),
        ({"decay": math.nan}, ValueError, "decay=nan"),
        ({"eps": -1.0}, ValueError, "eps=-1.0"),
        ({name: torch.tensor(0.0) for name in ("x_adv", "x", "grad", "momentum")}, ValueError, "no dimension"),
    ],
)
def test_refusals_say_what_was_given(change, error, says):
    given = {name: torch.zeros(3, 4) for name in ("x_adv", "x", "grad", "momentum")} | SIZE | change
    with pytest.raises(error, match=says):
        momentum_step_(**given)


def test_overlaps_are_refused():
    if status().implementation != "native":
        pytest.skip("the reference serves")
    x = torch.rand(3, 4)
    with pytest.raises(RuntimeError, match="single memory location"):
        momentum_step_(x.clone(), x, x, x, **SIZE)
    state = x.clone()
    want, momentum = x.clone(), torch.zeros(3, 4)
    momentum_step_(want, x, x, momentum, **SIZE)
    assert torch.equal(momentum_step_(state, state, x, torch.zeros(3, 4), **SIZE), want)


# --------------------------------------------------------------------------------------------------------------- peers


class Net(torch.nn.Module):
    """Smooth, and with gradients of very different sizes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(48, 20), torch.nn.Tanh(), torch.nn.Linear(20, 4)
        )

    def forward(self, x):
        return self.body(x)


@pytest.mark.peers
class TestPeers:
    def ours(self, net, x, y, steps):
        x_adv, momentum = x.clone(), torch.zeros_like(x)
        for _ in range(steps):
            points = x_adv.clone().requires_grad_()
            (grad,) = torch.autograd.grad(torch.nn.functional.cross_entropy(net(points), y, reduction="sum"), points)
            momentum_step_(x_adv, x, grad, momentum, **SIZE)
        return x_adv

    def points(self):
        torch.manual_seed(1)
        return torch.rand(6, 3, 4, 4), torch.randint(0, 4, (6,))

    @pytest.mark.parametrize("steps", [1, 10])
    def test_of_torchattacks(self, steps):
        torchattacks = pytest.importorskip("torchattacks")
        net, (x, y) = Net().eval(), self.points()
        theirs = torchattacks.MIFGSM(net, steps=steps, decay=1.0, eps=SIZE["eps"], alpha=SIZE["step_size"])(x, y)
        torch.testing.assert_close(theirs, self.ours(net, x, y, steps), rtol=0, atol=1e-6)

    @pytest.mark.parametrize("steps", [1, 10])
    def test_of_art(self, steps):
        pytest.importorskip("art")
        from art.attacks.evasion import MomentumIterativeMethod
        from art.estimators.classification import PyTorchClassifier

        net, (x, y) = Net().eval(), self.points()
        classifier = PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (3, 4, 4), 4, clip_values=(0.0, 1.0))
        attack = MomentumIterativeMethod(
            classifier, eps=SIZE["eps"], eps_step=SIZE["step_size"], decay=1.0, max_iter=steps, verbose=False
        )
        theirs = torch.from_numpy(attack.generate(x.numpy(), y.numpy()))
        torch.testing.assert_close(theirs, self.ours(net, x, y, steps), rtol=0, atol=1e-6)

    def test_one_gradient_of_zero_stops_theirs_for_good_and_not_ours(self):
        """They divide by a mean of zero, and a momentum that is NaN stays NaN and has no sign."""
        torchattacks = pytest.importorskip("torchattacks")

        class FlatAtFirst(Net):
            calls = 0

            def forward(self, x):
                self.calls += 1
                return super().forward(x) * (self.calls > 1)

        x, y = self.points()
        theirs = torchattacks.MIFGSM(FlatAtFirst().eval(), steps=5)(x, y)
        assert torch.equal(theirs, x)
        assert (self.ours(FlatAtFirst().eval(), x, y, 5) != x).float().mean() > 0.9
