"""Stacked networks end up where each would have come to alone."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlbench.stacking import Dropout, Stack, batches, rows_of, step_at
from dlbench.windows import Windows

STEPS, BATCH = 12, 16
SIZES = (40, 64, 23)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.LayerNorm(12), nn.Linear(12, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(),
        nn.MaxPool2d((1, 2)), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def perceptron() -> nn.Module:
    hidden = nn.Sequential(nn.Linear(6, 12, bias=False), nn.LeakyReLU(0.1), nn.Linear(12, 8), nn.Tanh())
    return nn.Sequential(nn.Flatten(), hidden, nn.Linear(8, 3))


def made(build, count=3):
    nets = []
    for seed in range(count):
        torch.manual_seed(seed)
        nets.append(build().double())
    return nets


def data():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(len(SIZES), max(SIZES), 6, dtype=torch.float64, generator=random)
    return x, torch.randint(3, x.shape[:2], generator=random)


def orders():
    return [torch.Generator().manual_seed(seed) for seed in range(len(SIZES))]


def own(x, rows):
    return torch.stack([part[chosen] for part, chosen in zip(x, rows, strict=True)])


OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, weight_decay=1e-3),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("build", [mlp, cnn, perceptron])
def test_together_they_come_to_where_each_comes_alone(build, optimizer):
    x, y = data()
    stack = Stack(made(build))
    steps = OPTIMIZERS[optimizer](stack.parameters())
    for rows in batches(SIZES, BATCH, steps=STEPS, generators=orders()):
        steps.zero_grad()
        stack.losses(F.cross_entropy, stack.each(own(x, rows)), own(y, rows)).sum().backward()
        steps.step()
    stack.eval()
    together = stack(x[0])

    for k, (net, order) in enumerate(zip(made(build), orders(), strict=True)):
        alone = OPTIMIZERS[optimizer](net.parameters())
        for (rows,) in batches([SIZES[k]], BATCH, steps=STEPS, generators=[order]):
            alone.zero_grad()
            F.cross_entropy(net(x[k][rows]), y[k][rows]).backward()
            alone.step()
        net.eval()
        torch.testing.assert_close(together[k], net(x[0]), rtol=1e-9, atol=1e-9)
        for (name, value), (_, expected) in zip(stack[k].state_dict().items(), net.state_dict().items(), strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9, msg=name)


class Unknown(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Residual(Unknown):
    def stacked(self, x, run):
        return x + run(self.inner, x)


LAYERED = {
    "perceptron": lambda: nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 2)),
    "no bias": lambda: nn.Sequential(nn.Linear(6, 9, bias=False), nn.LeakyReLU(0.1), nn.Linear(9, 2, bias=False)),
    "normalised": lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Identity(), nn.Linear(8, 2)),
    "bare norm": lambda: nn.Sequential(nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 2)),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 9), Dropout(0.3), nn.SiLU(), nn.Linear(9, 2), nn.Sigmoid()),
    "torch's dropout": lambda: nn.Sequential(nn.Dropout(0.2), nn.Linear(6, 9), nn.Dropout(0.3), nn.Linear(9, 2)),
    "rows": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.Linear(3, 4), nn.LayerNorm((2, 4)), nn.Flatten(), nn.Linear(8, 2)
    ),
    "windows": lambda: nn.Sequential(
        *(nn.Unflatten(1, (2, 3, 1)), Windows(1, 4, 2, 1, 2), nn.ReLU()),
        *(nn.Flatten(2), Windows(8, 3, 1, 1, 1), nn.Flatten(), nn.Linear(3, 2)),
    ),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(6, 6), Residual(nn.Sequential(nn.ReLU(), nn.Linear(6, 6))))
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("build", LAYERED)
def test_layer_by_layer_they_come_to_the_bits_of_mapped_ones(build, dtype):
    stack = Stack(made(LAYERED[build], count=5)).to(dtype)
    assert stack._layered
    x = torch.randn(5, 33, 6, generator=torch.Generator().manual_seed(1), dtype=dtype)
    found = {}
    for layered in (True, False):
        stack._layered = layered
        torch.manual_seed(2)
        for how, outputs in (("own", stack.train().each(x)), ("shared", stack.eval()(x[0]))):
            stack.zero_grad()
            outputs.square().sum().backward()
            found[how, layered] = [outputs.detach(), *(parameter.grad.clone() for parameter in stack.parameters())]
    shared = []
    for layered in (True, False):  # dropout left on
        stack._layered = layered
        torch.manual_seed(2)
        shared.append(stack.train()(x[0]))
    assert torch.equal(*shared)
    for how in ("own", "shared"):
        assert all(map(torch.equal, found[how, True], found[how, False])), how


def test_rows_of_examples():
    x, rows = torch.randn(7, 2, 3), torch.tensor([[6, 0, 0, 3], [1, 2, 6, 5]])
    assert torch.equal(rows_of(x, rows), x[rows])
    assert torch.equal(rows_of(x[:, 0, 0], rows), x[:, 0, 0][rows])


def test_what_is_not_known_is_mapped():
    hooked = nn.Sequential(nn.Linear(6, 6))
    hooked[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    normalised = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)))
    for net in (cnn(), hooked, normalised, nn.Sequential(nn.BatchNorm1d(6)), Unknown(nn.Linear(6, 6))):
        assert not Stack([net])._layered
    x = data()[0][0].float()
    assert torch.allclose(Stack([hooked] * 2)(x)[1], hooked(x))


@pytest.mark.parametrize("networks", [1, 3])
@pytest.mark.parametrize(("shape", "strides"), [((5, 1, 6, 6), (36, 1, 6, 1)), ((5, 3, 6, 6), (108, 1, 18, 3))])
def test_images_may_look_like_channels_last(networks, shape, strides):
    """As numpy has images of one channel, and torch those of several: vmap knows neither in a group norm."""
    build = lambda: nn.Sequential(nn.Conv2d(shape[1], 4, 3), nn.GroupNorm(1, 4), nn.ReLU())  # noqa: E731
    nets = [build() for _ in range(networks)]
    x = torch.randn(shape[0] * shape[1] * 36).as_strided(shape, strides)
    assert x.is_contiguous(memory_format=torch.channels_last)
    want = torch.stack([net(x) for net in nets])
    torch.testing.assert_close(Stack(nets)(x), want)
    torch.testing.assert_close(Stack(nets).each(x.expand(networks, *shape)), want)


def test_a_copy_of_a_stack_has_weights_of_its_own():
    stack = Stack(made(mlp))
    other = copy.deepcopy(stack)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    x = data()[0][0]
    assert stack(x).abs().sum() > 0 and other(x).abs().sum() == 0


def test_a_linear_layer_acts_on_the_last_dimension_and_may_come_twice():
    def build() -> nn.Module:
        layer = nn.Linear(6, 6)
        return nn.Sequential(layer, nn.ReLU(), layer)

    for nets in (made(build), made(lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU()))):
        x = torch.randn(3, 5, 4, 6, dtype=torch.float64)
        torch.testing.assert_close(
            Stack(nets).each(x), torch.stack([net(part) for net, part in zip(nets, x, strict=True)])
        )
        torch.testing.assert_close(Stack(nets)(x[0]), torch.stack([net(x[0]) for net in nets]))


def test_a_weight_is_shared_in_all_networks_or_in_none():
    def build(tied: bool) -> nn.Module:
        net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        if tied:
            net[2].weight = net[0].weight
        return net

    for order in ((True, False), (False, True)):
        with pytest.raises(ValueError, match="share a weight in one of networks 0 and 1"):
            Stack([build(tied) for tied in order])


class Doubled(Windows):
    def forward(self, x):
        return 2 * super().forward(x)


def test_what_is_computed_otherwise_than_by_its_class_is_mapped():
    """A later class's forward, one put on an instance, and layers that would take examples apart."""
    replaced = nn.Linear(6, 6)
    replaced.forward = lambda x: 3 * x
    windows = nn.Sequential(nn.Unflatten(1, (6, 1)), Doubled(1, 2, 3, 1, 1), nn.Flatten())
    x = torch.randn(5, 6)
    for net in (nn.Sequential(replaced), windows):
        stack = Stack([net] * 2)
        assert not stack._layered
        torch.testing.assert_close(stack(x)[1], net(x))
    assert not Stack([nn.Sequential(nn.Linear(6, 6), nn.Flatten(0))])._layered


