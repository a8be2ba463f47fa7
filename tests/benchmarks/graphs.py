"""Graphs by seed, in the shapes of those that message passing is measured on."""

from __future__ import annotations

import torch

from dlbench.ops import Graph


def uniform(nodes, edges, seed=0):
    """Every node with about as many edges as the others."""
    random = torch.Generator().manual_seed(seed)
    return Graph.from_edge_index(torch.randint(0, nodes, (2, edges), generator=random), nodes)


def power_law(nodes, edges, seed=0):
    """A few nodes with many edges, numbered in no order."""
    random = torch.Generator().manual_seed(seed)
    place = torch.randperm(nodes, generator=random)
    ends = (torch.rand(2, edges, generator=random) ** 3 * nodes).long().clamp(max=nodes - 1)
    return Graph.from_edge_index(place[ends], nodes)


def molecules(count=64, seed=0):
    """A batch of trees of about 24 atoms with a few rings, bonds in both directions."""
    random = torch.Generator().manual_seed(seed)
    graphs = []
    for _ in range(count):
        atoms = int(torch.randint(12, 36, (), generator=random))
        child = torch.arange(1, atoms)
        parent = (child - 1 - torch.randint(0, 3, (atoms - 1,), generator=random)).clamp(min=0)
        ring = torch.arange(0, atoms - 5, 8)
        bonds = torch.cat([torch.stack([child, parent]), torch.stack([ring, ring + 5])], dim=1)
        graphs.append(Graph.from_edge_index(torch.cat([bonds, bonds.flip(0)], dim=1), atoms))
    return Graph.batch(graphs)


SHAPES = {
    "Cora's shape": lambda: uniform(2708, 13_264),
    "ogbn-arxiv's shape": lambda: power_law(169_343, 1_166_243),
    "a tenth of ogbn-products": lambda: power_law(244_902, 6_186_000),
}
TINY = {
    "64 molecules": molecules,
    "METR-LA's shape": lambda: uniform(207, 1722),
}
