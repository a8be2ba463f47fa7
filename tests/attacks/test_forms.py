"""A model's other forms: the same function and the same gradients; and the race that the fastest wins."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlbench import attacks
from dlbench.attacks import rewrite
from dlbench.attacks.forms import WinogradConv2d, agree, forms_of, put_winograd, suits
from dlbench.attacks.rewrite import LAPS, Form, Rewritten
from dlbench.ops import status

native = pytest.mark.skipif(status().implementation != "native", reason="Winograd's kernels are not compiled")


class Branching(nn.Module):
    """One convolution at two places, a rectifier after each kind, an output with two users, and batch norm."""

    def __init__(self):
        super().__init__()
        self.begin, self.norm, self.inplace = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        self.twice, self.once = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.stride, self.end = nn.Conv2d(16, 8, 3, stride=2, padding=1), nn.Linear(8, 5)

    def forward(self, x):
        x = self.inplace(self.norm(self.begin(x)))
        x = torch.relu(self.twice(F.relu(self.once(x)))) + self.twice(x)
        y = self.once(x)
        return self.end((self.stride(y.relu() + y)).mean((2, 3)))


class Winding(nn.Module):
    """The same, in a way that no tracer can follow."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) if x.sum() > -1e9 else x


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = Branching()
    for _ in range(3):
        net(torch.randn(8, 3, 9, 9))  # batch norm has seen something
    return net.eval().requires_grad_(False)


def answers(net, x):
    """Logits, and the gradient of one number of them."""
    x = x.clone().requires_grad_()
    logits = net(x)
    return logits.detach(), torch.autograd.grad(logits.square().sum(), x)[0]


@native
@pytest.mark.parametrize("traceable", [True, False])
def test_all_forms_are_the_same_function(model, traceable):
    net, x = model if traceable else Winding(model), torch.rand(8, 3, 9, 9)
    forms = dict(forms_of(net, x, compiled=False))
    folded = ["batch norm folded", "batch norm folded, channels last", "batch norm folded, channels last, Winograd"]
    assert list(forms) == ["as it is", *(folded if traceable else ["channels last", "channels last, Winograd"])]
    want = answers(net, x)
    for form in forms.values():
        for got, wanted in zip(answers(form, x), want, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(module, WinogradConv2d) for module in net.modules())


@native
def test_a_rectifier_is_absorbed_where_nothing_else_reads_what_is_before_it(model):
    traced = torch.fx.symbolic_trace(copy.deepcopy(model))
    assert put_winograd(traced)
    x = torch.rand(2, 3, 9, 9)
    torch.testing.assert_close(traced(x), model(x), rtol=1e-3, atol=1e-4)
    simple = torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Flatten()))
    assert put_winograd(simple)
    left = {type(simple.get_submodule(node.target)) for node in simple.graph.nodes if node.op == "call_module"}
    assert left == {WinogradConv2d, nn.Flatten} and simple.get_submodule("0").relu
    assert not traced.get_submodule("twice").relu and not traced.get_submodule("once").relu


def test_only_plain_wide_convolutions_of_three_by_three_are_replaced():
    assert suits(nn.Conv2d(3, 16, 3, padding=1)) and suits(nn.Conv2d(16, 3, 3, padding=1, bias=False))
    for options in ({"stride": 2}, {"padding": 0}, {"dilation": 2}, {"groups": 2}, {"padding_mode": "reflect"}):
        assert not suits(nn.Conv2d(16, 16, 3, **{"padding": 1} | options)), options
    assert not suits(nn.Conv2d(8, 8, 3, padding=1)) and not suits(nn.Conv2d(16, 16, 5, padding=2))
    assert not suits(nn.Conv2d(16, 16, 3, padding=1).double()) and not suits(nn.Conv2d(16, 16, 3, padding="same"))
    for register in ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"):
        hooked = nn.Conv2d(16, 16, 3, padding=1)
        getattr(hooked, register)(lambda *_: None)
        assert not suits(hooked), register
    assert not suits(nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 3, padding=1)))


class Ruled(nn.Module):
    """A class far below the others, as if it were ruled out."""

    def __init__(self, net):
        super().__init__()
        self.net, self.out = net, nn.Parameter(torch.tensor([0.0, 0.0, 0.0, 0.0, -1e9]))

    def forward(self, x):
        return self.net(x) + self.out


