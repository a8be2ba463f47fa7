"""Many small networks of one shape, trained at once.

A step of a small network is mostly overhead: fifty perceptrons take a third or a quarter of their time one by one when
each of their layers is one batched product (convolutions gain less, as they are large to begin with). Their weights are
stacked, [K, ...], and every operation is mapped over the stack, so any module will do that torch.func can map::

    nets = Stack([mlp(arm) for arm in arms])                        # K independent networks, initialised one by one
    optimizer = torch.optim.Adam(nets.parameters(), lr=1e-3)
    for rows in batches(sizes, 64, steps=1000, generators=orders):  # [K, 64]: each network's own order
        optimizer.zero_grad()
        nets.losses(F.cross_entropy, nets.each(rows_of(x, rows)), y[rows]).sum().backward()
        optimizer.step()
    logits = nets(test_x)                                           # [K, n, classes]

No network touches another's gradient, since the sum of their losses is differentiated, and what optimizers do, element
by element, is what they would do to each alone. So all end up where training alone would have led them, but for
rounding, with two exceptions: clipping a norm over all parameters, which would mix them, and random layers, such as
dropout, whose networks share one stream of random numbers: independent, but other numbers than alone.

To map costs more than a small network's products do. Networks of the layers in ``LAYERS`` are therefore computed layer
by layer, each for all of them at once, to the same bits. (Convolutions are not among these: they would come to other
bits than mapped ones, and gain little.) A module of one's own joins in by a method ``stacked(x, run)``: what it makes
of x, [K, n, ...], where ``run(child, x)`` is what a child of it makes of x.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

AHEAD = 32  # for how many steps :func:`batches` draws at once
METHODS = ("stacked", "forward")  # of a module that joins in


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
        bare: dict[int, Tensor] = {
            id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in nets[0].parameters()
        }
        bare |= {id(buffer): buffer.detach().to("meta") for buffer in nets[0].buffers()}
        template = copy.deepcopy(nets[0], bare)  # not .to("meta"), after which no layers would share a weight
        places = {
            module: {own: f"{name}.{own}".lstrip(".") for own in module.state_dict()}
            for name, module in template.named_modules()
        }
        self._template = (template, places)
        names = {*self._names, *self._buffer_names}  # a value that two layers share has the name of the first
        self._layered = _is_layered(template) and all(names.issuperset(own.values()) for own in places.values())
        self._length = len(nets)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, k: int) -> nn.Module:
        """A copy of the k-th network."""
        if not -self._length <= k < self._length:
            raise IndexError(f"network {k} of a stack of {self._length}")
        template, values = self._template[0], {**self._values(), **self._buffers_by_name()}  # that may have been moved
        own: dict[int, Tensor] = {
            id(p): nn.Parameter(values[name][k].detach().clone(), p.requires_grad)
            for name, p in template.named_parameters()
        }
        own |= {id(buffer): values[name][k].detach().clone() for name, buffer in template.named_buffers()}
        return copy.deepcopy(template, own)

    def train(self, mode: bool = True) -> Stack:
        """Put all networks into training mode, or into evaluation mode."""
        super().train(mode)
        self._template[0].train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """[K, n, ...]: what every network makes of the same batch x [n, ...]."""
        return self._outputs(x, shared=True)

    def each(self, x: Tensor) -> Tensor:
        """[K, n, ...]: what every network makes of its own batch, x[k] of x [K, n, ...].

        Raises:
            ValueError: x has not one batch a network.
        """
        if x.shape[:1] != (self._length,):
            raise ValueError(f"x has shape {list(x.shape)}; expected a batch for each of {self._length} networks first")
        return self._outputs(x, shared=False)

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

    def _outputs(self, x: Tensor, *, shared: bool) -> Tensor:
        if not self._layered:
            return self._mapped(x, shared=shared)
        template, places = self._template
        values = {**self._values(), **self._buffers_by_name()}

        def run(module: nn.Module, x: Tensor) -> Tensor:
            if type(module) is nn.Sequential:
                for layer in module:
                    x = run(layer, x)
                return x
            if _joins_in(module):
                return module.stacked(x, run)  # type: ignore[no-any-return, operator]
            own = {name: values[place] for name, place in places[module].items()}
            return LAYERS[type(module)](module, x, own)

        return run(template, x.expand(self._length, *x.shape) if shared else x)

    def _mapped(self, x: Tensor, *, shared: bool) -> Tensor:
        # group norm under vmap refuses what looks like channels-last, as images of one channel from numpy may
        x = x.contiguous().flatten().view(x.shape)

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self._template[0], (parameters, buffers), (x,))  # type: ignore[no-any-return]

        mapped = vmap(one, in_dims=(0, 0, None if shared else 0), randomness="different")
        return mapped(self._values(), self._buffers_by_name(), x)


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
    left = [torch.empty(0, dtype=torch.int64) for _ in sizes]
    for done in range(0, steps, AHEAD):
        ahead = min(AHEAD, steps - done)
        rows = []
        for k, (size, generator) in enumerate(zip(sizes, generators, strict=True)):
            missing = ahead * batch_size - len(left[k])
            orders = [torch.randperm(size, generator=generator) for _ in range(-(-missing // size))]
            order = torch.cat([left[k], *orders])
            rows.append(order[: ahead * batch_size])
            left[k] = order[ahead * batch_size :]
        yield from torch.stack([row.view(ahead, batch_size) for row in rows], 1)


def rows_of(x: Tensor, rows: Tensor) -> Tensor:
    """``x[rows]`` of x [n, ...] and rows [K, batch_size], in less time: examples are copied whole, not by numbers."""
    return x.index_select(0, rows.flatten()).view(*rows.shape, *x.shape[1:])


# -------------------------------------------------------------------------------------------- layers of all at once


def _elementwise(layer: nn.Module, x: Tensor, own: dict[str, Tensor]) -> Tensor:
    return layer(x)  # type: ignore[no-any-return]


def _by_example(layer: nn.Module, x: Tensor, own: dict[str, Tensor]) -> Tensor:
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # type: ignore[no-any-return]


def _linear(layer: nn.Module, x: Tensor, own: dict[str, Tensor]) -> Tensor:
    weight = own["weight"].mT
    rows = x if x.ndim == 3 else x.reshape(len(x), -1, x.shape[-1])
    out = torch.baddbmm(own["bias"][:, None], rows, weight) if "bias" in own else rows @ weight
    return out if x.ndim == 3 else out.view(*x.shape[:-1], -1)


def _layer_norm(layer: nn.LayerNorm, x: Tensor, own: dict[str, Tensor]) -> Tensor:
    out = nn.functional.layer_norm(x, layer.normalized_shape, eps=layer.eps)
    missing = (1,) * (x.ndim - 1 - len(layer.normalized_shape))
    for name, combine in (("weight", torch.mul), ("bias", torch.add)):
        if name in own:
            out = combine(out, own[name].view(len(x), *missing, *layer.normalized_shape))
    return out


def _dropout(layer: nn.Module, x: Tensor, own: dict[str, Tensor]) -> Tensor:
    rate = own["rate"].view(-1, *[1] * (x.ndim - 1))
    return x * (torch.rand_like(x) >= rate) / (1 - rate) if layer.training else x


LAYERS: dict[type[nn.Module], Callable[[Any, Tensor, dict[str, Tensor]], Tensor]] = {
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    Dropout: _dropout,
    nn.Dropout: _elementwise,
    **dict.fromkeys(
        (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Tanh, nn.Sigmoid), _elementwise
    ),
    **dict.fromkeys((nn.Flatten, nn.Unflatten), _by_example),
}
"""What a layer of all networks makes of x, [K, n, ...], with its values by name, [K, ...] each."""


def _is_layered(module: nn.Module) -> bool:
    """Whether all that it is made of is known, and is what it was when torch made it."""
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or "forward" in vars(module):
        return False
    if type(module) is nn.Sequential or _joins_in(module):
        return all(map(_is_layered, module.children()))
    if isinstance(module, nn.Flatten | nn.Unflatten) and 0 in (
        getattr(module, "start_dim", 1),
        getattr(module, "dim", 1),
    ):
        return False  # it would take examples apart
    return type(module) in LAYERS and not getattr(module, "inplace", False)


def _joins_in(module: nn.Module) -> bool:
    """It has a method ``stacked``, and no class that came later has another ``forward``."""
    kinds = type(module).__mro__
    stacked, forward = (next((k for k, kind in enumerate(kinds) if name in vars(kind)), None) for name in METHODS)
    return stacked is not None and (forward is None or stacked <= forward)


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
        if _shared(net) != _shared(nets[0]):
            raise ValueError(f"layers share a weight in one of networks 0 and {number}; share it in all or in none")
        if net.training != nets[0].training:
            raise ValueError(f"network {number} is in another mode than network 0; call train() or eval() on all")


def _shared(net: nn.Module) -> dict[str, str]:
    """Each parameter's name, and the first name that it has."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(p), name) for name, p in net.named_parameters(remove_duplicate=False)}


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
                parameter.copy_(before.lerp_(parameter, scale.view(-1, *[1] * (parameter.ndim - 1))))
