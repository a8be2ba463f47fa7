"""Directed message passing over bonds, of Yang et al. (J. Chem. Inf. Model. 2019, arXiv:1904.01561)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlbench.nn.checks import check_nodes, check_square
from dlbench.ops import Graph, aggregate, segment_reduce
from dlbench.ops.checks import check_on_graph


class DMPNN(nn.Module):
    r"""Messages live on directed bonds, and a bond hears of all bonds that lead to it but its own way back.

    .. math::
        h^0_{vw} = W_i [x_v ; e_{vw}], \quad
        h_{vw} \leftarrow \mathrm{ReLU}\big(h^0_{vw} + W_h \textstyle\sum_{k \in N(v) \setminus w} h_{kv}\big), \quad
        h_v = \mathrm{ReLU}\big(W_o [x_v ; \textstyle\sum_k h_{kv}]\big)

    So no message returns at once to where it came from. What it returns are atoms; a readout makes molecules of them,
    the paper's is a mean or sum: ``dlbench.ops.segment_reduce(h, rowptr, "mean")``.

    Analyzing Learned Molecular Representations for Property Prediction, Yang et al., J. Chem. Inf. Model. 2019,
    arXiv:1904.01561; as the paper's own code, chemprop, has it. Made for molecules: where an edge meets thousands of
    others, so many pairs are listed.

    Args:
        atom_features, bond_features: F and D.
        hidden: F', of bonds and atoms.
        steps: how often bonds are computed, the first time from themselves alone (chemprop's ``depth``).
        dropout: after every ReLU but the first.

    Shapes:
        x [n, F]; edges [E, D], in the order in which the edges were given to the graph; bonds, among E edges, from
        :func:`bond_graph`; the result [n, F'].
    """

    def __init__(
        self, atom_features: int, bond_features: int, hidden: int = 300, steps: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps={steps} leaves no bonds to sum over; it must be at least 1")
        self.steps = steps
        self.start = nn.Linear(atom_features + bond_features, hidden, bias=False)
        self.update = nn.Linear(hidden, hidden, bias=False)
        self.finish = nn.Linear(atom_features + hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, graph: Graph, edges: Tensor, bonds: Graph) -> Tensor:
        """States of the atoms, [n, F'], from x [n, F] and edges [E, D]."""
        check_nodes(x, graph)
        check_on_graph("edges", edges, graph, graph.num_edges, "features")
        if not isinstance(bonds, Graph):
            raise TypeError(f"bonds is a {type(bonds).__name__}; give the graph among the edges, bond_graph(graph)")
        if not bonds.num_src == bonds.num_dst == graph.num_edges:
            raise ValueError(
                f"bonds leads from {bonds.num_src} to {bonds.num_dst}; for this graph it must lead from its "
                f"{graph.num_edges} edges to themselves, as bond_graph gives it"
            )
        first = self.start(torch.cat([x.index_select(0, graph.edge_index[0]), edges], dim=1))  # [E, F']
        h = first.relu()
        for _ in range(self.steps - 1):
            h = self.dropout((first + self.update(aggregate(h, bonds))).relu())
        out: Tensor = self.dropout(self.finish(torch.cat([x, into_nodes(h, graph)], dim=1)).relu())
        return out


def bond_graph(graph: Graph, reverse: Tensor | None = None) -> Graph:
    """Which edges hear of which: a graph among the edges, each with all those that lead to its source but its way back.

    It lists every such pair, of which a molecule has about as many as edges, and a node of d neighbours d (d - 1).

    Args:
        graph: of n nodes and E edges.
        reverse: the number of every edge's way back, [E]; what :func:`reverse_edges` finds where it is not given.

    Returns:
        The graph among E nodes that are the edges, as they were numbered when the graph was made.

    Raises:
        ValueError: an edge without its way back, a ``reverse`` that does not lead back, or two sets of nodes.
    """
    check_square(graph)
    source, target = graph.edge_index
    if reverse is None:
        reverse = reverse_edges(graph)
    else:
        check_ways_back(reverse, source, target)
    begin, end = graph.rowptr[:-1].index_select(0, source), graph.rowptr[1:].index_select(0, source)
    heard = end - begin  # by every edge, its way back among them
    edge = torch.arange(graph.num_edges, device=source.device).repeat_interleave(heard)
    position = torch.arange(len(edge), device=source.device) + (begin + heard - heard.cumsum(0))[edge]
    other = position if graph.edge_id is None else graph.edge_id[position].long()
    ahead = other != reverse[edge]
    return Graph.from_coo(other[ahead], edge[ahead], graph.num_edges, graph.num_edges)


def reverse_edges(graph: Graph) -> Tensor:
    """The number of every edge's way back, [graph.num_edges], int64.

    Of edges that are there more than once, the first is paired with the first one back, and so on; so the reverse of
    the reverse is the edge itself.

    Raises:
        ValueError: an edge without its way back, or two sets of nodes.
    """
    check_square(graph)
    source, target = graph.edge_index
    there, edge = (source * graph.num_dst + target).sort(stable=True)
    back, reversed_edge = (target * graph.num_dst + source).sort(stable=True)
    if not torch.equal(there, back):
        lonely = edge[~torch.isin(there, back)]
        which = f"edge {int(lonely[0])}" if len(lonely) else "one of several edges between the same two nodes"
        raise ValueError(f"{which} has no way back; give every edge in both directions")
    return torch.empty_like(edge).index_copy(0, reversed_edge, edge)


def check_ways_back(reverse: Tensor, source: Tensor, target: Tensor) -> None:
    """Raises ValueError unless edge ``reverse[e]`` leads from the target of edge e to its source, for every one."""
    if reverse.shape != source.shape:
        raise ValueError(
            f"reverse has shape {list(reverse.shape)}; for this graph it must be [{len(source)}], "
            "as reverse_edges gives it"
        )
    inside = reverse.dtype == torch.int64 and bool(((reverse >= 0) & (reverse < len(source))).all())
    if not inside or not (torch.equal(source[reverse], target) and torch.equal(target[reverse], source)):
        raise ValueError("reverse does not lead back along every edge; give what reverse_edges finds")


def into_nodes(h: Tensor, graph: Graph) -> Tensor:
    """The sum over the edges into every node, [n, F'], of h [E, F']."""
    return segment_reduce(h if graph.edge_id is None else h.index_select(0, graph.edge_id), graph.rowptr)
