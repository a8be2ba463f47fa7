"""The operators of dlbench as cases to be timed; each is an entry point of the group ``dlbench.ops``.

Graphs have as many edges at every node, in the order of their targets; images and features are normally distributed.
Steps that project are given the same point each time: where a step ends there is nothing left to project.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dlbench.timing.cases import Case

if TYPE_CHECKING:
    from torch import Tensor

    from dlbench.ops import Graph

IMAGES = {"quick": (128, 3, 32, 32), "full": (64, 3, 224, 224)}
LOGITS = {"quick": (256, 10), "full": (256, 1000)}
GRAPHS = {"quick": (2708, 5, 64), "full": (169_343, 7, 128)}
"""Nodes, edges at every node, features: about Cora's, about ogbn-arxiv's."""

CLOUDS = {"quick": (4, 256), "full": (32, 1024)}
"""Point clouds, points in each."""

MAPS = {"quick": (32, 32, 32, 32), "full": (32, 64, 56, 56)}
"""Images, channels before and behind, height, width."""

HEADS = 4
EPS, STEP = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}, {"linf": 2 / 255, "l2": 0.5, "l1": 12.0}

Prepare = Callable[[str], Callable[[], Any]]


def aggregate(preset: str) -> list[Case]:
    """Weighted sums over neighbours."""

    def case(nodes: int, degree: int, width: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            from dlbench import ops

            made, x = _graph(nodes, degree, device), _normal(nodes, width, device=device)
            weight = _normal(made.num_edges, device=device)
            return lambda: ops.aggregate(x, made, weight)

        moved = 4 * (2 * nodes * width + nodes * degree) + _graph_bytes(nodes, degree)
        return Case(f"{nodes}x{degree}x{width}", prepare, moved, 2 * nodes * degree * width)

    return _of(GRAPHS, preset, case)


def aggregate_arg(preset: str) -> list[Case]:
    """Maxima over neighbours, and whose they are."""

    def case(nodes: int, degree: int, width: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            from dlbench import ops

            made, x = _graph(nodes, degree, device), _normal(nodes, width, device=device)
            return lambda: ops.aggregate_arg(x, made)

        moved = (4 + 4 + 8) * nodes * width + _graph_bytes(nodes, degree)
        return Case(f"{nodes}x{degree}x{width}", prepare, moved, nodes * degree * width)

    return _of(GRAPHS, preset, case)


def sddmm(preset: str) -> list[Case]:
    """Dot products of the two ends of every edge."""

    def case(nodes: int, degree: int, width: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            from dlbench import ops

            made, x = _graph(nodes, degree, device), _normal(nodes, width, device=device)
            return lambda: ops.sddmm(x, x, made)

        moved = 4 * (nodes * width + nodes * degree) + _graph_bytes(nodes, degree)
        return Case(f"{nodes}x{degree}x{width}", prepare, moved, 2 * nodes * degree * width)

    return _of(GRAPHS, preset, case)


def edge_softmax(preset: str) -> list[Case]:
    """Softmax over the edges of every target."""

    def case(nodes: int, degree: int, width: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            from dlbench import ops

            made = _graph(nodes, degree, device)
            scores = _normal(made.num_edges, HEADS, device=device)
            return lambda: ops.edge_softmax(scores, made)

        edges = nodes * degree
        # a maximum, a difference, an exponential, a sum and a division for each score; rows alone are read of the graph
        return Case(f"{nodes}x{degree}x{HEADS}", prepare, 8 * edges * HEADS + 4 * (nodes + 1), 5 * edges * HEADS)

    return _of(GRAPHS, preset, case)


def gat_aggregate(preset: str) -> list[Case]:
    """Sums over neighbours by their attention."""

    def case(nodes: int, degree: int, width: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            from dlbench import ops

            made, x = _graph(nodes, degree, device), _normal(nodes, HEADS, width // HEADS, device=device)
            source, target = (_normal(nodes, HEADS, device=device) for _ in range(2))
            return lambda: ops.gat_aggregate(x, source, target, made)

        edges = nodes * degree
        moved = 4 * (2 * nodes * width + 2 * nodes * HEADS) + _graph_bytes(nodes, degree)
        return Case(f"{nodes}x{degree}x{width}", prepare, moved, edges * (7 * HEADS + 2 * width))

    return _of(GRAPHS, preset, case)


def gat_attend(preset: str) -> list[Case]:
    """The same, scored by dot products of the features."""

    def case(nodes: int, degree: int, width: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            from dlbench import ops

            made, x = _graph(nodes, degree, device), _normal(nodes, HEADS, width // HEADS, device=device)
            source, target = (_normal(HEADS, width // HEADS, device=device) for _ in range(2))
            return lambda: ops.gat_attend(x, source, target, made)

        edges = nodes * degree
        moved = 4 * (2 * nodes * width + 2 * width) + _graph_bytes(nodes, degree)
        return Case(f"{nodes}x{degree}x{width}", prepare, moved, edges * (7 * HEADS + 2 * width) + 4 * nodes * width)

    return _of(GRAPHS, preset, case)


def edge_conv(preset: str) -> list[Case]:
    """Maxima of a function of both ends of every edge."""

    def case(nodes: int, degree: int, width: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            from dlbench import ops

            made = _graph(nodes, degree, device)
            u, v = (_normal(nodes, width, device=device) for _ in range(2))
            return lambda: ops.edge_conv(u, v, made, 0.2)

        moved = 4 * 3 * nodes * width + _graph_bytes(nodes, degree)
        return Case(f"{nodes}x{degree}x{width}", prepare, moved, nodes * width * (degree + 3))

    return _of(GRAPHS, preset, case)


def segment_reduce(preset: str) -> list[Case]:
    """Sums over segments of rows."""

    def case(segments: int, rows: int, width: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            import torch

            from dlbench import ops

            x = _normal(segments * rows, width, device=device)
            rowptr = torch.arange(0, segments * rows + 1, rows, device=device)
            return lambda: ops.segment_reduce(x, rowptr)

        moved = 4 * (segments * rows * width + segments * width) + 8 * (segments + 1)
        return Case(f"{segments}x{rows}x{width}", prepare, moved, segments * rows * width)

    return _of(GRAPHS, preset, case)


def knn_graph(preset: str) -> list[Case]:
    """The 16 nearest neighbours of every point."""
    k = 16

    def case(clouds: int, points: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            from dlbench import ops

            pos, rowptr = _clouds(clouds, points, device)
            return lambda: ops.knn_graph(pos, k, rowptr)

        n = clouds * points
        return Case(f"{clouds}x{points}x{k}", prepare, 4 * 3 * n + _graph_bytes(n, k), None)

    return _of(CLOUDS, preset, case)


def radius_graph(preset: str) -> list[Case]:
    """The neighbours of every point within half a standard deviation, 32 at most."""

    def case(clouds: int, points: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            from dlbench import ops

            pos, rowptr = _clouds(clouds, points, device)
            return lambda: ops.radius_graph(pos, 0.5, rowptr, max_neighbours=32)

        n = clouds * points  # how many edges there are depends on the points: the rows are what is written at the least
        return Case(f"{clouds}x{points}", prepare, 4 * 3 * n + 4 * (n + 1), None)

    return _of(CLOUDS, preset, case)


def linf_step_(preset: str) -> list[Case]:
    """A step along the gradient's sign."""

    def prepare(x_adv: Tensor, x: Tensor, grad: Tensor) -> Callable[[], Any]:
        from dlbench import ops

        return lambda: ops.linf_step_(x_adv, x, grad, eps=EPS["linf"], step_size=STEP["linf"])

    return _step(preset, prepare, arrays=4, flops=6)


