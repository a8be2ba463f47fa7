"""Layers on graphs, one file a family: the formula and the paper in the class docstring, the aggregation in the ops.

A layer takes ``(x, graph, ...)``: node features [n, F] and a :class:`dlbench.ops.Graph` of n nodes whose edges point
from source to target; then what belongs to its edges, in the order of the edges that the graph was made from: a weight
each, or their features. What makes one row of many (a readout, a network on point clouds) takes ``(x, rowptr)``.
"""

from dlbench.nn.appnp import APPNP
from dlbench.nn.attentive_fp import AttentiveFP
from dlbench.nn.diffusion import DiffusionConv, diffusion_norm
from dlbench.nn.dmpnn import DMPNN, bond_graph, reverse_edges
from dlbench.nn.edge_conv import DynamicEdgeConv, EdgeConv
from dlbench.nn.gat import GATConv
from dlbench.nn.gcn import GCNConv, gcn_norm
from dlbench.nn.gin import GINConv
from dlbench.nn.gru import DCGRU, TGCN, GraphGRU
from dlbench.nn.mpnn import MPNN, NNConv
from dlbench.nn.pointnet import PointNet
from dlbench.nn.readout import Set2Set
from dlbench.nn.sage import SAGEConv
from dlbench.nn.set_abstraction import SetAbstraction, farthest_points
from dlbench.nn.sparse import Linear, SparseMatrix, dropout

__all__ = [
    "APPNP",
    "DCGRU",
    "DMPNN",
    "MPNN",
    "TGCN",
    "AttentiveFP",
    "DiffusionConv",
    "DynamicEdgeConv",
    "EdgeConv",
    "GATConv",
    "GCNConv",
    "GINConv",
    "GraphGRU",
    "Linear",
    "NNConv",
    "PointNet",
    "SAGEConv",
    "Set2Set",
    "SetAbstraction",
    "SparseMatrix",
    "bond_graph",
    "diffusion_norm",
    "dropout",
    "farthest_points",
    "gcn_norm",
    "reverse_edges",
]
