"""A network's logits for images of which one window has changed, by computing only what the window can reach.

A convolution passes a window on as a window, a little larger. So the maps before and behind each layer are kept, and a
query recomputes a window of each; from where the network is no longer local, at its pooling over the whole image say,
it runs as it is. What comes out is what the whole network gives, but for rounding; nothing adds up over queries, since
every window is computed anew from the maps. On a CPU only: where windows are is worked out by NumPy, which takes less
time than torch for a few integers.
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from dlbench.attacks.forms import RECTIFIERS, ChannelsLast, WinogradConv2d, agree, is_bare
from dlbench.attacks.oracle import Oracle
from dlbench.attacks.rewrite import Rewritten

LAPS = 3  # questions that decide whether windows are faster than the whole
MOST_BYTES = 1 << 30  # of all maps
POINTWISE = (  # in eval mode
    nn.Dropout,
    nn.Dropout2d,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Identity,
    nn.BatchNorm2d,
)
SUMS = (operator.add, operator.iadd, torch.add)
WITH_NUMBERS = (operator.add, operator.sub, operator.mul, operator.truediv, torch.clamp)  # and a map

Pair = tuple[int, int]
Integers = npt.NDArray[np.int64]


@dataclass
class Layer:
    """How windows of some maps become a window of another.

    Attributes:
        node: where in the graph it is.
        sources: the nodes whose maps it reads, at the same places.
        compute: windows [n, C, h, w], without any border of zeros, to windows [n, K, h', w'].
        kernel, stride, padding: of the window that an output reads: rows, columns.
    """

    node: fx.Node
    sources: list[fx.Node]
    compute: Callable[..., Tensor]
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def reads_all(self, source: Map) -> bool:
        """Whether there is no cell of a map that it passes over."""
        return all(
            kernel >= stride and (size + 2 * padding - kernel) % stride <= padding
            for kernel, stride, padding, size in zip(
                self.kernel, self.stride, self.padding, (source.height, source.width), strict=True
            )
        )


@dataclass
class Window:
    """Of every image one window; all of one size, each where it is."""

    top: Integers  # [n]
    left: Integers
    height: int
    width: int

    def __getitem__(self, images: Integers) -> Window:
        """Those of some images."""
        return Window(self.top[images], self.left[images], self.height, self.width)


class Map:
    """What one node gives for n images, cell by cell: [n * H * W, C], within a border of zeros.

    Args:
        images: [n, C, h, w].
        border: how many zeros there are around each, up and down, left and right.
    """

    def __init__(self, images: Tensor, border: Pair) -> None:
        n, channels, self.height, self.width = images.shape
        self.border, self.across = border, self.width + 2 * border[1]
        padded = F.pad(images, (border[1], border[1], border[0], border[0]))
        self.rows = padded.permute(0, 2, 3, 1).reshape(-1, channels)
        self.first = np.arange(n) * (padded.shape[2] * self.across)

    @property
    def whole(self) -> Window:
        """All of every image."""
        corner = np.zeros_like(self.first)
        return Window(corner, corner, self.height, self.width)

    def read(self, window: Window) -> Tensor:
        """A window's cells [n * h * w, C]; it may reach into the border."""
        return self.rows.index_select(0, self._cells(self.first, window))

    def write(self, images: Integers, window: Window, values: Tensor) -> None:
        """Puts values [m * h * w, C] into windows of some images [m]."""
        self.rows.index_copy_(0, self._cells(self.first[images], window), values)

    def _cells(self, first: Integers, window: Window) -> Tensor:
        corner = first + (window.top * self.across + window.left + (self.border[0] * self.across + self.border[1]))
        return torch.from_numpy(cells(corner, window.height, window.width, self.across).ravel())


def cells(corner: Integers, height: int, width: int, across: int) -> Integers:
    """[n, height * width], the cells of windows from their first ones [n], in rows of so many across."""
    return corner[:, None] + _grid(height, width, across)


@lru_cache(maxsize=256)
def _grid(height: int, width: int, across: int) -> Integers:
    return (np.arange(height)[:, None] * across + np.arange(width)).ravel()


@dataclass
class Change:
    """What a query has in the place of a window of a map."""

    window: Window
    values: Tensor  # [n * h * w, C]

    def put_into(self, read: Tensor, around: Window, sticks_out: bool) -> None:
        """Puts it into what was read [n * h' * w', C] around it; of what sticks out of that, nothing."""
        top, left = self.window.top - around.top, self.window.left - around.left
        height, width = self.window.height, self.window.width
        first = np.arange(len(top)) * (around.height * around.width)
        places = cells(first + top * around.width + left, height, width, around.width).ravel()
        if not sticks_out:
            read.index_copy_(0, torch.from_numpy(places), self.values)
            return
        rows, columns = _inside(top, height, around.height), _inside(left, width, around.width)
        chosen = np.flatnonzero(rows[:, :, None] & columns[:, None])
        read.index_copy_(0, torch.from_numpy(places[chosen]), self.values[torch.from_numpy(chosen)])


