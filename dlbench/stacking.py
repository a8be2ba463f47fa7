"""Many small networks of one shape, trained at once.

A step of a small network is mostly overhead: fifty perceptrons take a third or a quarter of their time one by one when
each of their layers is one batched product (convolutions gain less, as they are large to begin with). Their weights are
stacked, [K, ...], and every operation is mapped over the stack, so any module will do that torch.func can map; of a
perceptron the batched products are taken as they are, without the mapping, which takes as long as small ones do::

    nets = Stack([mlp(arm) for arm in arms])                        # K independent networks, initialised one by one
    optimizer = torch.optim.Adam(nets.parameters(), lr=1e-3)
    for rows in batches(sizes, 64, steps=1000, generators=orders):  # [K, 64]: each network's own order
        optimizer.zero_grad()
        nets.losses(F.cross_entropy, nets.each(x[rows]), y[rows]).sum().backward()
        optimizer.step()
    logits = nets(test_x)                                           # [K, n, classes]

No network touches another's gradient, since the sum of their losses is differentiated, and what optimizers do, element
by element, is what they would do to each alone. So all end up where training alone would have led them, but for
rounding, with two exceptions: clipping a norm over all parameters, which would mix them, and random layers, such as
dropout, whose networks share one stream of random numbers: independent, but other numbers than alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

_ALONE = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Softplus, nn.Sigmoid, nn.Tanh, nn.Identity)
"""Layers that act on each feature alone, and so on batches side by side as on one."""


class Stack(nn.Module):
    """K networks of one shape as one module, whose parameters and buffers have a leading dimension of K.

    Called on a batch [n, ...] that all share it gives [K, n, ...]; :meth:`each` gives every network a batch of its own.
    ``stack[k]`` is the k-th network as a module of its own, with the weights that it has at that time.

    Args:
        nets: the networks, of one architecture and in one mode; their weights are copied.

    Raises:
        ValueError: there is none, or one differs from the first in the names or shapes of its state.
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        if not nets:
            raise ValueError("a stack needs at least one network; none was given")
        _check_alike(nets)
        # In lists, because their names have dots, which a module's attributes may not.
        self._names = [name for name, _ in nets[0].named_parameters()]
        self._buffer_names = [name for name, _ in nets[0].named_buffers()]
        self._stacked = nn.ParameterList(
            nn.Parameter(_stacked(nets, nn.Module.get_parameter, name), nets[0].get_parameter(name).requires_grad)
            for name in self._names
        )
        for number, name in enumerate(self._buffer_names):
            self.register_buffer(f"_stacked_buffer_{number}", _stacked(nets, nn.Module.get_buffer, name))
        # The architecture alone, kept from being registered: its weights are none of the stack's.
        self._template = (copy.deepcopy(nets[0]).to("meta"),)
        self._layers = _perceptron(self._template[0], self._names)
        self._length = len(nets)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, k: int) -> nn.Module:
        """A copy of the k-th network."""
        if not -self._length <= k < self._length:
            raise IndexError(f"network {k} of a stack of {self._length}")
        net = copy.deepcopy(self._template[0]).to_empty(device=next(iter(self.state_dict().values())).device)
        own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        for name, stacked in {**self._values(), **self._buffers_by_name()}.items():
            own[name].data = stacked[k].detach().clone()  # the stack may have been moved to another type
        return net

    def train(self, mode: bool = True) -> Stack:
        """Put all networks into training mode, or into evaluation mode."""
        super().train(mode)
        self._template[0].train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """[K, n, ...]: what every network makes of the same batch x [n, ...]."""
        return self._mapped(x, shared=True)

    def each(self, x: Tensor) -> Tensor:
        """[K, n, ...]: what every network makes of its own batch, x[k] of x [K, n, ...].

        Raises:
            ValueError: x has not one batch a network.
        """
        if x.shape[:1] != (self._length,):
            raise ValueError(f"x has shape {list(x.shape)}; expected a batch for each of {self._length} networks first")
        return self._mapped(x, shared=False)

    @staticmethod
    def losses(loss: Callable[..., Tensor], outputs: Tensor, targets: Tensor) -> Tensor:
        """[K]: the mean loss of each network.

        Args:
            loss: of ``torch.nn.functional``, taking ``reduction``.
            outputs: [K, n, ...], what the networks said.
            targets: [K, n, ...]; of one for all, ``targets.expand(K, *targets.shape)``.

        Raises:
            ValueError: networks or examples of outputs and targets differ in number.
        """
        if targets.shape[:2] != outputs.shape[:2]:
            raise ValueError(
                f"targets {list(targets.shape)} do not belong to outputs {list(outputs.shape)}; "
                "expected a row for each network and each of its examples"
            )
        each = loss(outputs.flatten(0, 1), targets.flatten(0, 1), reduction="none")
        return each.reshape(len(outputs), -1).mean(1)

    def _values(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self._stacked, strict=True))

    def _buffers_by_name(self) -> dict[str, Tensor]:
        return {name: getattr(self, f"_stacked_buffer_{number}") for number, name in enumerate(self._buffer_names)}

    def _mapped(self, x: Tensor, *, shared: bool) -> Tensor:
        dims = x.dim() - (not shared)
        if self._layers and (dims == 2 or (dims > 2 and isinstance(self._layers[0][1], nn.Flatten))):
            return self._multiplied(x, shared=shared)

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self._template[0], (parameters, buffers), (x,))  # type: ignore[no-any-return]

        mapped = vmap(one, in_dims=(0, 0, None if shared else 0), randomness="different")
        return mapped(self._values(), self._buffers_by_name(), x)

    def _multiplied(self, x: Tensor, *, shared: bool) -> Tensor:
        """The same of perceptrons: their products, with what is done to each feature between them."""
        values = self._values()
        for name, layer in self._layers:
            if isinstance(layer, nn.Flatten):
                x = x.flatten(1 if shared else 2)
            elif not isinstance(layer, nn.Linear):
                x = layer(x)
            else:
                weight, bias = values[f"{name}.weight"], values.get(f"{name}.bias")
                if shared:  # one product of the batch with the weights of all
                    x = F.linear(x, weight.flatten(0, 1), None if bias is None else bias.flatten())
                    x, shared = x.view(len(x), *weight.shape[:2]).transpose(0, 1), False
                elif bias is None:
                    x = torch.bmm(x, weight.mT)
                else:
                    x = torch.baddbmm(bias[:, None], x, weight.mT)
        return x


