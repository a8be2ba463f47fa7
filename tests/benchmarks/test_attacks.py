"""Whole attacks beside those of other libraries, at equal budgets, their rivals run in turns with them.

DLBENCH_VICTIMS=FOLDER pytest tests/benchmarks/test_attacks.py -m benchmark --benchmark-enable --benchmark-json=OUT

The networks are those of victims.py, which FOLDER keeps; the rivals are those of peers.txt. "times" in extra_info is a
rival's median over ours; beside it is the robust accuracy that each one found, the lower the stronger. PGD and that of
torchattacks begin at the same points, and no sample that the latter fools may withstand ours. ``test_levers`` takes the
engine's shortcuts away, one at a time. turns.py says what regimes of the heap there are.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from dlbench import attacks
from dlbench.attacks import climb

from .turns import in_turns
from .victims import EPS, split, victim

pytestmark = [pytest.mark.benchmark, pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

STEP = 2 / 255
KINDS = [("cnn", False), ("resnet", False), ("cnn", True), ("resnet", True)]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{'adversarial' if kind[1] else 'plain'}", scope="module")
def problem(request):
    """A network, images and labels."""
    name, adversarially = request.param
    folder = os.environ.get("DLBENCH_VICTIMS")
    _, (x, y) = split()
    return victim(name, adversarially, Path(folder) if folder else None), x, y


def robust(net, x_adv, y):
    with torch.no_grad():
        return float((net(x_adv).argmax(1) == y).double().mean())


def torchattacks_pgd(net, x, y, steps):
    torchattacks = pytest.importorskip("torchattacks")
    torch.manual_seed(0)
    return torchattacks.PGD(net, eps=EPS, alpha=STEP, steps=steps)(x, y)


def start_of_torchattacks(x):
    """Where its PGD begins with this seed."""
    torch.manual_seed(0)
    return (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)


def foolbox_pgd(net, x, y, steps):
    foolbox = pytest.importorskip("foolbox")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=steps)
    _, clipped, _ = attack(foolbox.PyTorchModel(net, bounds=(0, 1)), x, y, epsilons=EPS)
    net.zero_grad()
    return clipped


def art_pgd(net, x, y, steps):
    pytest.importorskip("art")
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    loss = torch.nn.CrossEntropyLoss()
    classifier = PyTorchClassifier(net, loss, tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu")
    attack = ProjectedGradientDescentPyTorch(
        classifier, eps=EPS, eps_step=STEP, max_iter=steps, num_random_init=1, batch_size=len(x), verbose=False
    )
    x_adv = torch.from_numpy(attack.generate(x.numpy(), y.numpy()))
    net.zero_grad()
    return x_adv


PEERS = {"torchattacks": torchattacks_pgd, "foolbox": foolbox_pgd, "ART": art_pgd}


@pytest.mark.parametrize(("steps", "rounds"), [(20, 2), (100, 1)])
def test_pgd(benchmark, problem, steps, rounds):
    net, x, y = problem
    found, fooled = {}, {}
    start = start_of_torchattacks(x)

    def ours():
        result = attacks.pgd(net, x, y, eps=EPS, step_size=STEP, steps=steps, start=start)
        found["ours"], fooled["ours"] = result.robust_accuracy, result.success | ~result.clean_correct
        return result

    def against(name):
        def rival():
            x_adv = PEERS[name](net, x, y, steps)
            with torch.no_grad():
                fooled[name] = net(x_adv).argmax(1) != y
            found[name] = 1 - float(fooled[name].double().mean())

        return rival

    peers = PEERS if steps == 20 else {"torchattacks": torchattacks_pgd}  # the fastest of them
    in_turns(benchmark, ours, {name: against(name) for name in peers}, rounds, warmup=0, found=found, steps=steps)
    assert not (fooled["torchattacks"] & ~fooled["ours"]).any()


@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("steps", [100])
def test_autoattack(benchmark, problem, steps, autocast):
    """Where bfloat16 is named, our search runs in it; rivals do not, and the network as it is judges."""
    torchattacks = pytest.importorskip("torchattacks")
    net, x, y = problem
    x, y = x[:64], y[:64]
    found = {}

    def ours():
        found["ours"] = attacks.autoattack(net, x, y, eps=EPS, autocast=autocast).robust_accuracy

    def theirs():  # the port's parts at the official budgets; by itself it takes 10 steps in place of 100
        parts = [
            torchattacks.APGD(net, eps=EPS, steps=steps, seed=0),
            torchattacks.APGDT(net, eps=EPS, steps=steps, seed=0, n_classes=10),
            torchattacks.FAB(net, eps=EPS, steps=steps, seed=0, multi_targeted=True, n_classes=10),
            torchattacks.Square(net, eps=EPS, n_queries=5000, seed=0),
        ]
        found["torchattacks"] = robust(net, torchattacks.MultiAttack(parts)(x, y), y)

    in_turns(benchmark, ours, {"torchattacks": theirs}, 1, warmup=0, found=found, steps=steps)


@pytest.mark.parametrize("steps", [20, 100])
def test_levers(benchmark, problem, steps, monkeypatch):
    net, x, y = problem
    settings = {"eps": EPS, "step_size": STEP, "steps": steps}

    def without(**change):
        return lambda: attacks.pgd(net, x, y, **settings | change)

    def parameters_too():
        with monkeypatch.context() as patch:
            patch.setattr(attacks.modes, "input_grad_only", lambda model: torch.enable_grad())
            patch.setattr(attacks.oracle.torch.autograd, "grad", backward_through_everything)
            attacks.pgd(net, x, y, **settings | {"rewrite": "off"})
        net.zero_grad()

    def direct_convolutions():
        with monkeypatch.context() as patch:
            patch.setattr(attacks.forms, "put_winograd", lambda model: False)
            attacks.pgd(net, x, y, **settings)

    def eager_step():
        with monkeypatch.context() as patch:
            patch.setattr(climb.ops, "linf_step_", eager_linf_step_)
            attacks.pgd(net, x, y, **settings | {"stop": "success"})

    rivals = {
        "without cycle stop": without(stop="success"),
        "without rewriting": without(rewrite="off"),
        "without Winograd": direct_convolutions,
        "without leaving": without(compact=False),
        "without any": without(compact=False, rewrite="off", stop="success"),
        "with gradients of parameters, no rewriting": parameters_too,
        "step in eager torch, no cycle stop": eager_step,
    }
    in_turns(benchmark, without(), rivals, 3 if steps == 20 else 1, warmup=1, steps=steps)


def backward_through_everything(loss, points):
    loss.backward()
    return (points.grad,)


def eager_linf_step_(x_adv, x, grad, *, eps, step_size, lower, upper, hash=None, tally=None):
    stepped = x_adv + step_size * grad.sign()
    x_adv.copy_(torch.clamp(x + torch.clamp(stepped - x, -eps, eps), lower, upper))
    return x_adv