def test_weights_that_layers_share_are_shared_in_a_stack():
    def build() -> nn.Module:
        net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        net[2].weight = net[0].weight
        return net

    nets, x = made(build), torch.randn(5, 6, dtype=torch.float64)
    torch.testing.assert_close(Stack(nets)(x), torch.stack([net(x) for net in nets]))


def test_one_taken_out_is_that_network_and_a_copy():
    nets = made(cnn)
    for net in nets:
        net[1].weight.requires_grad_(False)
    stack = Stack(nets)
    x = data()[0][0]
    stack.eval()
    for k in (0, 2, -1):
        taken = stack[k]
        assert not taken.training
        assert torch.equal(taken(x), nets[k].eval()(x))
        assert torch.allclose(taken(x), stack(x)[k])
    with torch.no_grad():
        taken[-1].weight.zero_()
    assert torch.allclose(stack(x)[2], nets[2](x))
    assert not stack[0][1].weight.requires_grad and stack[0][-1].weight.requires_grad
    with pytest.raises(IndexError, match="network 3 of a stack of 3"):
        stack[3]
    assert [len(list(net.parameters())) for net in stack] == [6, 6, 6]


def test_the_given_networks_stay_as_they_are():
    nets = made(mlp)
    before = [parameter.clone() for net in nets for parameter in net.parameters()]
    stack = Stack(nets)
    stack(data()[0][0]).sum().backward()
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(1)
    after = [parameter for net in nets for parameter in net.parameters()]
    assert all(map(torch.equal, before, after)) and all(p.grad is None for p in after)