class Dropout(nn.Dropout):
    """Dropout whose rate ``p`` is a buffer, so that networks of different rates can be one stack.

    It is a ``torch.nn.Dropout`` to all who ask, and 0 is a rate like others.

    Args:
        p: the share of its inputs that is dropped in training, from 0 to below 1.

    Raises:
        ValueError: no such share.
    """

    rate: Tensor

    def __init__(self, p: float) -> None:
        nn.Module.__init__(self)
        if not 0 <= p < 1:
            raise ValueError(f"p is {p!r}; expected a share from 0 to below 1")
        self.register_buffer("rate", torch.tensor(p))
        self.inplace = False

    @property
    def p(self) -> float:  # type: ignore[override]
        """The rate."""
        return float(self.rate)

    def forward(self, x: Tensor) -> Tensor:
        """What is left of x, scaled up by as much as is missing."""
        return x * (torch.rand_like(x) >= self.rate) / (1 - self.rate) if self.training else x


def batches(
    sizes: Sequence[int], batch_size: int, *, steps: int, generators: Sequence[torch.Generator]
) -> Iterator[Tensor]:
    """Yields [K, batch_size] int64, ``steps`` times: the examples of each network's next batch.

    Network k goes through its ``sizes[k]`` examples in one random order after the other, without a gap between them, so
    that networks with more and with fewer examples take equal steps. Its order depends on its generator alone.

    Raises:
        ValueError: a size or the batch's is below 1, or there are not as many generators as sizes.
    """
    if len(sizes) != len(generators):
        raise ValueError(f"{len(sizes)} sizes and {len(generators)} generators; give one of each a network")
    if min(*sizes, batch_size, 1) < 1:
        raise ValueError(f"sizes {list(sizes)} in batches of {batch_size}; both must be at least 1")
    waiting = [torch.empty(0, dtype=torch.int64) for _ in sizes]
    for _ in range(steps):
        for k, (size, generator) in enumerate(zip(sizes, generators, strict=True)):
            while len(waiting[k]) < batch_size:
                waiting[k] = torch.cat([waiting[k], torch.randperm(size, generator=generator)])
        yield torch.stack([rows[:batch_size] for rows in waiting])
        waiting = [rows[batch_size:] for rows in waiting]


