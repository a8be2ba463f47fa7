"""Layers on graphs, one file a layer: the formula and the paper in the class docstring, the aggregation in the ops.

Every layer takes ``(x, graph, weight)``: node features [n, F], a :class:`dlbench.ops.Graph` of n nodes whose edges
point from source to target, and one weight an edge, in the order of the edges that the graph was made from.
"""

from dlbench.nn.gcn import GCNConv, gcn_norm
from dlbench.nn.sparse import SparseMatrix, dropout

__all__ = ["GCNConv", "SparseMatrix", "dropout", "gcn_norm"]