def _inside(begin: Integers, length: int, limit: int) -> npt.NDArray[np.bool_]:
    """[n, length], which of so many cells from the first ones [n] lie within a limit."""
    each = begin[:, None] + np.arange(length)
    return (each >= 0) & (each < limit)


class Local:
    """A network that remembers its maps for n images, and is asked about them with one window changed.

    Args:
        traced: the network, as a graph.
        images: [n, C, H, W], to begin with.
    """

    def __init__(self, traced: fx.GraphModule, images: Tensor) -> None:
        self.layers = layers_of(traced)
        if not self.layers:
            raise ValueError("no layer of this network is local")
        self.size = len(images)
        computed, self.input = {layer.node for layer in self.layers}, self.layers[0].sources[0]
        borders: dict[fx.Node, Pair] = dict.fromkeys((self.input, *computed), (0, 0))
        for layer in self.layers:
            for source in layer.sources:
                borders[source] = tuple(map(max, borders[source], layer.padding))  # type: ignore[assignment]
        self.maps = {self.input: Map(images, borders[self.input])}
        keep = lambda node, value: self.maps.update({node: Map(value, borders[node])} if node in computed else {})  # noqa: E731
        Rest(traced, {self.input}).run({self.input: images}, keep)
        for layer in self.layers:
            sizes = {(self.maps[node].height, self.maps[node].width) for node in (*layer.sources, layer.node)}
            if len(layer.sources) > 1 and len(sizes) > 1:
                raise ValueError(f"{layer.node} adds maps of other sizes to each other")
        self.rest = Rest(traced, self.maps.keys())
        self.changes: dict[fx.Node, Change] = {}

    @property
    def bytes(self) -> int:
        """What the maps take."""
        return sum(map.rows.nbytes for map in self.maps.values())

    def look(self, top: Integers, left: Integers, values: Tensor) -> Tensor:
        """Logits [n, K] with windows of values [n, C, h, w] at rows ``top`` [n] and columns ``left`` [n]."""
        self.changes = {self.input: Change(Window(top, left, *values.shape[2:]), _cell_by_cell(values))}
        for layer in self.layers:
            target = self.maps[layer.node]
            reached = [_reached(self.changes[source].window, layer, target) for source in layer.sources]
            window = reached[0] if len(reached) == 1 else _around(reached, target)
            reads = Window(
                window.top * layer.stride[0] - layer.padding[0],
                window.left * layer.stride[1] - layer.padding[1],
                (window.height - 1) * layer.stride[0] + layer.kernel[0],
                (window.width - 1) * layer.stride[1] + layer.kernel[1],
            )
            out = layer.compute(*(self._read(source, reads, layer) for source in layer.sources))
            self.changes[layer.node] = Change(window, _cell_by_cell(out))
        return self.rest.run({node: self._read(node, self.maps[node].whole) for node in self.rest.reads})

    def settle(self, stays: Tensor) -> None:
        """The windows asked about last become part of the images that a mask [n] names; the others are as before."""
        chosen = stays.nonzero().squeeze(1)
        if not len(chosen):
            return
        images = chosen.numpy()
        for node, change in self.changes.items():
            values = change.values.view(self.size, -1, change.values.shape[1]).index_select(0, chosen).flatten(0, 1)
            self.maps[node].write(images, change.window[images], values)

    def _read(self, node: fx.Node, window: Window, layer: Layer | None = None) -> Tensor:
        """A window [n, C, h, w] of a map, as this query has it."""
        map = self.maps[node]
        read = map.read(window)
        self.changes[node].put_into(read, window, layer is not None and not layer.reads_all(map))
        return read.view(self.size, window.height, window.width, -1).permute(0, 3, 1, 2)


def _cell_by_cell(images: Tensor) -> Tensor:
    """[n, C, h, w] to [n * h * w, C]."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


class Rest(fx.Interpreter):
    """What of a network is left to run where it is known what some nodes give.

    Args:
        traced: the network.
        known: the nodes.
    """

    def __init__(self, traced: fx.GraphModule, known: Collection[fx.Node]) -> None:
        super().__init__(traced)
        *_, self.last = traced.graph.nodes
        needed, open_ = set[fx.Node](), [self.last]
        while open_:
            node = open_.pop()
            if node not in known and node not in needed:
                needed.add(node)
                open_ += node.all_input_nodes
        self.nodes = [node for node in traced.graph.nodes if node in needed]
        self.reads = {source for node in self.nodes for source in node.all_input_nodes if source in known}

    def run(self, known: dict[fx.Node, Tensor], listener: Callable[[fx.Node, Tensor], Any] | None = None) -> Tensor:  # type: ignore[override]
        """The network's output; a listener is told what each node gives."""
        self.env = dict(known)
        for node in self.nodes:
            self.env[node] = self.run_node(node)
            if listener:
                listener(node, self.env[node])
        out: Tensor = self.env[self.last]
        return out