def test_a_stack_is_a_module():
    stack = Stack(made(cnn))
    again = Stack(made(cnn)[::-1])
    again.load_state_dict(stack.state_dict())
    assert torch.equal(stack.eval()(data()[0][0]), again.eval()(data()[0][0]))
    assert next(stack.float().parameters()).dtype == torch.float32
    assert stack(data()[0][0].float()).dtype == torch.float32
    assert next(stack[1].parameters()).dtype == torch.float32


def test_dropout_differs_between_networks_and_ceases_in_evaluation():
    net = nn.Sequential(nn.Linear(6, 50), nn.Dropout(0.5))
    stack = Stack([net, net])
    x = data()[0][0].float()
    first, second = stack(x)
    assert not torch.equal(first, second)
    stack.eval()
    assert torch.equal(*stack(x))


def test_losses_are_means_over_each_networks_examples():
    outputs = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    stack = Stack([nn.Identity(), nn.Identity()])
    assert stack.losses(F.mse_loss, outputs, torch.zeros(2, 2, 2)).tolist() == [7.5, 0.0]
    assert stack.losses(F.mse_loss, outputs, outputs).tolist() == [0.0, 0.0]
    own = stack.losses(F.cross_entropy, outputs, torch.tensor([[0, 1], [1, 1]]))
    alone = [F.cross_entropy(outputs[0], torch.tensor([0, 1])), F.cross_entropy(outputs[1], torch.tensor([1, 1]))]
    assert torch.allclose(own, torch.stack(alone))
    with pytest.raises(ValueError, match=r"targets \[2\] do not belong to outputs \[2, 2, 2\]"):
        stack.losses(F.cross_entropy, outputs, torch.tensor([0, 1]))


