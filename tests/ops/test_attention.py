"""edge_softmax, gat_aggregate, gat_attend: against plain float64 with a message for every edge, and their slopes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.ops import Graph, aggregate, edge_softmax, gat_aggregate, gat_attend, reference, status
from dlbench.ops.reference.attention import attention_mask

from .made_graphs import HUB, ODD, edges_of, graphs, random_graph, with_threads

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
DTYPES = list(TOLERANCE)
HEADS = [0, 1, 2, 3, 4, 5, 8, 9, 17]
WIDTHS = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 33, 64, 65, 130, 300]
FUNCTIONS = [torch.ops.dlbench, reference]


def dense_softmax(scores, graph):
    """Target by target; float64, in the caller's order."""
    _, target = edges_of(graph)
    out = torch.zeros_like(scores, dtype=torch.float64)
    for node in range(graph.num_dst):
        own = target == node
        out[own] = torch.softmax(scores[own].double(), 0).nan_to_num(0)
    return out


def dense_gat(x, score_src, score_dst, graph, negative_slope=0.2, mask=1.0):
    """A message for every edge; differentiable by torch."""
    source, target = edges_of(graph)
    raw = torch.nn.functional.leaky_relu(score_src[source] + score_dst[target], negative_slope)
    shift = raw.detach().new_full((graph.num_dst, raw.shape[1]), -torch.inf)
    shift = shift.scatter_reduce(0, target[:, None].expand_as(raw), raw.detach(), "amax")[target]
    weight = (raw - shift).exp()
    total = raw.new_zeros(graph.num_dst, raw.shape[1]).index_add(0, target, weight)
    messages = (weight / total[target] * mask).unsqueeze(2) * x[source]
    return x.new_zeros(graph.num_dst, *x.shape[1:]).index_add(0, target, messages)


def close(got, want, dtype):
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(got.double(), want.double(), rtol=tolerance, atol=tolerance)


def inputs_of(graph, heads, features, dtype=torch.float32, grad=False):
    shapes = (graph.num_src, heads, features), (graph.num_src, heads), (graph.num_dst, heads)
    return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_(grad) for shape in shapes]


@settings(max_examples=80)
@given(graph=graphs(), heads=st.sampled_from([None, *HEADS]), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 999))
def test_softmax_of_any_graph(graph, heads, dtype, seed):
    torch.manual_seed(seed)
    scores = (4 * torch.randn(graph.num_edges, *([] if heads is None else [heads]))).to(dtype)
    out = edge_softmax(scores, graph)
    assert out.dtype == dtype and out.shape == scores.shape
    close(out, dense_softmax(scores, graph), dtype)