def _reached(window: Window, layer: Layer, target: Map) -> Window:
    """Which outputs of a layer read a window of its input; a little more where they do not fill the size for all."""
    (top, height), (left, width) = (
        _span(first, length, kernel, stride, padding, limit)
        for first, length, kernel, stride, padding, limit in zip(
            (window.top, window.left),
            (window.height, window.width),
            layer.kernel,
            layer.stride,
            layer.padding,
            (target.height, target.width),
            strict=True,
        )
    )
    return Window(top, left, height, width)


def _span(first: Integers, length: int, kernel: int, stride: int, padding: int, limit: int) -> tuple[Integers, int]:
    most = min((length + kernel - 2) // stride + 1, limit)
    begin = (first + (padding - kernel + stride)) // stride  # the first that reads it
    return np.minimum(np.maximum(begin, 0), limit - most), most


def _around(windows: list[Window], target: Map) -> Window:
    """The least windows of one size that hold all of some."""
    top, left = (np.min([getattr(w, name) for w in windows], 0) for name in ("top", "left"))
    bottom, right = np.max([w.top + w.height for w in windows], 0), np.max([w.left + w.width for w in windows], 0)
    height, width = int((bottom - top).max()), int((right - left).max())
    return Window(np.minimum(top, target.height - height), np.minimum(left, target.width - width), height, width)


# --------------------------------------------------------------------------------------------------------- the network


def layers_of(traced: fx.GraphModule) -> list[Layer]:
    """The layers that windows pass through, in their order; what works point by point is part of the one before.

    None where something is changed in place that others may read.
    """
    (inputs,) = (node for node in traced.graph.nodes if node.op == "placeholder")
    if any(not node.users and _in_place(traced, node) for node in traced.graph.nodes):
        return []
    needed, layers = set(Rest(traced, ()).nodes), dict[fx.Node, Layer]()
    for node in traced.graph.nodes:
        layer = _layer(traced, node) if node in needed else None
        if layer is None or not all(source in layers or source is inputs for source in layer.sources):
            continue
        (before, *others) = (layers.get(source) for source in layer.sources)
        pointwise = (layer.kernel, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0)) and not others
        if pointwise and before is not None and len(before.node.users) == 1:
            compute = partial(_one_after_the_other, before.compute, layer.compute)
            layer = Layer(node, before.sources, compute, before.kernel, before.stride, before.padding)
            del layers[before.node]
        layers[node] = layer
    return list(layers.values())