def _perceptron(net: nn.Module, names: Sequence[str]) -> list[tuple[str, nn.Module]]:
    """Names and layers of a perceptron, in their order; none of any other module."""
    if type(net) is not nn.Sequential:
        return []
    found: list[tuple[str, nn.Module]] = []
    for name, layer in net.named_modules():
        plain = type(layer) in (nn.Sequential, nn.Linear, *_ALONE) or _is_flattening(layer)
        if not plain or layer._forward_hooks or layer._forward_pre_hooks:
            return []
        if type(layer) is not nn.Sequential:
            found.append((name, layer))
    own = [f"{name}.{key}" for name, layer in found for key, _ in layer.named_parameters()]
    # A layer that comes twice, or that shares its weights with another, has no name of its own.
    return found if own and own == list(names) and sum(1 for _ in _leaves(net)) == len(found) else []


def _is_flattening(layer: nn.Module) -> bool:
    return type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)


def _leaves(net: nn.Sequential) -> Iterator[nn.Module]:
    """All layers, one that comes twice twice."""
    for layer in net:
        if isinstance(layer, nn.Sequential):
            yield from _leaves(layer)
        else:
            yield layer


def _stacked(nets: Sequence[nn.Module], get: Callable[[nn.Module, str], Tensor], name: str) -> Tensor:
    return torch.stack([get(net, name).detach() for net in nets])


def _check_alike(nets: Sequence[nn.Module]) -> None:
    first = _shapes(nets[0])
    for number, net in enumerate(nets):
        shapes = _shapes(net)
        if shapes != first:
            name = next(name for name in {**first, **shapes} if first.get(name) != shapes.get(name))
            raise ValueError(
                f"network {number} has {name} {shapes.get(name, 'not at all')} and network 0 has "
                f"{first.get(name, 'it not')}; only networks of one shape can be stacked"
            )
        frozen = [
            name for name, p in net.named_parameters() if p.requires_grad != nets[0].get_parameter(name).requires_grad
        ]
        if frozen:
            raise ValueError(f"{frozen[0]} is frozen in one of networks 0 and {number}; freeze it in all or in none")
        if net.training != nets[0].training:
            raise ValueError(f"network {number} is in another mode than network 0; call train() or eval() on all")


def _shapes(net: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in net.state_dict(keep_vars=True).items()}


def step_at(optimizer: torch.optim.Optimizer, rates: Tensor) -> None:
    """One step of a stack's optimizer in which network k has the learning rate rates[k], [K], as it would alone.

    For optimizers whose steps are proportional to their rate, as those of SGD and Adam are; the optimizer's own rate
    only sets the scale, and must not be 0.
    """
    for group in optimizer.param_groups:
        group["before"] = [parameter.detach().clone() for parameter in group["params"]]
    optimizer.step()
    with torch.no_grad():
        for group in optimizer.param_groups:
            scale = rates / group["lr"]
            for parameter, before in zip(group["params"], group.pop("before"), strict=True):
                parameter.copy_(before.lerp(parameter, scale.view(-1, *[1] * (parameter.ndim - 1))))