@settings(max_examples=80)
@given(
    graph=graphs(),
    heads=st.sampled_from(HEADS),
    width=st.sampled_from(WIDTHS),
    dtype=st.sampled_from(DTYPES),
    slope=st.sampled_from([0.2, 0.0, 1.0]),
    dropout=st.sampled_from([0.0, 0.6]),
    seed=st.integers(0, 999),
)
def test_attention_of_any_graph(graph, heads, width, dtype, slope, dropout, seed):
    torch.manual_seed(seed)
    inputs = inputs_of(graph, heads, width, dtype)
    out = gat_aggregate(*inputs, graph, slope, dropout, seed)
    assert out.dtype == dtype and out.shape == (graph.num_dst, heads, width)
    mask = attention_mask(torch.arange(graph.num_edges), heads, dropout, seed)
    close(out, dense_gat(*(t.double() for t in inputs), graph, slope, mask), dtype)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(
    ("heads", "width"), [(1, 1), (1, 7), (2, 64), (3, 5), (8, 8), (8, 9), (5, 130), (17, 3), (600, 2)]
)
def test_derivatives_against_torchs(heads, width, dropout):
    graph = random_graph(700, 23, 31, seed=width, skew=2)
    inputs = inputs_of(graph, heads, width, grad=True)
    grad = torch.randn(31, heads, width)
    got = torch.autograd.grad(gat_aggregate(*inputs, graph, dropout=dropout, seed=5), inputs, grad)
    doubles = [t.detach().double().requires_grad_() for t in inputs]
    mask = attention_mask(torch.arange(700), heads, dropout, 5)
    want = torch.autograd.grad(dense_gat(*doubles, graph, mask=mask), doubles, grad.double())
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g.double(), w, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_derivatives_of_halves(dtype):
    graph = random_graph(300, 20, 30)
    inputs = inputs_of(graph, 4, 8, dtype, grad=True)
    got = torch.autograd.grad(gat_aggregate(*inputs, graph).float().pow(2).sum(), inputs)
    doubles = [t.detach().double().requires_grad_() for t in inputs]
    want = torch.autograd.grad(dense_gat(*doubles, graph).pow(2).sum(), doubles)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == dtype
        assert (g.double() - w).norm() <= 4 * TOLERANCE[dtype] * w.norm()


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradcheck(transposed, dropout):
    """With the transpose handed over, as the function does, and without, as others may call it."""
    graph = random_graph(14, 4, 5, seed=3)
    csr, other = [graph.rowptr, graph.col, graph.edge_id], graph.transpose
    back = [other.rowptr, other.col, other.edge_id] if transposed else [None] * 3
    inputs = inputs_of(graph, 2, 3, torch.float64, grad=True)

    def attention(*inputs):
        return torch.ops.dlbench.gat_aggregate(*inputs, *csr, *back, 0.2, dropout, 7)[0]

    assert torch.autograd.gradcheck(attention, inputs)
    if status().implementation == "reference":  # torch differentiates what it sees, twice as well
        assert torch.autograd.gradgradcheck(attention, inputs)
        return
    with pytest.raises(NotImplementedError, match="differentiated once"):
        (first,) = torch.autograd.grad(attention(*inputs).sum(), inputs[1], create_graph=True)
        first.sum().backward()


# ------------------------------------------------------------------------------------ scored by the features themselves


def attend_inputs(graph, heads, width, dtype=torch.float32, grad=False):
    shapes = (graph.num_src, heads, width), (heads, width), (heads, width)
    return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_(grad) for shape in shapes]


@settings(max_examples=60)
@given(
    nodes=st.sampled_from([1, 40, 300, 700]),  # sums are added up in pieces of 256 nodes
    heads=st.sampled_from(HEADS),
    width=st.sampled_from(WIDTHS),
    dtype=st.sampled_from(DTYPES),
    dropout=st.sampled_from([0.0, 0.6]),
)
def test_attend_is_attention_by_dot_products(nodes, heads, width, dtype, dropout):
    torch.manual_seed(nodes)
    graph = random_graph(3 * nodes, nodes, nodes, seed=nodes)
    inputs = attend_inputs(graph, heads, width, dtype, grad=True)
    with torch.no_grad():
        for by in inputs[1:]:
            by.div_(max(width, 1) ** 0.5)
    exact = [t.detach().double().requires_grad_() for t in inputs]
    x, src, dst = exact
    want = gat_aggregate(x, (x * src).sum(2), (x * dst).sum(2), graph, dropout=dropout, seed=5)
    out = gat_attend(*inputs, graph, dropout=dropout, seed=5)
    assert out.dtype == dtype and out.shape == want.shape
    close(out, want, dtype)
    grad = torch.randn(out.shape).to(dtype)
    got = torch.autograd.grad(out, inputs, grad)
    for g, w, t in zip(got, torch.autograd.grad(want, exact, grad.double()), inputs, strict=True):
        assert g.dtype == dtype and g.shape == t.shape
        assert (g.double() - w).norm() <= 8 * TOLERANCE[dtype] * (w.norm() + 1)


@pytest.mark.parametrize("transposed", [True, False])
def test_gradcheck_of_attend(transposed):
    graph = random_graph(14, 5, 5, seed=3)
    csr, other = [graph.rowptr, graph.col, graph.edge_id], graph.transpose
    back = [other.rowptr, other.col, other.edge_id] if transposed else [None] * 3
    inputs = attend_inputs(graph, 2, 3, torch.float64, grad=True)

    def attention(*inputs):
        return torch.ops.dlbench.gat_attend(*inputs, *csr, *back, 0.2, 0.4, 7)[0]

    assert torch.autograd.gradcheck(attention, inputs)
    if status().implementation == "reference":  # torch differentiates what it sees, twice as well
        assert torch.autograd.gradgradcheck(attention, inputs)
        return
    with pytest.raises(NotImplementedError, match="differentiated once"):
        (first,) = torch.autograd.grad(attention(*inputs).sum(), inputs[1], create_graph=True)
        first.sum().backward()


