"""What an attack does to a model's state, and undoes."""

import pytest
import torch
from torch import nn

from dlbench import attacks
from dlbench.attacks import attack_mode, input_grad_only


def test_attack_mode_restores_each_flag():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.BatchNorm1d(3))
    model.train()
    model[2].eval()
    with pytest.raises(KeyError), attack_mode(model):
        assert not any(m.training for m in model.modules())
        raise KeyError
    assert [m.training for m in model.modules()] == [True, True, True, False]


def test_attack_mode_restores_buffers_and_random_state():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("written", torch.zeros(2))
            self.register_buffer("replaced", torch.zeros(2))
            self.weight = nn.Parameter(torch.zeros(2))

    model, state = Counting(), torch.get_rng_state()
    before, weight = model.replaced, model.weight
    with attack_mode(model):
        model.written += 1
        model.replaced = torch.ones(3)
        model.register_buffer("made", torch.ones(3))
        model.weight.data += 1
        model.weight = None
        torch.rand(5)
    assert model.replaced is before and not model.written.any() and not model.replaced.any()
    assert model.weight is weight and not weight.any() and not hasattr(model, "made")
    assert torch.equal(torch.get_rng_state(), state)


def test_input_grad_only_freezes_and_restores():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    x = torch.ones(1, 3, requires_grad=True)
    with torch.no_grad(), input_grad_only(model):
        model(x).sum().backward()
    assert x.grad is not None and model.weight.grad is None
    assert model.weight.requires_grad and not model.bias.requires_grad


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of scripts
def test_a_traced_model_is_attacked_and_stays_as_it_is():
    torch.manual_seed(0)
    net = torch.jit.trace(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), torch.rand(2, 6))
    x = torch.rand(20, 6)
    y, before = net(x).argmax(1), [p.detach().clone() for p in net.parameters()]
    result = attacks.pgd(net, x, y, eps=0.3, steps=5)
    assert result.success.any()
    assert all(map(torch.equal, net.parameters(), before)) and all(p.requires_grad for p in net.parameters())
