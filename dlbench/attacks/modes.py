"""The state that an attack puts a model in, and takes it out of again whatever happens.

Both work on any callable; what is not a ``torch.nn.Module`` has no flags to keep.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]


@contextlib.contextmanager
def attack_mode(model: Model) -> Iterator[None]:
    """Every module in eval mode; afterwards training flags, buffers and torch's random state are as before, bit by bit.

    Flags are kept module by module: a frozen batch norm in a model in training stays frozen. Buffers are kept too,
    because a forward pass may write to them even in eval mode (``F.batch_norm(..., training=True)``).
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    flags = [(module, module.training) for module in modules]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    devices = {buffer.device for module in modules for buffer in module.parameters(recurse=False) if buffer.is_cuda}
    with torch.random.fork_rng(devices=sorted(devices, key=str)):
        try:
            for module in modules:
                module.training = False
            yield
        finally:
            for module, training in flags:
                module.training = training
            with torch.no_grad():
                for module, name, buffer, value in buffers:
                    buffer.copy_(value)
                    module._buffers[name] = buffer


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