def test_attend_is_the_same_on_any_number_of_threads():
    graph = random_graph(9000, 3000, 3000, skew=3)
    inputs = attend_inputs(graph, 4, 9, grad=True)

    def step():
        out = gat_attend(*inputs, graph, dropout=0.5, seed=1)
        return [out.detach(), *torch.autograd.grad(out.pow(2).sum(), inputs)]

    first, *others = with_threads(step)
    for other in others:
        assert all(map(torch.equal, first, other))


def test_attend_refuses_what_does_not_fit():
    graph = random_graph(20, 5, 5)
    x, src, dst = attend_inputs(graph, 2, 3)
    for arguments, words in [
        ((x, src[:1], dst), r"attend_src has shape \[1, 3\] on cpu; it must be \[heads, features\] as in x, \[2, 3\]"),
        ((x, src, dst[:, :2]), "attend_dst has shape"),
        ((x[:4], src, dst), "x has shape|x must"),
    ]:
        with pytest.raises(ValueError, match=words):
            gat_attend(*arguments, graph)
    with pytest.raises(TypeError, match="attend_dst"):
        gat_attend(x, src, dst.long(), graph)
    with pytest.raises(ValueError, match="dropout=1"):
        gat_attend(x, src, dst, graph, dropout=1.0)
    with pytest.raises(ValueError, match="from 6 nodes to 4 others"):
        gat_attend(torch.randn(6, 2, 3), src, dst, random_graph(20, 6, 4))


@pytest.mark.parametrize("heads", [None, 1, 3])
def test_softmax_is_differentiable_twice(heads):
    graph = random_graph(14, 4, 5, seed=3)
    scores = torch.randn(14, *([] if heads is None else [heads]), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: edge_softmax(s, graph), scores)
    assert torch.autograd.gradgradcheck(lambda s: edge_softmax(s, graph), scores)


@pytest.mark.parametrize("name", ODD)
def test_odd_graphs(name):
    graph = ODD[name]
    scores = torch.randn(graph.num_edges, 3)
    close(edge_softmax(scores, graph), dense_softmax(scores, graph), torch.float32)
    inputs = inputs_of(graph, 3, 33, grad=True)
    out = gat_aggregate(*inputs, graph)
    close(out.detach(), dense_gat(*(t.detach().double() for t in inputs), graph), torch.float32)
    assert (out[graph.in_degree == 0] == 0).all()
    for tensor, grad in zip(inputs, torch.autograd.grad(out.sum(), inputs), strict=True):
        assert grad.shape == tensor.shape and grad.isfinite().all()


@pytest.mark.parametrize("serving", FUNCTIONS, ids=["operator", "reference"])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_either_index_type(index, serving):
    graph = random_graph(400, 23, 31)
    csr = [graph.rowptr.to(index), graph.col.to(index), graph.edge_id.to(index)]
    other = graph.transpose
    back = [other.rowptr.to(index), other.col.to(index), other.edge_id.to(index)]
    inputs = inputs_of(graph, 4, 9)
    out, largest, inverse = serving.gat_aggregate(*inputs, *csr, None, None, None, 0.2, 0.3, 1)
    mask = attention_mask(torch.arange(400), 4, 0.3, 1)
    close(out, dense_gat(*(t.double() for t in inputs), graph, mask=mask), torch.float32)
    grads = serving.gat_aggregate_backward(torch.randn(31, 4, 9), *inputs, largest, inverse, *csr, *back, 0.2, 0.3, 1)
    assert [g.shape for g in grads] == [t.shape for t in inputs]
    scores = torch.randn(400, 2)
    close(serving.edge_softmax(scores, csr[0], csr[2]), dense_softmax(scores, graph), torch.float32)


