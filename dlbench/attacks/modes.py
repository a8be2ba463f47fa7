"""The state that an attack puts a model in, and takes it out of again whatever happens.

Both work on any callable; what is not a ``torch.nn.Module`` has no flags to keep.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

Model = Callable[[Tensor], Tensor]


@contextlib.contextmanager
def attack_mode(model: Model, device: torch.device | None = None) -> Iterator[None]:
    """Every module in eval mode; afterwards training flags, parameters, buffers and torch's random state are as before,
    bit by bit.

    Flags are kept module by module: a frozen batch norm in a model in training stays frozen. Parameters and buffers are
    kept too, because a forward pass may write to them even in eval mode (``F.batch_norm(..., training=True)``), or make
    new ones. The random state is that of the CPU, of the model's devices and of ``device``, where the inputs are.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    flags = [(module, module.training) for module in modules]
    # a script's tables cannot be written to, by its forward pass neither; its tensors can
    plain = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]
    tables: list[dict[str, Any]] = [t for module in plain for t in (module._parameters, module._buffers)]
    kept = [dict(table) for table in tables]
    tensors = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    tensors += [t for table in kept for t in table.values() if t is not None]
    values = {id(t): (t, t.detach().clone()) for t in tensors if not is_lazy(t)}
    devices = {tensor.device for tensor, _ in values.values()} | ({device} if device else set())
    with torch.random.fork_rng(devices=sorted((each for each in devices if each.type == "cuda"), key=str)):
        try:
            for module in modules:
                module.training = False
            yield
        finally:
            for module, training in flags:
                module.training = training
            for table, entries in zip(tables, kept, strict=True):
                table.clear()
                table.update(entries)
            with torch.no_grad():
                for tensor, value in values.values():
                    if not same_bits(tensor, value):
                        tensor.copy_(value)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape and type are equal, with one NaN as good as another."""
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


@contextlib.contextmanager
def input_grad_only(model: Model) -> Iterator[None]:
    """Gradients can be taken with respect to inputs, and to nothing else: the parameters are frozen.

    A backward pass then costs about one forward, not two, and saves no activations for the weights' gradients. Works
    inside ``torch.no_grad()`` and ``torch.inference_mode()``.
    """
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    flags = [(parameter, parameter.requires_grad) for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter, requires_grad in flags:
            parameter.requires_grad_(requires_grad)


@contextlib.contextmanager
def undisturbed(model: Model, device: torch.device) -> Iterator[None]:
    """What attacks that follow gradients need, with everything afterwards as it was."""
    with attack_mode(model, device), input_grad_only(model):
        yield