def l2_step_(preset: str) -> list[Case]:
    """A step along the gradient, projected to the L2 ball; the point is restored before each."""

    def prepare(x_adv: Tensor, x: Tensor, grad: Tensor) -> Callable[[], Any]:
        from dlbench import ops

        start = x_adv.clone()
        return lambda: ops.l2_step_(x_adv.copy_(start), x, grad, eps=EPS["l2"], step_size=STEP["l2"])

    return _step(preset, prepare, arrays=4 + 2, flops=11)


def l1_step_(preset: str) -> list[Case]:
    """A sparse step, projected to the L1 ball; the point is restored before each."""

    def prepare(x_adv: Tensor, x: Tensor, grad: Tensor) -> Callable[[], Any]:
        from dlbench import ops

        start = x_adv.clone()
        return lambda: ops.l1_step_(x_adv.copy_(start), x, grad, eps=EPS["l1"], step_size=STEP["l1"])

    return _step(preset, prepare, arrays=4 + 2, flops=None)


def project_(preset: str) -> list[Case]:
    """Projection to the L2 ball; the point is restored before each."""

    def prepare(x_adv: Tensor, x: Tensor, _: Tensor) -> Callable[[], Any]:
        from dlbench import ops

        start = x_adv.clone()
        return lambda: ops.project_(x_adv.copy_(start), x, eps=EPS["l2"], norm="l2")

    return _step(preset, prepare, arrays=3 + 2, flops=7)