def test_the_operators_give_what_their_references_give():
    graph = random_graph(400, 23, 31, skew=3)
    csr, other = [graph.rowptr, graph.col, graph.edge_id], graph.transpose
    back = [other.rowptr, other.col, other.edge_id]
    inputs = inputs_of(graph, 4, 9, torch.float64)
    results = []
    for serving in FUNCTIONS:
        torch.manual_seed(0)
        out, *kept = serving.gat_aggregate(*inputs, *csr, *back, 0.2, 0.3, -1)
        grads = serving.gat_aggregate_backward(
            torch.randn(31, 4, 9, dtype=torch.float64), *inputs, *kept, *csr, *back, 0.2, 0.3, -1
        )
        values = torch.randn(400, 3, dtype=torch.float64)
        results.append((out, *kept, *grads, serving.edge_total(values, csr[0], csr[2])))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_threads_do_not_change_a_bit():
    graph = random_graph(60_000, 2000, 3000, skew=4)
    inputs, scores = inputs_of(graph, 3, 13, grad=True), torch.randn(60_000, 3)

    def everything():
        out = gat_aggregate(*inputs, graph, dropout=0.5, seed=1)
        return out, *torch.autograd.grad(out.pow(2).sum(), inputs), edge_softmax(scores, graph)

    first, *others = with_threads(everything)
    for other in others:
        assert all(map(torch.equal, other, first))


def test_shifted_scores_give_the_same():
    graph = random_graph(500, 40, 30)
    scores = torch.randint(-8, 8, (500, 3)).float()
    want = edge_softmax(scores, graph)
    for shift in (1e4, -1e4):
        assert torch.equal(edge_softmax(scores + shift, graph), want)
    x, src, dst = torch.randn(40, 2, 5), torch.randint(0, 8, (40, 2)).float(), torch.randint(0, 8, (30, 2)).float()
    torch.testing.assert_close(gat_aggregate(x, src, dst + 1e4, graph), gat_aggregate(x, src, dst, graph))


def test_small_and_large_exponents_are_exact_enough():
    """Every weight to a few roundings of itself, down to where float32 ends."""
    graph = Graph.from_csr(torch.tensor([0, 900]), torch.zeros(900, dtype=torch.long))
    scores = -torch.linspace(0, 85, 900)
    got, want = edge_softmax(scores, graph).double(), torch.softmax(scores.double(), 0)
    assert ((got - want).abs() <= 1e-6 * want).all()
    beyond = edge_softmax(
        torch.tensor([0.0, -104.0, -1e30, -torch.inf]),
        ODD["loop"].from_csr(torch.tensor([0, 4]), torch.zeros(4, dtype=torch.long)),
    )
    assert beyond[0] == 1 and (beyond[1:] < 2e-38).all() and (beyond[2:] == 0).all()


def test_masked_scores():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 0, 1], [0, 0, 0, 1, 1]]), 3)
    scores = torch.tensor([0.0, -torch.inf, 0.0, -torch.inf, -torch.inf], requires_grad=True)
    out = edge_softmax(scores, graph)
    assert out.tolist() == [0.5, 0.0, 0.5, 0.0, 0.0]
    (out * torch.arange(5)).sum().backward()
    assert scores.grad.tolist() == [-0.5, 0.0, 0.5, 0.0, 0.0]
    x, dst = torch.ones(3, 1, 2, requires_grad=True), torch.tensor([[0.0], [-torch.inf], [0.0]], requires_grad=True)
    out = gat_aggregate(x, torch.zeros(3, 1), dst, graph)
    assert out[:, 0, 0].tolist() == [1.0, 0.0, 0.0]
    out.sum().backward()
    assert x.grad.isfinite().all() and dst.grad.isfinite().all()


@pytest.mark.parametrize("heads", [1, 3, 8])
def test_a_long_row_of_scores_that_rise_fall_and_are_masked(heads):
    """Far longer than what is summed up at once, its largest score in any place, and the first or all of them -inf."""
    graph = Graph.from_csr(torch.arange(0, 2701, 300), torch.arange(2700), num_src=2700)
    climb = torch.linspace(-700, 700, 300)
    rows = [climb, climb.flip(0), climb.abs(), -climb.abs(), climb - 3000, torch.full((300,), -torch.inf)]
    rows += [torch.cat([torch.full((200,), -torch.inf), climb[:100]]), torch.cat([climb[:50], rows[5][:250]])]
    rows += [torch.zeros(300)]
    src, dst = torch.cat(rows)[:, None].repeat(1, heads), torch.zeros(9, heads)
    x = torch.randn(2700, heads, 20)
    out = gat_aggregate(x, src, dst, graph, negative_slope=1.0)
    want = torch.softmax(src.double().view(9, 300, heads), 1).nan_to_num()[..., None] * x.double().view(
        9, 300, heads, 20
    )
    torch.testing.assert_close(out.double(), want.sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 3, 8])
