"""What tests of several attacks share: a model without rounding between rows, and a check that a model is untouched."""

import contextlib
import copy

import pytest
import torch
from torch import nn

from dlbench.attacks.randomness import uniform

D, K = 12, 4  # numbers a sample and classes, where a test says nothing else


class RowWise(nn.Module):
    """A two-layer network in float64 whose rows are computed apart, so that a batch cannot change them by rounding."""

    def __init__(self, seed=0, width=16, inputs=D, classes=K):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(width, inputs, generator=g, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(classes, width, generator=g, dtype=torch.float64) / width**0.5)
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        hidden = (x.flatten(1)[:, None, :] * self.first).sum(2).relu()
        return (hidden[:, None, :] * self.second).sum(2)


class Awkward(nn.Module):
    """Everything that an attack could disturb: dropout, batch norm, a buffer written in every forward, gradients."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, K))
        self.frozen = nn.Parameter(torch.ones(K), requires_grad=False)
        self.register_buffer("calls", torch.zeros(()))
        self.fail_at = None

    def forward(self, x):
        self.calls += 1
        if self.fail_at is not None and self.calls >= self.fail_at:
            raise RuntimeError("out of memory, say")
        return self.layers(x.flatten(1)) * self.frozen + 0 * torch.rand(1)


def linear(classes, dtype=torch.float64):
    """An affine model whose boundaries meet in the middle of the bounds."""
    g = torch.Generator().manual_seed(0)
    model = nn.Linear(D, classes, dtype=dtype)
    with torch.no_grad():
        model.weight.copy_(torch.randn(classes, D, generator=g, dtype=dtype))
        model.bias.copy_(-model.weight.sum(1) / 2)
    return model


def samples(model, low, high, n=40):
    """Inputs [n, D] between two numbers, and the labels that the model gives them."""
    x = torch.rand(n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * (high - low) + low
    x = x.to(model.weight.dtype)
    return x, model(x).argmax(1)


def jitter(points, draws):
    """A transform: noise that the words name."""
    return points + 0.3 * uniform(0, 0, draws, points.shape[1:], points.dtype)


def held_out(model, x_adv, answers=101):
    """[n, answers] labels that the model gives behind jitter, by draws that no attack has seen."""
    n = len(x_adv)
    draws = torch.arange(10_000, 10_000 + n * answers)
    return model(jitter(x_adv.repeat_interleave(answers, 0), draws)).argmax(1).view(n, answers)


@pytest.fixture
def row_wise():
    """row_wise(shape, classes) → a RowWise network, 40 samples of that shape, labels of which the first 3 are wrong."""

    def make(shape=(D,), classes=K):
        model = RowWise(inputs=torch.Size(shape).numel(), classes=classes)
        x = torch.rand(40, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        y = model(x).argmax(1)
        y[:3] = (y[:3] + 1) % classes
        model.batches.clear()
        return model, x, y

    return make


@pytest.fixture
def awkward():
    """awkward(shape, fail_at) → a context with a model, samples and labels; checks that nothing has changed."""

    @contextlib.contextmanager
    def make(shape=(D,), fail_at=None):
        torch.manual_seed(0)
        model = Awkward().train()
        model.layers[1].eval()  # flags differ from module to module
        x, y = torch.rand(40, *shape), torch.randint(K, (40,))
        model(x).sum().backward()
        model.calls.zero_()
        model.fail_at = fail_at
        state, flags = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
        wanted = [p.requires_grad for p in model.parameters()]
        gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
        random_state, given = torch.get_rng_state(), x.clone()
        yield model, x, y
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert [m.training for m in model.modules()] == flags
        assert [p.requires_grad for p in model.parameters()] == wanted
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            assert (parameter.grad is None) if gradient is None else torch.equal(parameter.grad, gradient)
        assert torch.equal(torch.get_rng_state(), random_state)
        assert torch.equal(x, given) and not x.requires_grad

    return make


@pytest.fixture(scope="session")
def digits_cnn():
    """A small network trained on the digits, and 200 of them that it has not seen."""
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images))
    x = torch.from_numpy(images).float().reshape(-1, 1, 8, 8)[order] / 16
    y = torch.from_numpy(labels).long()[order]
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(5):
        for rows in torch.arange(1400).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval(), x[-200:], y[-200:]
