"""The edge convolution of a dynamic graph network, split so that nothing is made for every edge."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from dlbench.ops.aggregation import aggregate
from dlbench.ops.checks import check_graph, check_on_graph
from dlbench.ops.graph import Graph


def edge_conv(u: Tensor, v: Tensor, graph: Graph, negative_slope: float | None = None) -> Tensor:
    r"""Maximum over the in-neighbours of every node of a function of both ends: :math:`\max_j f(u_i + v_j)`.

    An edge convolution's linear map splits, :math:`W [x_i ; x_j - x_i] = (W_a - W_b) x_i + W_b x_j`, and a function
    that does not fall can be applied after the maximum: :math:`\max_j f(u_i + v_j) = f(u_i + \max_j v_j)`. With
    :math:`u = (W_a - W_b) x` and :math:`v = W_b x` the layer costs no more than a maximum over neighbours, to the last
    rounding the same as with a tensor of edges.

    Differentiable. The derivative goes to the edge that gave the maximum, the one of the smallest number among equals.
    A node without incoming edges gets zeros.

    Dynamic Graph CNN for Learning on Point Clouds, Wang et al., ACM TOG 2019, arXiv:1801.07829, section 3.

    Args:
        u: the targets' part, [graph.num_dst, F], of any float type.
        v: the sources' part, [graph.num_src, F], of the same type.
        graph: the edges.
        negative_slope: of a leaky ReLU, at least 0 (which is the ReLU); without it the function is the identity.

    Returns:
        [graph.num_dst, F], of the type of ``u``.

    Raises:
        TypeError: tensors that are not of one float type, or no ``Graph``.
        ValueError: a shape or a device that does not fit, or a slope under which the function falls.
    """
    check_graph(graph)
    check_on_graph("u", u, graph, graph.num_dst, "features")
    check_on_graph("v", v, graph, graph.num_src, u.shape[1])
    if u.dtype != v.dtype:
        raise TypeError(f"u is {u.dtype} but v is {v.dtype}; give both in one type")
    if negative_slope is not None and not negative_slope >= 0:
        raise ValueError(f"negative_slope={negative_slope} makes a function that falls; it must be at least 0")
    out = u + aggregate(v, graph, reduce="max")
    if negative_slope is not None:
        out = leaky_relu(out, negative_slope)
    return torch.where(graph.in_degree.unsqueeze(1) > 0, out, 0)