@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 1e8), (torch.float32, 1e30), (torch.float64, 1e18)])
def test_forth_and_back_weigh_alike_however_large_the_scores(dtype, size, heads):
    """A product that a compiler makes one with what is subtracted from it is another than was the largest."""
    graph = Graph.from_csr(torch.tensor([0, 2]), torch.tensor([0, 1]), num_src=2)
    score = torch.tensor([[-1.2345678], [-3.0]], dtype=dtype).repeat(1, heads) * size
    x = torch.randn(2, heads, 3, dtype=dtype, requires_grad=True)
    out = gat_aggregate(x, score, torch.zeros(1, heads, dtype=dtype), graph)
    assert torch.equal(out[0], x[0])
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert (grad[0] == 1).all() and (grad[1] == 0).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forward_derivative_is_refused():
    if status().implementation == "reference":
        pytest.skip("torch differentiates what it sees")
    x = torch.ones(3, 1, 2)
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]), 3)
    with pytest.raises(NotImplementedError, match="reverse mode only"):
        torch.func.jvp(lambda x: gat_aggregate(x, torch.ones(3, 1), torch.ones(3, 1), graph), (x,), (x,))
    with pytest.raises(NotImplementedError, match="reverse mode only"):
        torch.func.jvp(lambda x: aggregate(x, graph), (x,), (x,))


def test_nan_and_infinity_reach_their_targets_and_no_others():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 2], [0, 0, 1, 2]]))
    for bad in (torch.nan, torch.inf):
        out = edge_softmax(torch.tensor([bad, 0.0, 1.0, 2.0]), graph)
        assert out[:2].isnan().all() and (out[2:] == 1).all()
        out = gat_aggregate(torch.ones(3, 1, 9), torch.tensor([[bad], [0.0], [0.0]]), torch.zeros(3, 1), graph)
        assert out[0].isnan().all() and (out[1:] == 1).all()


class TestDropout:
    def test_what_is_kept_is_scaled_up_and_as_much_as_was_asked_for(self):
        out = gat_aggregate(torch.ones(50, 64, 1), torch.zeros(50, 64), torch.zeros(20, 64), HUB, dropout=0.6, seed=3)
        kept = out[7, :, 0] * 3000 * 0.4  # how many of the hub's edges, in each head
        torch.testing.assert_close(kept, kept.round(), rtol=0, atol=0.05)
        assert abs(kept.sum() / (64 * 3000) - 0.4) < 4 * (0.24 / (64 * 3000)) ** 0.5

    def test_the_mask_is_the_edges_own(self):
        """Whoever renumbers the nodes drops the same; another order of edges, another seed or head does not."""
        source, target = torch.randint(0, 20, (2, 300))
        place = torch.randperm(20)
        x, src, dst = inputs_of(Graph.from_edge_index(torch.stack([source, target]), 20), 2, 3)
        graph = Graph.from_edge_index(torch.stack([source, target]), 20)
        out = gat_aggregate(x, src, dst, graph, dropout=0.5, seed=1)
        moved = Graph.from_edge_index(place[torch.stack([source, target])], 20)
        back = torch.argsort(place)
        torch.testing.assert_close(gat_aggregate(x[back], src[back], dst[back], moved, dropout=0.5, seed=1)[place], out)
        assert not torch.equal(gat_aggregate(x, src, dst, graph, dropout=0.5, seed=2), out)

    def test_seeds_are_taken_modulo_two_to_the_64(self):
        inputs = inputs_of(HUB, 2, 3)
        want = gat_aggregate(*inputs, HUB, dropout=0.5, seed=-1)
        assert torch.equal(gat_aggregate(*inputs, HUB, dropout=0.5, seed=2**64 - 1), want)
        assert torch.equal(gat_aggregate(*inputs, HUB, seed=1), gat_aggregate(*inputs, HUB, seed=2))


