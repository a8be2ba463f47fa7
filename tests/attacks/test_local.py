"""Logits by windows: those of the whole network, wherever the window is; and a search that is not led astray."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn
from torch.nn import functional as F

from dlbench import attacks
from dlbench.attacks import local
from dlbench.attacks.forms import forms_of
from dlbench.attacks.local import Local, Nearby, layers_of
from dlbench.attacks.rewrite import Form, Rewritten
from dlbench.ops import status


class Residual(nn.Module):
    """Two ways that meet again, one of which skips every other pixel; sums, pools, dilations, groups."""

    def __init__(self):
        super().__init__()
        self.begin = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.wide, self.dilated = nn.Conv2d(8, 8, 5, padding=2, groups=2), nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.down, self.skip = nn.Conv2d(8, 6, 3, stride=2, padding=1), nn.Conv2d(8, 6, 1, stride=2)
        self.pool, self.mean, self.end = nn.MaxPool2d(2), nn.AvgPool2d((1, 2), (1, 2)), nn.Linear(6, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.begin(x)))
        x = (self.dilated(self.wide(x).relu()) + x).relu()
        x = torch.relu(self.down(x) + self.skip(x))
        return self.end(self.mean(self.pool(x)).mean((2, 3)))


def plain(*layers):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(4))


NETS = {
    "residual": (Residual, (15, 18)),
    "strides": (
        lambda: plain(nn.Conv2d(3, 6, 3, stride=2), nn.GELU(), nn.Conv2d(6, 4, 3, stride=(1, 2), padding=(0, 1))),
        (13, 12),
    ),
    "patches": (lambda: plain(nn.Conv2d(3, 6, 4, stride=4), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1)), (14, 15)),
    "flattened": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)),
        (6, 7),
    ),
    "two heads": (lambda: Heads(), (8, 9)),
    "dead ends": (lambda: DeadEnds(), (9, 8)),
    "strided points": (
        lambda: plain(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 1, stride=2), nn.AvgPool2d(1, 2)),
        (11, 9),
    ),
    "padded points": (lambda: plain(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 1, padding=1)), (9, 9)),
    "pools by list": (lambda: plain(nn.Conv2d(3, 6, 3), nn.MaxPool2d([2, 2]), nn.Dropout(0.5)), (9, 9)),
    "normalised": (lambda: Normalised(), (10, 9)),
}


class DeadEnds(nn.Module):
    """Layers whose output nobody reads."""

    def __init__(self):
        super().__init__()
        self.first, self.side, self.end = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 3), nn.Linear(5, 4)

    def forward(self, x):
        x = self.first(x)
        self.side(x)
        return self.end(x.relu().mean((2, 3)))


class Normalised(nn.Module):
    """Arithmetic with numbers before the first convolution, whose border is that of what comes out."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.end = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 3), nn.Linear(5, 4)

    def forward(self, x):
        x = self.first((x - 0.5) / 0.25)
        return self.end(self.second(torch.clamp(2 * x, -1, 1)).mean((2, 3)))