def momentum_step_(preset: str) -> list[Case]:
    """A step of the momentum iterative method."""

    def prepare(x_adv: Tensor, x: Tensor, grad: Tensor) -> Callable[[], Any]:
        import torch

        from dlbench import ops

        gathered = torch.zeros_like(x)
        return lambda: ops.momentum_step_(x_adv, x, grad, gathered, eps=EPS["linf"], step_size=STEP["linf"])

    return _step(preset, prepare, arrays=6, flops=11)


def apgd_step_(preset: str) -> list[Case]:
    """An iteration of Auto-PGD that raises no loss."""

    def prepare(x_adv: Tensor, x: Tensor, grad: Tensor) -> Callable[[], Any]:
        from dlbench import ops

        state, loss = ops.ApgdState.start(x_adv), x.new_zeros(len(x))
        return lambda: ops.apgd_step_(state, x, grad, loss, eps=EPS["linf"])

    return _step(preset, prepare, arrays=5, flops=16)


def fab_step_(preset: str) -> list[Case]:
    """A step of FAB, from the same points each time."""

    def prepare(x_adv: Tensor, x: Tensor, grad: Tensor) -> Callable[[], Any]:
        import torch

        from dlbench import ops

        start, lead = x_adv.clone(), torch.full((len(x),), -20.0, dtype=torch.float64, device=x.device)
        adversarial, lower = torch.zeros_like(lead, dtype=torch.bool), torch.zeros_like(x[0])
        upper = lower + 1
        return lambda: ops.fab_step_(x_adv.copy_(start), x, grad, lead, adversarial, lower=lower, upper=upper)

    return _step(preset, prepare, arrays=4 + 2, flops=None)