class Detached(nn.Module):
    """Part of its answer has no slope, which a trace forgets."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        with torch.no_grad():
            part = self.net(x)
        return self.net(x) + part


def test_a_class_that_is_ruled_out_hides_no_difference(model):
    x = torch.rand(8, 3, 9, 9)
    logits = Ruled(model)(x)
    assert agree(logits * (1 + 1e-6), logits) and agree(model(x) * (1 + 1e-6), model(x))
    assert not agree(logits + 0.01 * torch.randn(logits.shape), logits)
    assert not agree(logits.flip(0), logits) and not agree(logits.nan_to_num() * torch.nan, logits)


@pytest.mark.parametrize(
    "answer", [lambda x: x.sum((1, 2, 3)), lambda x: x.flatten(1)[:, :0], lambda x: x[:, :1, 0, 0]]
)
def test_what_is_no_logits_is_refused_in_words(answer):
    """Also where so much work is ahead that forms are looked for."""
    x, y = torch.rand(64, 3, 64, 64), torch.zeros(64, dtype=torch.int64)
    with pytest.raises(ValueError, match="logits"):
        attacks.pgd(answer, x, y, eps=0.1, steps=20)


def test_a_form_with_other_slopes_is_none(model):
    model.requires_grad_(True)
    assert [name for name, _ in forms_of(Detached(model), torch.rand(8, 3, 9, 9), compiled=False)] == ["as it is"]


def test_a_model_without_slopes_has_forms_all_the_same(model):
    net = nn.Sequential(model, Rounded())
    assert len(forms_of(net, torch.rand(8, 3, 9, 9), compiled=False)) > 1


class NoWayBack(torch.autograd.Function):
    """Without a backward pass."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()


def test_a_model_whose_way_back_fails_is_attacked_by_queries(model, monkeypatch):
    monkeypatch.setattr(rewrite, "WORTH_REWRITING", 0)
    net = lambda x: NoWayBack.apply(model(x))  # noqa: E731
    module = nn.Sequential(model, nn.Identity())
    module.forward = net
    x = torch.rand(8, 3, 9, 9)
    result = attacks.square(module, x, model(x).argmax(1), eps=0.01, queries=5)
    assert result.clean_correct.all()


class Rounded(nn.Module):
    """Answers that do not change a little."""

    def forward(self, x):
        return (100 * x.detach()).round()


def test_the_winner_alone_is_kept(model):
    x = torch.rand(8, 3, 9, 9)
    race = Rewritten(model, x)
    while race.winner is None:
        with race.form(left=8):
            pass
    assert race.forms == [race.winner]


@native
def test_autocast_meets_winograd(model):
    x = torch.rand(4, 3, 9, 9)
    (*_, (_, form)) = forms_of(model, x, compiled=False)
    with torch.autocast("cpu", torch.bfloat16):
        out = form(x)
    torch.testing.assert_close(out.float(), model(x), rtol=0.05, atol=0.05)


@native
def test_other_types_have_no_winograd(model):
    x = torch.rand(4, 3, 9, 9).double()
    assert "Winograd" not in " ".join(name for name, _ in forms_of(model.double(), x, compiled=False))


def test_close_forms_run_in_turns_and_slow_ones_leave(monkeypatch):
    """By a clock that each form moves on as it likes; the first lap of each is slow."""
    clock = 0.0
    monkeypatch.setattr(rewrite, "_now", lambda: clock)
    race = Rewritten(lambda x: x.flatten(1), torch.rand(8, 3))
    speeds = {"slow": [9, 4, 4, 4], "fair": [9, 2.2, 2.1, 2.3], "best": [9, 2, 2.5, 1.9]}
    race.sizes, race.winner = (8,), None
    race.forms = [Form(name, lambda x, name=name: name, 8) for name in speeds]
    order = []
    while race.winner is None:
        with race.form(left=8) as (model, size):
            assert size == 8
            order.append(model(None))
            if race.winner is None:
                clock += speeds[order[-1]][order.count(order[-1]) - 1]
    rounds = ["slow", "fair", "best"] * 2 + ["fair", "best"] * (LAPS - 1)
    assert order == [*rounds, "best"] and race.winner.name == "best"


@native
def test_an_attack_on_the_form_is_the_attack_on_the_model(model):
    x = torch.rand(16, 3, 12, 12)
    model.end.bias -= model(x).mean(0)  # now it tells them apart, though narrowly
    y = model(x).argmax(1)
    (*_, (_, form)) = forms_of(model, x, compiled=False)
    plain, same = (attacks.pgd(net, x, y, eps=0.2, steps=5, rewrite="off", stop="never") for net in (model, form))
    assert plain.attack_success_rate > 0 and (plain.success != same.success).sum() <= 1
    assert ((plain.x_adv - same.x_adv).abs() < 1e-5).double().mean() > 0.95  # but where a gradient is about zero