def _in_place(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(traced.get_submodule(str(node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op.startswith("call") and (name.endswith("_") or bool(node.kwargs.get("inplace")))


def _one_after_the_other(first: Callable[..., Tensor], then: Callable[..., Tensor], *windows: Tensor) -> Tensor:
    return then(first(*windows))


def _layer(traced: fx.GraphModule, node: fx.Node) -> Layer | None:
    """A node's layer, where it has one."""
    sources = node.all_input_nodes
    if node.op == "call_module":
        return _of_module(node, sources, traced.get_submodule(str(node.target)))
    if node.op == "call_method" and node.target in ("relu", "relu_"):
        return Layer(node, sources, torch.relu)
    if node.op != "call_function" or node.kwargs.keys() - {"inplace"}:
        return None
    if (
        node.target in WITH_NUMBERS
        and len(sources) == 1
        and all(isinstance(arg, int | float | fx.Node) for arg in node.args)
    ):
        return Layer(node, sources, partial(_among_numbers, node))
    if node.target in RECTIFIERS and len(node.args) == 1:
        return Layer(node, sources, torch.relu)
    if node.target in SUMS and len(sources) == len(node.args) == 2:
        return Layer(node, sources, torch.add)
    return None


def _among_numbers(node: fx.Node, window: Tensor) -> Tensor:
    """What a node's function makes of a window and of its other arguments, which are numbers."""
    assert callable(node.target)  # noqa: S101  a call
    out: Tensor = node.target(*(window if isinstance(arg, fx.Node) else arg for arg in node.args))
    return out


def _of_module(node: fx.Node, sources: list[fx.Node], module: nn.Module) -> Layer | None:
    if len(sources) != 1 or not is_bare(module) or module.training:
        return None
    if isinstance(module, WinogradConv2d):
        return Layer(node, sources, partial(module, padding=0), (3, 3), (1, 1), (1, 1))
    if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        kernel = tuple((k - 1) * d + 1 for k, d in zip(module.kernel_size, module.dilation, strict=True))
        settings = {"stride": module.stride, "dilation": module.dilation, "groups": module.groups}
        convolve = partial(F.conv2d, weight=module.weight, bias=module.bias, **settings)
        return Layer(node, sources, convolve, kernel, module.stride, module.padding)  # type: ignore[arg-type]
    if type(module) in (nn.MaxPool2d, nn.AvgPool2d):
        size, stride, padding = (_pair(value) for value in (module.kernel_size, module.stride, module.padding))
        plain = padding == (0, 0) and not module.ceil_mode and _pair(getattr(module, "dilation", 1)) == (1, 1)
        return Layer(node, sources, module.forward, size, stride) if plain else None
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is None:  # then it normalises what it sees
        return None
    return Layer(node, sources, module.forward) if type(module) in POINTWISE else None


def _pair(value: Any) -> Pair:
    first, second = value if isinstance(value, tuple | list) else (value, value)
    return first, second


# ----------------------------------------------------------------------------------------------------------- a search


class Nearby:
    """Answers a search that changes one window of each image at a time, by the window alone where that is faster.

    It decides anew for each size of the window, by timing the first questions; and for each size it trusts a network
    only after that has given once, by windows, the logits that it gives as a whole.
    """

    def __init__(self) -> None:
        self.local: Local | None = None
        self.refused, self.trusted = False, False  # once and for all; for this size of the window
        self.bytes = 0  # of the maps of an image
        self.whole = math.inf  # seconds an image
        self.side, self.laps = 0, list[float]()  # of the windows, and seconds an image by them

    def look(self, oracle: Oracle, points: Tensor, best: Tensor, place: Tensor, side: int, *when: Tensor) -> Tensor:
        """Logits at points [n, C, H, W].

        Args:
            oracle: whom to ask.
            points: the images.
            best: the images that they were, and will be again unless :meth:`settle` says otherwise, but for a window.
            place: [n, 2] the window's first row and column.
            side: its size; 0 where more has changed.
            when: whose points these are, and the moment, as the oracle wants to know.
        """
        traced = _graph_of(oracle) if side and points.device.type == "cpu" else None
        if side != self.side:
            self.side, self.laps, self.trusted = side, [], False
        by_window = None
        if traced is not None and not self.refused:
            try:
                by_window = self._by_window(traced, points, best, place)
            except Exception:  # whatever a network does that no layer here does; it stays whole
                self.refused = True
        if by_window is not None and self.trusted:
            return by_window
        began = time.perf_counter()
        logits = oracle.look(points, *when)
        self.whole = min(self.whole, (time.perf_counter() - began) / max(len(points), 1))
        if by_window is not None:
            self.trusted = agree(by_window, logits)
            self.refused = not self.trusted
        if by_window is None or self.refused:
            self.local = None
        return logits

    def settle(self, better: Tensor) -> None:
        """The points asked about last take the place of the best where a mask [n] says so."""
        if self.local is not None:
            self.local.settle(better)

    def _by_window(self, traced: fx.GraphModule, points: Tensor, best: Tensor, place: Tensor) -> Tensor | None:
        """Logits at points; None where that would take too long or too much memory."""
        self.bytes = self.bytes or Local(traced, best[:1]).bytes
        slow = len(self.laps) >= LAPS and min(self.laps) >= self.whole
        if slow or self.bytes * len(best) > MOST_BYTES:
            return None
        began, begins = time.perf_counter(), self.local is None or self.local.size != len(points)
        if self.local is None or begins:
            self.local = Local(traced, best)
        (top, left), (n, channels, _, across), side = place.numpy().T, points.shape, self.side
        where = torch.from_numpy(cells(top * across + left, side, side, across))[:, None].expand(-1, channels, -1)
        # read from the points, since rows of a search keep their shapes, and a window's is another at each size
        logits = self.local.look(top, left, points.flatten(2).gather(2, where).view(n, channels, side, side))
        if not begins:
            self.laps.append((time.perf_counter() - began) / len(points))
        return logits


def _graph_of(oracle: Oracle) -> fx.GraphModule | None:
    """The network as the oracle asks it, where that is a graph of which nothing is random or cast."""
    if oracle.random or oracle.autocast is not None or not isinstance(oracle.pieces, Rewritten):
        return None
    if not oracle.pieces.by_sample:
        return None
    form = oracle.pieces.winner
    model = form.model if form is not None else None
    model = model.module if isinstance(model, ChannelsLast) else model
    return model if isinstance(model, fx.GraphModule) else None
