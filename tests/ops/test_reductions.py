"""aggregate's mean, max, min and std, with and without heads, against float64 of one row after the other."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import Graph, aggregate, aggregate_arg, reference, sddmm, status

from .made_graphs import graphs, random_graph

REDUCTIONS = ["sum", "mean", "max", "min", "std"]
WIDTHS = [0, 1, 7, 15, 16, 17, 64, 129, 1000]
ROUNDING = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10}
NAN, INF = float("nan"), float("inf")


def messages_of(x, graph, weight):
    """weight[e] * x[source of e] in float64, [edges, ...], and the target of every edge."""
    source, target = graph.edge_index
    messages = x.double()[source]
    if weight is not None:
        messages = messages * weight.double().reshape(weight.shape + (1,) * (messages.dim() - weight.dim()))
    return messages, target


def by_rows(x, graph, weight, reduce):
    """The reduction as it is defined, a row at a time."""
    messages, target = messages_of(x, graph, weight)
    out = torch.zeros(graph.num_dst, *x.shape[1:], dtype=torch.float64)
    for row in target.unique():
        mine = messages[target == row]
        out[row] = {
            "sum": lambda m: m.sum(0),
            "mean": lambda m: m.mean(0),
            "max": lambda m: m.amax(0),
            "min": lambda m: m.amin(0),
            "std": lambda m: (m - m.mean(0)).square().mean(0).sqrt(),
        }[reduce](mine)
    return out


def assert_right(out, x, graph, weight, reduce):
    want = by_rows(x, graph, weight, reduce)
    messages, _ = messages_of(x, graph, weight)
    size = messages.abs().max() if messages.numel() else torch.tensor(0.0)
    terms = graph.in_degree.max() + 2 if reduce == "sum" and graph.num_dst else 2
    assert out.dtype == x.dtype and out.shape == want.shape
    torch.testing.assert_close(out.double(), want, rtol=0, atol=float(ROUNDING[x.dtype] * terms * (size + 1e-3)))


@settings(deadline=None, max_examples=200)
@given(
    graph=graphs(),
    shape=st.sampled_from([(0,), (1,), (5,), (8,), (17,), (40,), (1, 3), (2, 8), (3, 16), (4, 5), (0, 4), (3, 0)]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    weights=st.sampled_from(["none", "edges", "heads"]),
    reduce=st.sampled_from(REDUCTIONS),
    seed=st.integers(0, 2**20),
)
def test_any_graph(graph, shape, dtype, weights, reduce, seed):
    torch.manual_seed(seed)
    x = torch.randn(graph.num_src, *shape, dtype=torch.float64).to(dtype)
    weight = {
        "none": lambda: None,
        "edges": lambda: torch.randn(graph.num_edges, dtype=torch.float64).to(dtype),
        "heads": lambda: torch.randn(graph.num_edges, *shape[:-1], dtype=torch.float64).to(dtype),
    }[weights]()
    assert_right(aggregate(x, graph, weight, reduce), x, graph, weight, reduce)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(width, reduce):
    graph = random_graph(300, 23, 31, seed=width)
    for dtype, weighted in itertools.product((torch.float32, torch.bfloat16), (False, True)):
        x, weight = torch.randn(23, width).to(dtype), torch.randn(300).to(dtype) if weighted else None
        assert_right(aggregate(x, graph, weight, reduce), x, graph, weight, reduce)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("features", [1, 8, 24, 64, 5])
def test_heads_are_separate(features, reduce):
    graph = random_graph(400, 30, 30)
    x, weight = torch.randn(30, 3, features), torch.randn(400, 3)
    out = aggregate(x, graph, weight, reduce)
    for h in range(3):
        torch.testing.assert_close(out[:, h], aggregate(x[:, h], graph, weight[:, h], reduce), rtol=1e-5, atol=1e-5)
    shared = aggregate(x, graph, weight[:, 0], reduce)
    assert torch.equal(shared.flatten(1), aggregate(x.flatten(1), graph, weight[:, 0], reduce))


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_the_operator_and_its_reference_agree(reduce, index):
    graph = random_graph(500, 40, 30)
    csr = [t.to(index) for t in graph.csr]
    x, weight = torch.randn(40, 3, 16), torch.randn(500, 3)
    arguments = (x, *csr, weight, None, None, None, reduce)
    torch.testing.assert_close(torch.ops.dlbench.aggregate(*arguments), reference.aggregate(*arguments))
    if reduce not in ("max", "min"):
        return
    out, position = torch.ops.dlbench.aggregate_arg(*arguments)
    want, where = reference.aggregate_arg(*arguments)
    assert torch.equal(out, want) and torch.equal(position, where)
    grad = torch.randn_like(out)
    for name, rest in (("scatter_winners", (*csr, weight, None, None, None, 40)), ("winner_dots", (*csr, True))):
        given = (grad, position) if name == "scatter_winners" else (grad, x, position)
        ours, theirs = getattr(torch.ops.dlbench, name)(*given, *rest), getattr(reference, name)(*given, *rest)
        torch.testing.assert_close(ours, theirs)


class TestHub:
    """A row with all edges is cut into chunks; so are its bits, whatever the threads."""

    edges = 21_000
    graph = Graph.from_edge_index(torch.stack([torch.arange(edges) * 7 % 900, torch.full((edges,), 2)]), (900, 5))
    mixed = random_graph(30_000, 900, 5)  # every row is cut

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
    @pytest.mark.parametrize("reduce", REDUCTIONS)
    def test_result(self, reduce, dtype):
        x, weight = torch.randn(900, 11).to(dtype), torch.rand(self.edges).to(dtype)
        tolerance = {torch.float64: 1e-10, torch.float32: 1e-3, torch.float16: 1e-2}[dtype]
        want = by_rows(x, self.graph, weight, reduce)
        out = aggregate(x, self.graph, weight, reduce)
        torch.testing.assert_close(out.double(), want, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("reduce", ["max", "min"])
    def test_winners(self, reduce):
        x = torch.randint(0, 300, (900, 9)).float()  # many ties, in many chunks
        out, arg = aggregate_arg(x, self.graph, None, reduce)
        messages, _ = messages_of(x, self.graph, None)
        best = messages.amax(0) if reduce == "max" else messages.amin(0)
        first = (messages == best).int().argmax(0)
        assert torch.equal(out[2].double(), best) and torch.equal(arg[2], first)
        assert (arg[[0, 1, 3, 4]] == self.edges).all()

    def test_threads_do_not_change_a_bit(self):
        x, a = torch.randn(900, 24), torch.randn(5, 24)
        threads = torch.get_num_threads()
        results = []
        try:
            for n in (1, 2, 4):
                torch.set_num_threads(n)
                found = [aggregate(x, g, None, reduce) for g in (self.graph, self.mixed) for reduce in REDUCTIONS]
                found += [*aggregate_arg(x, self.mixed), sddmm(a, x, self.mixed), *self.gradients(x)]
                results.append(found)
        finally:
            torch.set_num_threads(threads)
        for result in results[1:]:
            assert all(map(torch.equal, result, results[0]))

    def gradients(self, x):
        weight = torch.linspace(-1, 1, 30_000).requires_grad_()
        x = x.clone().requires_grad_()
        loss = sum((aggregate(x, self.mixed, weight, reduce) ** 2).sum() for reduce in REDUCTIONS)
        return torch.autograd.grad(loss, (x, weight))


class TestWinners:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("reduce", ["max", "min"])
    def test_numbers_are_the_callers(self, reduce, dtype):
        graph = random_graph(300, 20, 40)
        x = torch.randint(-3, 3, (20, 2, 9)).to(dtype)
        weight = torch.randint(-2, 3, (300, 2)).to(dtype)
        out, arg = aggregate_arg(x, graph, weight, reduce)
        messages, target = messages_of(x, graph, weight)
        assert arg.dtype == torch.int64 and torch.equal(out, aggregate(x, graph, weight, reduce))
        for row in range(40):
            mine = (target == row).nonzero().flatten()
            if len(mine) == 0:
                assert (arg[row] == 300).all() and (out[row] == 0).all()
                continue
            best = (messages[mine] == out[row].double()).int().argmax(0)  # the first of equals
            assert torch.equal(arg[row], mine[best])

    def test_on_the_reversed_graph_too(self):
        graph = random_graph(200, 12, 9).transpose
        out, arg = aggregate_arg(torch.zeros(9, 3), graph)
        _, target = graph.edge_index
        first = torch.full((12,), 200).scatter_reduce(0, target, torch.arange(200), "amin")
        assert torch.equal(arg, first.unsqueeze(1).expand(-1, 3)) and not out.any()

    def test_only_they_get_gradients(self):
        graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 0], [0, 0, 0, 1]]), (3, 3))
        x = torch.tensor([[1.0, 5.0], [1.0, 4.0], [0.0, 5.0]], requires_grad=True)
        weight = torch.ones(4, requires_grad=True)
        out = aggregate(x, graph, weight, "max")
        out.backward(torch.tensor([[1.0, 10.0], [100.0, 1000.0], [7.0, 7.0]]))
        assert x.grad.tolist() == [[101.0, 1010.0], [0.0, 0.0], [0.0, 0.0]]
        assert weight.grad.tolist() == [51.0, 0.0, 0.0, 5100.0]

    def test_a_second_derivative_is_refused_not_nought(self):
        if status().implementation != "native":
            pytest.skip("the reference can")
        graph, x = random_graph(20, 5, 5), torch.randn(5, 3, requires_grad=True)
        weight = torch.rand(20, requires_grad=True)
        (first,) = torch.autograd.grad(aggregate(x, graph, None, "max").sum(), x, create_graph=True)
        assert not first.requires_grad
        with pytest.raises(NotImplementedError, match="once, not twice"):
            torch.autograd.grad((aggregate(x, graph, weight, "max") ** 2).sum(), x, create_graph=True)


class TestSpecials:
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 2, 3, 1], [0, 0, 1, 2, 2, 3]]), (4, 5))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    def test_nan(self, dtype):
        x = torch.ones(4, 19, dtype=dtype)
        x[1] = NAN
        for reduce in REDUCTIONS:
            out = aggregate(x, self.graph, None, reduce)
            assert out[0].isnan().all() and out[3].isnan().all() and out[[1, 2, 4]].isfinite().all(), reduce
        _, arg = aggregate_arg(x, self.graph, None, "min")
        assert (arg[0] == 1).all() and (arg[3] == 5).all() and (arg[4] == 6).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize(("reduce", "worst"), [("max", -INF), ("min", INF)])
    def test_infinities_stay_and_win_if_there_is_nothing_else(self, reduce, worst, dtype):
        x = torch.ones(4, 19, dtype=dtype)
        x[[0, 1]] = worst
        out, arg = aggregate_arg(x, self.graph, None, reduce)
        assert (out[0] == worst).all() and (out[3] == worst).all() and (out[1] == 1).all()
        assert arg[:, 0].tolist() == [0, 2, 3, 5, 6]

    def test_weights_that_are_nan(self):
        weight = torch.ones(6)
        weight[2] = NAN
        for reduce in REDUCTIONS:
            out = aggregate(torch.ones(4, 9), self.graph, weight, reduce)
            assert out[1].isnan().all() and out[[0, 2, 3, 4]].isfinite().all()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_halves_are_rounded_to_the_nearest(self, dtype):
        """All of them, and what lies between: as torch rounds."""
        every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
        graph = Graph.from_csr(torch.tensor([0, 2]), torch.tensor([0, 1]), num_src=2)
        x = torch.stack([every, every.roll(1)])
        weight = torch.tensor([1.0, 0.3717])
        want = (weight[0] * x[0].float() + weight[1] * x[1].float()).to(dtype)
        one = aggregate(x[:1], Graph.from_csr(torch.tensor([0, 1]), torch.tensor([0])))[0]
        assert torch.equal(one.isnan(), every.isnan()) and torch.equal(one[~one.isnan()], every[~one.isnan()])
        sums = aggregate(x, graph, weight)[0]
        assert torch.equal(sums.isnan(), want.isnan())
        off = (sums.view(torch.int16).int() - want.view(torch.int16).int()).abs()[~want.isnan()]
        assert off.max() <= 1 and (off != 0).float().mean() < 1e-3  # where one multiplies and adds in one rounding

    def test_halves_are_summed_in_float(self):
        graph = Graph.from_csr(torch.tensor([0, 10_000]), torch.zeros(10_000, dtype=torch.long), num_src=1)
        for dtype in (torch.bfloat16, torch.float16):
            x = torch.full((1, 3), 0.1, dtype=dtype)
            assert torch.equal(aggregate(x, graph, None, "mean"), x)


class TestDerivatives:
    @pytest.mark.parametrize("weights", ["none", "edges", "heads"])
    @pytest.mark.parametrize("shape", [(3,), (2, 3), (0,)])
    @pytest.mark.parametrize("reduce", REDUCTIONS)
    def test_first_and_second(self, reduce, shape, weights):
        graph = random_graph(14, 4, 5, seed=3)
        torch.manual_seed(1)
        x = torch.randn(4, *shape, dtype=torch.float64, requires_grad=True)
        weight = torch.rand(14, *(shape[:-1] if weights == "heads" else ()), dtype=torch.float64) + 0.5
        inputs = (x,) if weights == "none" else (x, weight.requires_grad_())
        if reduce == "std" and graph.in_degree.min() < 2:
            graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 3, 0, 1, 2], [0, 0, 0, 1, 1, 2, 2]]), (4, 4))
            inputs = (x,) if weights == "none" else (x, weight[:7].detach().clone().requires_grad_())

        def function(x, weight=None):
            return aggregate(x, graph, weight, reduce)

        assert torch.autograd.gradcheck(function, inputs)
        if reduce in ("sum", "mean"):
            assert torch.autograd.gradgradcheck(function, inputs)

    @pytest.mark.parametrize("shape", [(3,), (2, 3)])
    def test_sddmm(self, shape):
        graph = random_graph(14, 4, 5)
        a, b = (torch.randn(n, *shape, dtype=torch.float64, requires_grad=True) for n in (5, 4))
        assert torch.autograd.gradcheck(lambda a, b: sddmm(a, b, graph), (a, b))
        assert torch.autograd.gradgradcheck(lambda a, b: sddmm(a, b, graph), (a, b))

    def test_of_a_std_that_is_nought_is_nought(self):
        graph = Graph.from_edge_index(torch.tensor([[0, 1, 2], [0, 0, 1]]), (3, 2))
        x = torch.ones(3, 2, requires_grad=True)
        weight = torch.ones(3, requires_grad=True)
        aggregate(x, graph, weight, "std").sum().backward()
        assert not x.grad.any() and not weight.grad.any()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("edges", [1, 2, 7, 1000])
    def test_of_a_std_that_is_rounding_is_nought(self, dtype, edges):
        """Equal messages, of products that are not exact; a single one differs from itself by nothing."""
        graph = Graph.from_edge_index(torch.zeros(2, edges, dtype=torch.int64), (1, 1))
        x = torch.rand(1, 33, dtype=dtype, requires_grad=True)
        weight = torch.full((edges,), 0.3, dtype=dtype, requires_grad=True)
        out = aggregate(x, graph, weight, "std")
        out.sum().backward()
        assert not x.grad.any() and not weight.grad.any()
        assert out.max() == 0 if edges == 1 else out.max() < edges * torch.finfo(dtype).eps

    def test_of_a_std_beside_a_large_mean(self):
        graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 3], [0, 0, 0, 0]]), (4, 1))
        spread = torch.tensor([[-1.0], [-0.5], [0.25], [1.25]])
        grads = []
        for x in (spread.double(), spread + 4096):
            x = x.requires_grad_()
            out = aggregate(x, graph, None, "std")
            out.sum().backward()
            grads.append(x.grad.double())
            torch.testing.assert_close(
                out.double(), spread.double().std(0, correction=0, keepdim=True), rtol=1e-6, atol=0
            )
        torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-6)

    def test_of_halves(self):
        graph = random_graph(200, 20, 20)
        for reduce in REDUCTIONS:
            x = torch.randn(20, 3, 8).bfloat16().requires_grad_()
            weight = torch.rand(200, 3, requires_grad=True)
            aggregate(x, graph, weight, reduce).float().square().sum().backward()
            wide_x, wide_weight = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
            aggregate(wide_x, graph, wide_weight, reduce).square().sum().backward()
            assert x.grad.dtype == torch.bfloat16 and weight.grad.dtype == torch.float32
            for got, want in ((x.grad, wide_x.grad), (weight.grad, wide_weight.grad)):
                torch.testing.assert_close(got.double(), want, rtol=0, atol=0.03 * float(want.abs().max()))


@pytest.mark.parametrize("reduce", REDUCTIONS)
class TestInvariance:
    def test_relabelled_nodes(self, reduce):
        source, target = random_graph(300, 20, 20).edge_index
        x, weight, place = torch.randn(20, 5), torch.randn(300), torch.randperm(20)
        out = aggregate(x, Graph.from_coo(source, target, 20, 20), weight, reduce)
        moved = Graph.from_coo(place[source], place[target], 20, 20)
        x_moved = torch.empty_like(x).index_copy(0, place, x)
        assert torch.equal(aggregate(x_moved, moved, weight, reduce)[place], out)

    def test_edges_in_another_order(self, reduce):
        source, target = random_graph(300, 20, 20).edge_index
        x, weight, order = torch.randn(20, 5), torch.randn(300), torch.randperm(300)
        out = aggregate(x, Graph.from_coo(source, target, 20, 20), weight, reduce)
        other = aggregate(x, Graph.from_coo(source[order], target[order], 20, 20), weight[order], reduce)
        torch.testing.assert_close(other, out, rtol=0, atol=0 if reduce in ("max", "min") else 1e-5)

    def test_views(self, reduce):
        graph, x, weight = random_graph(300, 20, 20), torch.randn(20, 2, 19), torch.randn(300, 2)
        want = aggregate(x, graph, weight, reduce)
        for view in (
            x.transpose(0, 2).contiguous().transpose(0, 2),
            x.repeat(1, 1, 2)[..., :19],
            torch.cat([torch.zeros(1), x.flatten()])[1:].reshape(x.shape),
        ):
            assert torch.equal(aggregate(view, graph, weight, reduce), want)
        assert torch.equal(aggregate(x, graph, weight.T.contiguous().T, reduce), want)
        flat = torch.randn(1, 1, 19).expand(20, 2, 19)
        assert torch.equal(aggregate(flat, graph, None, reduce), aggregate(flat.contiguous(), graph, None, reduce))


def test_autocast_takes_what_comes():
    graph, x, weight = random_graph(100, 10, 10), torch.randn(10, 8), torch.rand(100, requires_grad=True)
    layer = torch.nn.Linear(8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = layer(x)
        out = aggregate(hidden, graph, weight, "mean")
        assert out.dtype == torch.bfloat16
        assert sddmm(hidden, torch.randn(10, 4), graph).dtype == torch.float32
    out.float().sum().backward()
    assert weight.grad.dtype == layer.weight.grad.dtype == torch.float32
    with pytest.raises(ValueError, match="of one type"):
        sddmm(hidden, torch.randn(10, 4), graph)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_memory_never_holds_a_message_for_each_edge(reduce):
    """Measured as torch allocates it; a message of every edge would be 64 MB, all nodes together are 0.13."""
    if status().implementation != "native":
        pytest.skip("the reference does")
    graph = random_graph(250_000, 500, 500)
    x, weight = torch.randn(500, 64, requires_grad=True), torch.rand(250_000, requires_grad=True)
    graph.transpose  # noqa: B018  made before
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        aggregate(x, graph, weight, reduce).sum().backward()
    allocated = sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())
    assert 0 < allocated < 24e6


def test_more_elements_than_32_bits_can_count():
    """Features whose offsets pass 2**31 are found. Of the 4.8 GB asked for, only what is used is ever there."""
    if status().implementation != "native":
        pytest.skip("the reference makes messages")
    graph = Graph.from_csr(torch.tensor([0, 1, 3]), torch.tensor([40_000, 7, 40_000]), num_src=40_001)
    x = torch.empty(40_001, 60_000, dtype=torch.bfloat16)
    x[40_000], x[7] = 1.0, 2.0
    assert x.numel() > 2**31
    for reduce, want in (("sum", [1, 3]), ("max", [1, 2]), ("std", [0, 0.5])):
        out = aggregate(x, graph, None, reduce)
        assert (out == torch.tensor(want).unsqueeze(1)).all()
    assert sddmm(torch.ones(2, 60_000, dtype=torch.bfloat16), x, graph).tolist() == [59_904, 119_808, 59_904]