class Heads(nn.Module):
    """A part that is not local reads the image itself, and one reads a map that other layers read too."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.end = (
            nn.Conv2d(3, 5, 3, padding=1),
            nn.Conv2d(5, 5, 3, padding=1),
            nn.Linear(13, 4),
        )

    def forward(self, x):
        y = self.first(x)
        z = self.second(y.relu())
        return self.end(torch.cat([x.mean((2, 3)), y.amax((2, 3)), z.mean((2, 3))], 1))


def build(name, n=4):
    torch.manual_seed(0)
    make, size = NETS[name]
    images, net = torch.rand(n, 3, *size), make()
    for _ in range(2):
        net(torch.rand(9, 3, *size))
    return net.eval().requires_grad_(False), images


@settings(max_examples=120)
@given(
    name=st.sampled_from(sorted(NETS)),
    sides=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4),
    seed=st.integers(0, 999),
)
def test_any_windows_of_any_network(name, sides, seed):
    net, images = build(name)
    known = Local(fx.symbolic_trace(net), images)
    random = torch.Generator().manual_seed(seed)
    for height, width in sides:
        rooms = (images.shape[2] - height, images.shape[3] - width)
        top, left = (torch.randint(0, room + 1, (4,), generator=random) for room in rooms)
        top[0], left[1] = 0, rooms[1]
        values = torch.rand(4, 3, height, width, generator=random)
        asked = images.clone()
        for i in range(4):
            asked[i, :, top[i] : top[i] + height, left[i] : left[i] + width] = values[i]
        torch.testing.assert_close(known.look(top.numpy(), left.numpy(), values), net(asked), rtol=1e-4, atol=1e-5)
        stays = torch.rand(4, generator=random) < 0.5
        known.settle(stays)
        images = torch.where(stays[:, None, None, None], asked, images)


def test_layers_are_found_until_the_network_is_no_longer_local():
    layers = layers_of(fx.symbolic_trace(build("residual")[0]))
    # each with the pointwise layers after it, but for the one that two others read
    assert [(layer.kernel, layer.stride) for layer in layers] == [
        ((3, 3), (1, 1)),
        ((5, 5), (1, 1)),
        ((5, 5), (1, 1)),
        ((1, 1), (1, 1)),
        ((3, 3), (2, 2)),
        ((1, 1), (2, 2)),
        ((1, 1), (1, 1)),
        ((2, 2), (2, 2)),
        ((1, 2), (1, 2)),
    ]
    assert len(layers_of(fx.symbolic_trace(build("normalised")[0]))) == 3
    assert len(layers_of(fx.symbolic_trace(build("dead ends")[0]))) == 2
    odd = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.Conv2d(4, 4, 3))
    assert layers_of(fx.symbolic_trace(odd)) == []
    assert layers_of(fx.symbolic_trace(nn.Sequential(nn.MaxPool2d(3, padding=1), nn.Conv2d(3, 4, 3)))) == []
    with pytest.raises(ValueError, match="no layer of this network is local"):
        Local(fx.symbolic_trace(nn.Sequential(nn.Flatten(), nn.Linear(12, 4))), torch.rand(2, 3, 2, 2))


@pytest.mark.skipif(status().implementation != "native", reason="Winograd's kernels are not compiled")
def test_windows_pass_winograds_convolutions():
    torch.manual_seed(0)
    net = plain(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
    )
    images = torch.rand(8, 3, 12, 12)
    net(images)
    (*_, (name, form)) = forms_of(net.eval().requires_grad_(False), images, compiled=False)
    known = Local(form.module, images)
    assert name.endswith("Winograd") and [layer.kernel for layer in known.layers] == [(3, 3), (3, 3)]
    values, top, left = torch.rand(8, 3, 2, 2), np.arange(8), np.arange(8) + 2
    asked = images.clone()
    for i in range(8):
        asked[i, :, i : i + 2, i + 2 : i + 4] = values[i]
    torch.testing.assert_close(known.look(top, left, values), net(asked), rtol=1e-3, atol=1e-4)


class InPlace(nn.Module):
    """A rectifier that nobody reads changes what others read."""

    def __init__(self):
        super().__init__()
        self.first, self.relu, self.end = nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(inplace=True), nn.Linear(5, 4)

    def forward(self, x):
        x = self.first(x)
        self.relu(x)
        return self.end(x.mean((2, 3)))


def hooked():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    net[0].register_forward_hook(lambda module, args, out: out - out.mean())
    return net


@pytest.mark.parametrize(
    "net", [InPlace(), hooked(), nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Conv2d(3, 4, 3))]
)
def test_what_is_not_local_is_not_taken_for_it(net):
    assert layers_of(fx.symbolic_trace(net.eval())) == []


class Broadcasts(nn.Module):
    """Adds to every place what was found in all of the image."""

    def __init__(self):
        super().__init__()
        self.first, self.pool, self.end = nn.Conv2d(3, 5, 3, padding=1), nn.AvgPool2d(12), nn.Linear(5, 4)

    def forward(self, x):
        x = self.first(x)
        return self.end((x + self.pool(x)).relu().mean((2, 3)))


# ------------------------------------------------------------------------------------------------------------ searches


def settled(net, x, slow=True):
    """The network in one form, traced, as a race would leave it; as a whole it may be slow."""
    forms = Rewritten(net, x)
    traced = fx.symbolic_trace(net)
    forms.winner = Form("traced", traced, 64)
    if slow:
        inner = traced.forward
        traced.forward = lambda x: max([inner(x) for _ in range(40)], key=len)
    return forms


@pytest.fixture
def problem():
    net, x = build("residual", n=12)
    net.end.bias -= net(x).mean(0)  # so that labels differ and are narrowly right
    return net, x, net(x).argmax(1)


SETTINGS = {"eps": 0.01, "queries": 200, "seed": 3}


def watched(monkeypatch):
    """How many questions are answered by windows."""
    looks, look = [], Local.look
    monkeypatch.setattr(Local, "look", lambda self, *args: looks.append(1) or look(self, *args))
    return looks


def test_a_search_by_windows_is_the_search(problem, monkeypatch):
    net, x, y = problem
    looks = watched(monkeypatch)
    plain = attacks.square(net, x, y, rewrite="off", **SETTINGS)
    assert not looks
    found = attacks.square(settled(net, x), x, y, **SETTINGS)
    assert len(looks) > 100 and 0 < plain.success.sum() < len(x)
    assert torch.equal(found.success, plain.success) and torch.equal(found.first_step, plain.first_step)
    torch.testing.assert_close(found.x_adv, plain.x_adv)


def test_where_windows_are_slower_the_whole_is_asked(problem, monkeypatch):
    net, x, y = problem
    looks, clock = watched(monkeypatch), [0.0]
    look = Local.look

    def slow(self, *args):
        clock[0] += 100
        return look(self, *args)

    monkeypatch.setattr(Local, "look", slow)
    monkeypatch.setattr(local.time, "perf_counter", lambda: clock.__setitem__(0, clock[0] + 1) or clock[0])
    found = attacks.square(settled(net, x, slow=False), x, y, **SETTINGS)
    assert 0 < len(looks) <= 8 * (local.LAPS + 1)  # for each size of the window
    assert torch.equal(found.success, attacks.square(net, x, y, rewrite="off", **SETTINGS).success)


class Shares(nn.Module):
    """One reader of a map changes it in place, under the hands of the other."""

    def __init__(self):
        super().__init__()
        self.first, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.second, self.third = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.end = nn.Linear(6, 4)

    def forward(self, x):
        x = self.first(x)
        y = self.second(self.relu(x))
        return self.end((y + self.third(x)).mean((2, 3)))


def test_a_network_that_is_other_by_windows_is_asked_as_a_whole(monkeypatch):
    torch.manual_seed(0)
    net, x = Shares().eval().requires_grad_(False), torch.rand(12, 3, 12, 12)
    net.end.weight *= 30
    y = net(x).argmax(1)
    looks = watched(monkeypatch)
    found = attacks.square(settled(net, x), x, y, **SETTINGS)
    assert len(looks) == 1
    torch.testing.assert_close(found.x_adv, attacks.square(net, x, y, rewrite="off", **SETTINGS).x_adv)


def test_a_network_that_no_window_passes_is_attacked_all_the_same(monkeypatch):
    torch.manual_seed(0)
    net, x = Broadcasts().eval().requires_grad_(False), torch.rand(12, 3, 12, 12)
    looks, y = watched(monkeypatch), net(x).argmax(1)
    found = attacks.square(settled(net, x), x, y, **SETTINGS)
    assert not looks
    torch.testing.assert_close(found.x_adv, attacks.square(net, x, y, rewrite="off", **SETTINGS).x_adv)


def test_a_network_that_is_other_by_small_windows_only_is_found_out(problem, monkeypatch):
    """Large windows recompute nearly all; so each size is looked at by itself."""
    net, x, y = problem
    sides, look = [], Local.look

    def wrong(self, top, left, values):
        sides.append(values.shape[2])
        return look(self, top, left, values) + (values.shape[2] < 6) * torch.arange(5.0)

    monkeypatch.setattr(Local, "look", wrong)
    found = attacks.square(settled(net, x), x, y, **SETTINGS)
    torch.testing.assert_close(found.x_adv, attacks.square(net, x, y, rewrite="off", **SETTINGS).x_adv)
    assert max(sides) >= 6 and sum(side < 6 for side in sides) == 1


@pytest.mark.parametrize("obstacle", ["none", "by batch", "memory", "transform", "autocast", "l2", "no graph"])
def test_what_stands_in_the_way_of_windows(problem, monkeypatch, obstacle):
    net, x, y = problem
    looks, forms, more = watched(monkeypatch), settled(net, x), {}
    if obstacle == "by batch":
        forms.by_sample = False
    elif obstacle == "memory":
        monkeypatch.setattr(local, "MOST_BYTES", 1000)
    elif obstacle == "transform":
        more = {"transform": lambda points, draws: points}
    elif obstacle == "autocast":
        more = {"autocast": torch.bfloat16}
    elif obstacle == "l2":
        more = {"norm": "l2", "eps": 1.0}
    elif obstacle == "no graph":
        forms.winner = Form("as it is", net, 64)
    attacks.square(forms, x, y, **SETTINGS | {"queries": 40} | more)
    assert bool(looks) == (obstacle == "none")


def test_maps_are_made_anew_when_images_leave(problem):
    net, x, _ = problem
    oracle = attacks.oracle.Oracle(settled(net, x), F.cross_entropy)
    nearby, ids = Nearby(), torch.zeros(12, dtype=torch.int64)
    nearby.whole = 1e9
    for images in (x, x[:7], x[3:10]):
        place = torch.full((len(images), 2), 4)
        asked = images.clone()
        asked[:, :, 4:6, 4:6] = 0.5
        out = nearby.look(oracle, asked, images, place, 2, ids[: len(images)], ids[: len(images)])
        torch.testing.assert_close(out, net(asked), rtol=1e-4, atol=1e-5)
        nearby.settle(torch.zeros(len(images), dtype=torch.bool))
        nearby.local = None if len(images) == 7 else nearby.local