def winograd_conv2d(preset: str) -> list[Case]:
    """A convolution of 3x3, of the products that are computed."""

    def case(images: int, channels: int, height: int, width: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            import torch

            from dlbench import ops

            x = _normal(images, channels, height, width, device=device).contiguous(memory_format=torch.channels_last)
            kernels = ops.WinogradKernels.of(_normal(channels, channels, 3, 3, device=device))
            return lambda: ops.winograd_conv2d(x, kernels)

        tiles = images * -(-height // 4) * -(-width // 4)
        moved = 4 * (2 * images * channels * height * width + 36 * channels**2)
        return Case(f"{images}x{channels}x{height}x{width}", prepare, moved, 2 * 36 * tiles * channels**2)

    return _of(MAPS, preset, case)


def random_start(preset: str) -> list[Case]:
    """A uniform point of the L-infinity ball."""

    def prepare(_: Tensor, x: Tensor, grad: Tensor) -> Callable[[], Any]:
        from dlbench import ops

        return lambda: ops.random_start(x, eps=EPS["linf"], seed=0)

    return _step(preset, prepare, arrays=2, flops=5)


def lp_norms(preset: str) -> list[Case]:
    """Four norms of a difference."""

    def prepare(x_adv: Tensor, x: Tensor, _: Tensor) -> Callable[[], Any]:
        from dlbench import ops

        return lambda: ops.lp_norms(x_adv, x)

    return _step(preset, prepare, arrays=2, flops=7)


def compact(preset: str) -> list[Case]:
    """Rows to be kept brought to the front, every third of them."""

    def prepare(_: Tensor, x: Tensor, grad: Tensor) -> Callable[[], Any]:
        import torch

        from dlbench import ops

        keep = torch.arange(len(x), device=x.device) % 3 == 0
        return lambda: ops.compact(keep, x)

    return _step(preset, prepare, arrays=2, flops=0)


def margin_loss(preset: str) -> list[Case]:
    """The best other logit less the label's own."""
    return _loss(preset, "margin_loss", flops=1)


def dlr_loss(preset: str) -> list[Case]:
    """The difference of logits ratio."""
    return _loss(preset, "dlr_loss", flops=3)


# ------------------------------------------------------------------------------------------------------------ helpers


def _of(sizes: Mapping[str, tuple[int, ...]], preset: str, case: Callable[..., Case]) -> list[Case]:
    """The case of a preset's size; none for a preset that is not about operators."""
    return [case(*sizes[preset])] if preset in sizes else []


def _step(
    preset: str, prepare: Callable[[Tensor, Tensor, Tensor], Callable[[], Any]], *, arrays: int, flops: int | None
) -> list[Case]:
    """A step on images: so many arrays are read or written, so many operations done for each element."""

    def case(*shape: int) -> Case:
        def on(device: str) -> Callable[[], Any]:
            import torch

            x = (0.5 + 0.2 * _normal(*shape, device=device)).clamp(0, 1)
            grad, away = _normal(*shape, device=device), _normal(*shape, device=device)
            return prepare(torch.clamp(x + 0.1 * away, 0, 1), x, grad)

        elements = math.prod(shape)
        total = None if flops is None else flops * elements
        return Case("x".join(map(str, shape)), on, 4 * arrays * elements, total)

    return _of(IMAGES, preset, case)


def _loss(preset: str, name: str, *, flops: int) -> list[Case]:
    def case(samples: int, classes: int) -> Case:
        def prepare(device: str) -> Callable[[], Any]:
            import torch

            from dlbench import ops

            logits, y = _normal(samples, classes, device=device), torch.arange(samples, device=device) % classes
            loss = getattr(ops, name)
            return lambda: loss(logits, y)

        moved = 4 * samples * classes + 8 * samples + 4 * samples
        return Case(f"{samples}x{classes}", prepare, moved, flops * samples * classes)

    return _of(LOGITS, preset, case)


def _normal(*shape: int, device: str) -> Tensor:
    """The same numbers on every device."""
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).to(device)


def _graph(nodes: int, degree: int, device: str) -> Graph:
    import torch

    from dlbench.ops import Graph

    random = torch.Generator().manual_seed(0)
    rowptr = torch.arange(0, nodes * degree + 1, degree)
    col = torch.randint(0, nodes, (nodes * degree,), generator=random)
    return Graph.from_csr(rowptr.to(device), col.to(device))


def _graph_bytes(nodes: int, degree: int) -> int:
    return 4 * (nodes + 1 + nodes * degree)


def _clouds(clouds: int, points: int, device: str) -> tuple[Tensor, Tensor]:
    import torch

    return _normal(clouds * points, 3, device=device), torch.arange(0, clouds * points + 1, points, device=device)
