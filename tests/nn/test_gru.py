"""Recurrent networks on graphs against dense float64 algebra over several steps in time."""

import pytest
import torch

from dlbench import nn

from .small_graphs import F64, assert_same, dense, directed, normal, shaken

NODES, FEATURES, HIDDEN, TIMES = 9, 2, 4, 3


def unrolled(series, convolve_gates, convolve_candidate):
    h = torch.zeros(NODES, HIDDEN, dtype=F64)
    for x in series:
        gates = convolve_gates(torch.cat([x, h], 1)).sigmoid()
        r, u = gates[:, :HIDDEN], gates[:, HIDDEN:]
        h = u * h + (1 - u) * convolve_candidate(torch.cat([x, r * h], 1)).tanh()
    return h


def test_tgcn_is_its_formula():
    graph, weight = nn.gcn_norm(directed(NODES, 25), F64)
    cell, series = shaken(nn.TGCN(FEATURES, HIDDEN)), normal(TIMES, NODES, FEATURES).requires_grad_()
    a, h = dense(graph, weight), None
    for x in series:
        h = cell(x, graph, weight, h)
    expected = unrolled(series, *(lambda z, c=c: a @ z @ c.weight + c.bias for c in (cell.gates, cell.candidate)))
    assert_same(h, expected, [series, *cell.parameters()])


def test_dcgru_is_its_formula():
    graph = directed(NODES, 25)
    weight = normal(graph.num_edges).abs()
    cell, series = shaken(nn.DCGRU(FEATURES, HIDDEN)), normal(TIMES, NODES, FEATURES).requires_grad_()
    into, out = (m / m.sum(1, keepdim=True).clamp(min=1e-300) for m in (dense(graph, weight), dense(graph, weight).T))
    shares, h = nn.diffusion_norm(graph, weight), None
    for x in series:
        h = cell(x, graph, shares, h)

    def diffuse(z, conv):
        return torch.cat([z, into @ z, into @ into @ z, out @ z, out @ out @ z], 1) @ conv.weight + conv.bias

    expected = unrolled(series, *(lambda z, c=c: diffuse(z, c) for c in (cell.gates, cell.candidate)))
    assert_same(h, expected, [series, *cell.parameters()])


@pytest.mark.parametrize("cell", [nn.TGCN, nn.DCGRU])
def test_gates_start_open_for_memory(cell):
    made = cell(FEATURES, HIDDEN)
    assert (made.gates.bias == 1).all() and (made.candidate.bias == 0).all()


def test_a_state_that_does_not_fit_is_named():
    graph, weight = nn.gcn_norm(directed(NODES, 25))
    with pytest.raises(ValueError, match=r"h has shape \[9, 5\]; beside this x it must be \[9, 4\]"):
        nn.TGCN(FEATURES, HIDDEN)(torch.randn(NODES, FEATURES), graph, weight, torch.randn(NODES, HIDDEN + 1))
