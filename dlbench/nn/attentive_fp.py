"""Attentive FP of Xiong et al. (J. Med. Chem. 63, 2020, doi:10.1021/acs.jmedchem.9b00959): attention on molecules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, leaky_relu

from dlbench.nn.checks import check_at_least, check_nodes
from dlbench.nn.dmpnn import into_nodes
from dlbench.nn.gat import GATConv
from dlbench.ops import Graph, aggregate, edge_softmax, gat_aggregate, segment_reduce
from dlbench.ops.checks import check_on_graph
from dlbench.ops.segments import check_segments

SLOPE = 0.01  # of every leaky ReLU


class AttentiveFP(nn.Module):
    r"""Atoms attend to those that they are bonded to, a molecule to its atoms; GRUs take in what they learn so.

    .. math::
        c_v = \mathrm{elu}\big(\textstyle\sum_u \alpha_{vu} W h_u + b\big), \quad
        h_v \leftarrow \mathrm{ReLU}(\mathrm{GRU}(c_v, h_v))

    for steps on the bonds, and then, of a molecule that starts as the sum of its atoms, for rounds on those. The
    attention is that of :class:`GATConv`; in the first step :math:`\mathrm{LeakyReLU}(W' [h_u ; e_{uv}])` stands for
    the neighbour, in the attention and in what is summed.

    Pushing the Boundaries of Molecular Representation for Drug Discovery with the Graph Attention Mechanism, Xiong et
    al., J. Med. Chem. 63, 2020. What differs: W' reads the neighbour's state in the place of its bare features, and
    the state itself passes the ReLU, both as in PyTorch Geometric; no dropout, and no last linear layer.

    Args:
        atom_features, bond_features: F and D.
        hidden: F', of atoms and molecules.
        steps: on the bonds.
        rounds: on all atoms of a molecule.
        start: how a molecule starts, ``"sum"`` or ``"mean"`` of its atoms.
        bonds_sent: whether what a bond is goes into what is summed, or into the attention alone, as PyTorch Geometric
            has it; then atoms whose neighbours are all alike cannot tell bonds apart.

    Shapes:
        x [n, F]; edges [E, D], in the order in which the edges were given to the graph; rowptr [B + 1], molecule b owns
        the atoms from rowptr[b] to rowptr[b + 1]; the result [B, F'].
    """

    def __init__(
        self,
        atom_features: int,
        bond_features: int,
        hidden: int = 200,
        steps: int = 2,
        rounds: int = 2,
        start: str = "sum",
        bonds_sent: bool = True,
    ) -> None:
        super().__init__()
        check_at_least(1, atom_features=atom_features, hidden=hidden, steps=steps)
        check_at_least(0, bond_features=bond_features, rounds=rounds)
        if start not in ("sum", "mean"):
            raise ValueError(f"start={start!r}; a molecule starts as the 'sum' or the 'mean' of its atoms")
        self.rounds, self.start, self.bonds_sent = rounds, start, bonds_sent
        self.embed = nn.Linear(atom_features, hidden)
        self.bonded = nn.Linear(hidden + bond_features, hidden, bias=False)  # W' and, below, W
        self.attend_src = nn.Parameter(torch.empty(1, hidden))
        self.attend_dst = nn.Parameter(torch.empty(1, hidden))
        self.message = nn.Linear(hidden, hidden, bias=False)
        self.bias = nn.Parameter(torch.zeros(hidden))  # b
        self.convs = nn.ModuleList(GATConv(hidden, hidden, negative_slope=SLOPE) for _ in range(steps - 1))
        self.grus = nn.ModuleList(nn.GRUCell(hidden, hidden) for _ in range(steps))
        self.pool = GATConv(hidden, hidden, negative_slope=SLOPE)
        self.pool_gru = nn.GRUCell(hidden, hidden)
        nn.init.xavier_uniform_(self.attend_src)
        nn.init.xavier_uniform_(self.attend_dst)

    def forward(self, x: Tensor, graph: Graph, edges: Tensor, rowptr: Tensor) -> Tensor:
        """One row a molecule, [B, F'], from x [n, F] and edges [E, D]."""
        check_nodes(x, graph)
        check_on_graph("edges", edges, graph, graph.num_edges, "features")
        check_segments("x", x, rowptr)
        h = leaky_relu(self.embed(x), SLOPE)
        first, *others = self.grus
        h = first(elu(self._over_bonds(h, graph, edges)), h).relu()
        for conv, gru in zip(self.convs, others, strict=True):
            h = gru(elu(conv(h, graph)), h).relu()
        out = segment_reduce(h, rowptr, self.start).relu()
        atoms = torch.arange(h.shape[0], dtype=rowptr.dtype, device=h.device)
        members = Graph.from_csr(rowptr, atoms, num_src=h.shape[0])  # an edge from every atom to its molecule
        values = self.pool.linear(h).unsqueeze(1)  # [n, 1, F'], of one head
        score = (values * self.pool.attend_src).sum(2)
        for _ in range(self.rounds):
            asked = (self.pool.linear(out) * self.pool.attend_dst).sum(1, keepdim=True)
            context = gat_aggregate(values, score, asked, members, SLOPE).flatten(1)
            out = self.pool_gru(elu(context + self.pool.bias), out).relu()  # type: ignore[operator]  # it has one
        return out

    def _over_bonds(self, h: Tensor, graph: Graph, edges: Tensor) -> Tensor:
        """What the first step brings, from the atoms and the bonds between them."""
        source, target = graph.edge_index
        joined = leaky_relu(self.bonded(torch.cat([h.index_select(0, source), edges], dim=1)), SLOPE)
        asked = (h * self.attend_dst).sum(1).index_select(0, target)
        attention = edge_softmax(leaky_relu((joined * self.attend_src).sum(1) + asked, SLOPE), graph)
        if self.bonds_sent:
            heard: Tensor = self.message(into_nodes(joined * attention.unsqueeze(1), graph))
        else:
            heard = aggregate(self.message(h), graph, attention)
        return heard + self.bias

    def extra_repr(self) -> str:
        """What stands inside the brackets of the layer's repr."""
        return f"rounds={self.rounds}, start={self.start!r}, bonds_sent={self.bonds_sent}"