def test_nodes_may_be_renumbered():
    source, target = torch.randint(0, 20, (2, 300))
    place = torch.randperm(20)
    graph, moved = (
        Graph.from_edge_index(e, 20) for e in (torch.stack([source, target]), place[torch.stack([source, target])])
    )
    inputs, back = inputs_of(graph, 3, 7), torch.argsort(place)
    got = gat_aggregate(*(t[back] for t in inputs), moved)[place]
    torch.testing.assert_close(got, gat_aggregate(*inputs, graph))


def test_views():
    graph = random_graph(300, 20, 20)
    inputs = inputs_of(graph, 3, 6)
    want = gat_aggregate(*inputs, graph)
    assert torch.equal(gat_aggregate(*(t.transpose(0, 1).contiguous().transpose(0, 1) for t in inputs), graph), want)
    scores = torch.randn(300, 2)
    assert torch.equal(edge_softmax(scores.T.contiguous().T, graph), edge_softmax(scores, graph))


def test_the_transpose_is_made_only_for_derivatives():
    graph = random_graph(30, 5, 5)
    inputs = inputs_of(graph, 2, 3)
    gat_aggregate(*inputs, graph)
    assert "transpose" not in graph._kept
    gat_aggregate(inputs[0].requires_grad_(), *inputs[1:], graph)
    assert "transpose" in graph._kept


def test_refusals_say_what_was_given():
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]))
    x, src, dst = torch.zeros(3, 2, 4), torch.zeros(3, 2), torch.zeros(3, 2)
    for arguments, error, says in [
        ((x, src, dst, None), TypeError, "graph is a NoneType"),
        ((x.long(), src, dst, graph), TypeError, "x is torch.int64"),
        ((x[:, 0], src, dst, graph), ValueError, r"x has shape \[3, 4\]; .* must be \[3, heads, features\]"),
        ((x, src[:, :1], dst, graph), ValueError, r"score_src has shape \[3, 1\]; .* must be \[3, 2\]"),
        ((x, src, dst[:2], graph), ValueError, r"score_dst has shape \[2, 2\]; .* must be \[3, 2\]"),
        ((x, src.to("meta"), dst, graph), ValueError, "score_src is on meta but the graph is on cpu"),
        ((x, src, dst, graph, 0.2, 1.0), ValueError, r"dropout=1.0 .* in \[0, 1\)"),
        ((x, src, dst, graph, 0.2, float("nan")), ValueError, "dropout=nan"),
    ]:
        with pytest.raises(error, match=says):
            gat_aggregate(*arguments)
    for scores, error, says in [
        (torch.zeros(3), ValueError, r"scores has shape \[3\]; for this graph it must be \[2\]"),
        (torch.zeros(2, 1, 1), ValueError, r"scores has shape \[2, 1, 1\]"),
        (torch.zeros(2).int(), TypeError, "scores is torch.int32"),
        ([1.0, 2.0], TypeError, "scores is a list"),
    ]:
        with pytest.raises(error, match=says):
            edge_softmax(scores, graph)


def test_the_raw_operators_read_nothing_outside():
    if status().implementation != "native":
        pytest.skip("the reference serves")
    x, scores = torch.zeros(3, 1, 4), torch.zeros(3, 1)
    rowptr, col = torch.tensor([0, 1, 2]), torch.tensor([0, 2])
    for (rowptr_, col_, edge_id), error, says in [
        ((rowptr, torch.tensor([0, 3]), None), IndexError, r"col 3 at position 1 is outside of \[0, 3\)"),
        ((rowptr, col, torch.tensor([0, 2])), IndexError, "edge_id 2 at position 1"),
        ((torch.tensor([0, 3, 2]), col, None), ValueError, "rowptr must rise from 0 to the number of edges, 2"),
        ((rowptr.int(), col, None), TypeError, "col is Long but rowptr is Int"),
    ]:
        with pytest.raises(error, match=says):
            torch.ops.dlbench.gat_aggregate(
                x, scores, scores[:2], rowptr_, col_, edge_id, None, None, None, 0.2, 0.0, 0
            )
    with pytest.raises(ValueError, match="score_dst must have shape"):
        torch.ops.dlbench.gat_aggregate(x, scores, scores, rowptr, col, None, None, None, None, 0.2, 0.0, 0)
    with pytest.raises(ValueError, match="rowptr must rise"):
        torch.ops.dlbench.edge_softmax(torch.zeros(2, 1), torch.tensor([0, 3]), None)
    with pytest.raises(IndexError, match="edge_id 5"):
        torch.ops.dlbench.edge_softmax(torch.zeros(2, 1), torch.tensor([0, 2]), torch.tensor([0, 5]))