def test_batches_go_through_all_examples_before_any_comes_again():
    seen = torch.cat(list(batches(SIZES, 7, steps=60, generators=orders())), dim=1)
    assert seen.shape == (3, 420)
    for size, row in zip(SIZES, seen, strict=True):
        for start in range(0, 420 - size + 1, size):
            assert row[start : start + size].sort().values.tolist() == list(range(size))
    alone = torch.cat(list(batches([SIZES[1]], 7, steps=60, generators=orders()[1:2])), dim=1)
    assert torch.equal(alone[0], seen[1])  # whoever else is there
    larger = next(batches([3], 8, steps=1, generators=orders()[:1]))
    assert larger.shape == (1, 8) and set(larger.flatten().tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("nets", "message"),
    [
        ([], "at least one network"),
        ([nn.Linear(2, 3), nn.Linear(2, 4)], r"network 1 has weight \[4, 2\] and network 0 has \[3, 2\]"),
        ([nn.Linear(2, 3), nn.Linear(2, 3, bias=False)], "network 1 has bias not at all"),
        ([nn.Linear(2, 3), nn.Linear(2, 3).eval()], "another mode"),
    ],
)
def test_networks_that_cannot_be_stacked_are_told(nets, message):
    with pytest.raises(ValueError, match=message):
        Stack(nets)


def test_a_parameter_is_frozen_in_all_or_in_none():
    nets = made(mlp)
    nets[2][0].bias.requires_grad_(False)
    with pytest.raises(ValueError, match=r"0\.bias is frozen in one of networks 0 and 2"):
        Stack(nets)


def test_bad_batches_are_told():
    stack = Stack(made(mlp))
    with pytest.raises(ValueError, match=r"shape \[2, 5, 6\]; expected a batch for each of 3 networks"):
        stack.each(torch.zeros(2, 5, 6))
    with pytest.raises(ValueError, match="2 sizes and 3 generators"):
        next(batches([4, 5], 2, steps=1, generators=orders()))
    with pytest.raises(ValueError, match="at least 1"):
        next(batches([4, 0, 5], 2, steps=1, generators=orders()))


def test_each_net_of_a_stack_steps_at_its_own_rate():
    torch.manual_seed(0)
    start, x, y = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1)), torch.rand(20, 1), torch.rand(20, 1)
    rates, alone = (1e-3, 1e-2), []
    for rate in rates:
        net = Stack([start])
        adam = torch.optim.Adam(net.parameters(), rate)
        for _ in range(5):
            adam.zero_grad()
            (net(x) - y).square().mean().backward()
            adam.step()
        alone.append(net[0])
    stack = Stack([start] * 2)
    adam = torch.optim.Adam(stack.parameters(), max(rates))
    for _ in range(5):
        adam.zero_grad()
        (stack(x) - y).square().mean((1, 2)).sum().backward()
        step_at(adam, torch.tensor(rates))
    for k in range(2):
        for ours, theirs in zip(stack[k].parameters(), alone[k].parameters(), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)


# ----------------------------------------------------------------------------------------------------------- dropout


def test_dropout_of_many_rates_in_one_stack_drops_what_each_says():
    nets = Stack([Dropout(p) for p in (0.0, 0.3, 0.8)]).train()
    torch.manual_seed(0)
    out = nets(torch.ones(20_000, 1))
    assert torch.equal(out[0], torch.ones(20_000, 1))
    for k, p in ((1, 0.3), (2, 0.8)):
        assert (out[k] == 0).float().mean().item() == pytest.approx(p, abs=0.02)
        assert torch.allclose(out[k][out[k] > 0], torch.tensor(1 / (1 - p)))
    assert torch.equal(nets.eval()(torch.ones(5, 1)), torch.ones(3, 5, 1))


def test_dropout_is_found_as_dropout_and_refuses_what_is_no_share():
    layer = Dropout(0.25)
    assert isinstance(layer, torch.nn.Dropout)
    assert layer.p == 0.25
    for p in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="expected a share from 0 to below 1"):
            Dropout(p)