GRAPH = random_graph(40, 6, 5)
CSR, BACK = ([g.rowptr, g.col, g.edge_id] for g in (GRAPH, GRAPH.transpose))
SQUARE = random_graph(40, 6, 6)
SQUARE_CSR = [t for g in (SQUARE, SQUARE.transpose) for t in (g.rowptr, g.col, g.edge_id)]
CASES = {
    "softmax": ("edge_softmax", lambda: (torch.randn(40, 3, requires_grad=True), CSR[0], CSR[2])),
    "softmax of halves": ("edge_softmax", lambda: (torch.randn(40, 3).bfloat16(), CSR[0], None)),
    "total": ("edge_total", lambda: (torch.randn(40, 3, requires_grad=True), CSR[0], CSR[2])),
    "attention": ("gat_aggregate", lambda: (*inputs_of(GRAPH, 2, 3, grad=True), *CSR, *BACK, 0.2, 0.5, 3)),
    "attention without transpose": (
        "gat_aggregate",
        lambda: (*inputs_of(GRAPH, 2, 3, torch.float64, grad=True), *CSR, None, None, None, 0.2, 0.0, 0),
    ),
    "attend": ("gat_attend", lambda: (*attend_inputs(SQUARE, 2, 3, grad=True), *SQUARE_CSR, 0.2, 0.5, 3)),
    "attend by halves": ("gat_attend", lambda: (*attend_inputs(SQUARE, 2, 3, torch.float16), *SQUARE_CSR, 0.2, 0.0, 3)),
    "attention of halves": (
        "gat_aggregate",
        lambda: (*inputs_of(GRAPH, 2, 3, torch.float16), *CSR, *BACK, 0.2, 0.0, 0),
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", CASES)
def test_opcheck(case):
    name, arguments = CASES[case]
    torch.library.opcheck(getattr(torch.ops.dlbench, name).default, arguments())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_compiled_whole():
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def layer(x, src, dst, scores, attend_src, attend_dst, graph):
        out = gat_aggregate(x * 2, src, dst, graph, dropout=0.5, seed=3)
        by_features = gat_attend(x, attend_src, attend_dst, SQUARE, dropout=0.5, seed=3)
        return out.sum() + by_features.sum() + edge_softmax(scores, graph).pow(2).sum()

    inputs = [*inputs_of(GRAPH, 2, 3, grad=True), torch.randn(40, 2, requires_grad=True)]
    inputs += attend_inputs(SQUARE, 2, 3, grad=True)[1:]
    results = []
    for function in (layer, layer._torchdynamo_orig_callable):
        value = function(*inputs, GRAPH)
        results.append((value.detach(), *torch.autograd.grad(value, inputs)))
    torch.testing.assert_close(*results)


PEAK = """
import resource, torch
from dlbench.ops import Graph, gat_aggregate
graph = Graph.from_edge_index(torch.randint(0, 500, (2, 50_000)), 500)
graph.transpose
small = Graph.from_edge_index(torch.tensor([[0], [1]]), 500)
inputs = [torch.randn(s, requires_grad=True) for s in ((500, 4, 64), (500, 4), (500, 4))]
gat_aggregate(*inputs, small, dropout=0.5).sum().backward()  # torch's own parts are there from then on
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
gat_aggregate(*inputs, graph, dropout=0.5).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_no_message_is_stored():
    if status().implementation != "native":
        pytest.skip("the reference serves")
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, env=os.environ, check=True)
    assert int(done.stdout) * 1024 < 50_000 * 4 * 64 * 4 / 5  # a fifth of one tensor of messages
