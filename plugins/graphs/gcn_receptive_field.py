"""A graph convolution moves on to the next neighbours layer by layer: K layers see K hops, and too many see one blur.

Three parts, all of one stack: a linear map of every node's features, K convolutions, a linear map to classes.

    reach    On a random graph the derivative of what K layers give node v by the features of node u, in float64: zero,
             exactly, where u is farther than K hops.
    radius   On a ring every eighteenth node has a colour and the others have none; a node is to name the colour that
             lies r steps away. No other colour is within eight hops, so with K < r all nodes look the same.
    depth    The block model of gcn_nodes and, in ``full``, Cora's public split, with more and more layers. The
             Dirichlet energy of the last layer, tr(Hᵀ (I - Â) H) / tr(Hᵀ H), tells how much neighbours still differ
             (Li et al., AAAI 2018; Oono & Suzuki, ICLR 2020); MAD is the mean cosine distance of two nodes (Chen et
             al., AAAI 2020).

    gcn       H ← relu(Â H W)
    residual  H ← H + relu(Â H W)
    gcnii     H ← relu(((1 - α) Â H + α H0) ((1 - β) I + β W)) with α = 0.1 and β = log(1 + 0.5 / layer) (Chen et al.,
              ICML 2020)
    jk        as gcn, and the classes are read from the maximum over all layers (Xu et al., ICML 2018)
    mlp       no layer between the two maps

Every subject has the same setting, set on a few other seeds (100 and up) for the ring to be learned with K = r.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.csgraph import shortest_path
from torch import Tensor, nn

from dlbench import (
    Claim,
    Context,
    Control,
    Experiment,
    Measurement,
    Metric,
    Reference,
    above,
    below,
    between,
    draw_means,
    every,
    one_of,
    per_seed,
    slope,
    where,
)
from dlbench.nn import GCNConv, Linear, SparseMatrix, dropout, gcn_norm
from dlbench.ops import Graph, aggregate
from dlbench_plugins.graphs.gcn_nodes import P_OUT, block_features, block_links
from dlbench_plugins.graphs.nodes import Fit, Setting, Task, accuracy, both_ways, fit, loss, random_split

REACH, RADIUS, BLOCKS, CORA = "reach", "radius", "block model", "cora public split"

COLOURS = 4
GAP = 18  # steps from one colour to the next: twice eight layers, and two
MOST_LAYERS = (GAP - 2) // 2
SOURCES = 20  # coloured nodes to train on; as many to test, and as many that are left for a validation

RING_RATE, RING_EPOCHS = 0.02, 100  # Adam's; K = r = 4 was learned in 8 of 10 development seeds, 3 of 4 else
DEEP = Setting(0.02, dropout=0.5, weight_decay=5e-4, patience=20)


def jump(rows):
    """Accuracy with K = r layers less that with one fewer, one a seed, for rows of one radius."""
    layers = rows.layers - rows.radius
    return rows[layers == 0].accuracy - rows[layers == -1].accuracy


def deepest(rows, subject):
    """Accuracy with the most layers less that with two, one a seed."""
    of = where(rows, subject=subject)
    return where(of, layers=of.layers.max()).accuracy - where(of, layers=2).accuracy


def depths(rows):
    """The rows of the sweeps over depth, but for the network without layers."""
    return rows[rows.task.isin([BLOCKS, CORA]) & (rows.layers > 0)]


@dataclass(frozen=True)
class GCNReceptiveField(Experiment):
    """How far a graph convolution sees, layer by layer, and what is left to see when there are too many layers."""

    dataset: str = one_of("none", "cora", default="none")  # beside the block model
    radii: tuple[int, ...] = between(1, 6, default=(1, 2, 3, 4))
    most_layers: int = between(2, MOST_LAYERS, default=6)  # for reach and radius
    depths: tuple[int, ...] = between(2, 128, default=(2, 8, 32))
    nodes: int = between(150, 20_000, default=600)  # of the block model
    hidden: int = between(1, 1024, default=16)
    epochs: int = between(1, 10_000, default=20)  # five times as many, while the validation loss falls

    version = 3  # in ``quick`` six layers for reach and radius instead of eight
    title = "Layer by layer, a graph convolution moves on to the next neighbours"
    chapter = "graphs"
    sources = (
        "Li et al., AAAI 2018, arXiv:1801.07606 (over-smoothing)",
        "Oono & Suzuki, ICLR 2020, arXiv:1905.10947 (energy falls with depth)",
        "Alon & Yahav, ICLR 2021, arXiv:2006.05205 (problem radius)",
        "Chen et al., ICML 2020, arXiv:2007.02133 (GCNII)",
        "Xu et al., ICML 2018, arXiv:1806.03536 (jumping knowledge)",
    )
    metrics = {
        "accuracy": Metric("accuracy on the test nodes", better="higher", main=True, low=0, high=1),
        "influence": Metric("greatest |∂ output of a node / ∂ features of another| at this distance", low=0),
        "log_energy": Metric("log10 of the last layer's Dirichlet energy over its squared norm"),
        "mad": Metric("mean cosine distance of two nodes after the last layer", low=-1e-6, high=2),
    }
    presets = {
        "quick": {},
        "full": {
            "dataset": "cora",
            "most_layers": MOST_LAYERS,
            "depths": (2, 4, 8, 16, 32, 64),
            "hidden": 64,
            "epochs": 200,
        },
    }

    def datasets(self):
        return () if self.dataset == "none" else (self.dataset,)

    def trial(self, context: Context) -> Iterator[Measurement]:
        yield from self.reach(context)
        context.progress(0.1, RADIUS)
        yield from self.radius(context)
        context.progress(0.6, "depth")
        yield from self.depth(BLOCKS, self.block_model(context), context)
        if self.dataset != "none":
            yield from self.depth(CORA, citations(context.data(self.dataset), context), context)

    def reach(self, context: Context) -> Iterator[Measurement]:
        """Of the stack as it is initialised, in float64, around the node with the farthest other one."""
        edges = both_ways(random_links(context.rng("reach"), nodes=120))
        hops = shortest_path(adjacency(edges, 120), unweighted=True)
        node = int(hops.max(axis=1).argmax())
        graph, weight = gcn_norm(Graph.from_edge_index(torch.from_numpy(edges), 120), torch.float64)
        x = torch.from_numpy(context.rng("reach features").normal(size=(120, COLOURS)))
        for layers in range(1, self.most_layers + 1):
            with context.seeded("reach"):
                net = GCN(COLOURS, self.hidden, COLOURS, layers, 0.0).double().eval()
            influence = influences(net, x, graph, weight, node)
            for hop in range(int(hops[node].max()) + 1):
                at = influence[torch.from_numpy(hops[node] == hop)].max().item()
                yield {"subject": "gcn", "task": REACH, "layers": layers, "hop": hop, "influence": at}

    def radius(self, context: Context) -> Iterator[Measurement]:
        """For every number of layers one training, of a network for each radius."""
        tasks = [ring(context.rng("ring"), radius, context.device) for radius in self.radii]
        for layers in range(self.most_layers + 1):
            with context.seeded("radius", layers):
                nets = [GCN(COLOURS, self.hidden, COLOURS, layers, 0.0) for _ in tasks]
            for radius, task, scores in zip(self.radii, tasks, train_on_ring(nets, tasks), strict=True):
                right = accuracy(Fit(scores, 0), task, task.test)
                subject = "gcn" if layers else "mlp"
                yield {"subject": subject, "task": RADIUS, "layers": layers, "radius": radius, "accuracy": right}

    def depth(self, name: str, task: Task, context: Context) -> Iterator[Measurement]:
        """Every subject with every depth."""
        wiring = task.wirings["given"]
        for layers in (0, *self.depths):
            for subject, model in {"mlp": GCN}.items() if layers == 0 else SUBJECTS.items():
                with context.seeded("depth", name, layers):  # the same first weights, too
                    net = model(task.x.shape[1], self.hidden, task.classes, layers, DEEP.dropout)
                    found = fit(net, task, wiring, DEEP, self.epochs)
                with torch.no_grad():
                    h = net.eval().represent(task.x, wiring.graph, wiring.weight)
                spread = {"log_energy": log_energy(h, wiring), "mad": mean_distance(h)}
                scored = {"layers": layers, "accuracy": accuracy(found, task, task.test)}
                yield {"subject": subject, "task": name, **scored, **spread}

    def block_model(self, context: Context) -> Task:
        """The block model of gcn_nodes at its card's point."""
        x, y = block_features(context.rng("features"), self.nodes)
        validation = self.nodes // 4
        split = random_split(context.rng("split"), y, validation, self.nodes // 2)
        edges = both_ways(block_links(context.rng("links"), y, P_OUT))
        return Task.of(torch.from_numpy(x).to(context.device), y, edges, split, context.rng("permutation"))

    claims = (
        Claim(
            "K layers see nothing that is farther than K hops: the derivative is zero",
            lambda rows: below(
                per_seed(where(rows, task=REACH).query("hop > layers"), lambda r: r.influence.max()), 1e-12
            ),
        ),
        Claim(
            "What lies r hops away takes r layers: the r-th brings more than 30 points, for every r",
            lambda rows: every(where(rows, task=RADIUS), "radius", lambda r: above(jump(r), 0.30)),
            source="Alon & Yahav 2021, section 3",
        ),
        Claim(
            "The energy of a GCN's last layer falls with depth",
            lambda rows: every(
                where(depths(rows), subject="gcn").dropna(subset="log_energy"),
                "task",
                lambda r: below(slope(r, "layers", "log_energy"), 0),
            ),
            source="Oono & Suzuki 2020, theorem 2",
        ),
        Claim(
            "A GCN with the most layers is more than 10 points below one with two",
            lambda rows: every(depths(rows), "task", lambda r: below(deepest(r, "gcn"), -0.10)),
            source="Li et al. 2018, section 3",
        ),
        Claim(
            "GCNII with the most layers is not: it is at most 5 points below",
            lambda rows: every(depths(rows), "task", lambda r: above(deepest(r, "gcnii"), -0.05)),
            source="Chen et al. 2020, table 3",
        ),
        Control(
            "K layers do see what is K hops away: the logarithm of the derivative is above that of 1e-9",
            lambda rows: above(
                per_seed(
                    where(rows, task=REACH).query("hop == layers"),
                    lambda r: math.log10(max(r.influence.min(), 1e-300)),  # spread over decades from seed to seed
                ),
                -9,
            ),
            kind="positive",
        ),
        Control(
            "With fewer layers than r nothing is learned: accuracy is at most 5 points above chance",
            lambda rows: every(
                where(rows, task=RADIUS).query("layers < radius"),
                ["radius", "layers"],
                lambda r: below(r.accuracy, 1 / COLOURS + 0.05),
            ),
            kind="negative",
        ),
        Control(
            "The neighbour's colour is learned with one layer, to 90 %",
            lambda rows: above(where(rows, task=RADIUS, radius=1, layers=1).accuracy, 0.9),
            kind="positive",
        ),
        Control(
            "Two layers are trained: a GCN is 5 points above a network without links",
            lambda rows: every(
                rows[rows.task.isin([BLOCKS, CORA])],
                "task",
                lambda r: above(
                    where(r, subject="gcn", layers=2).accuracy - where(r, subject="mlp", layers=0).accuracy, 0.05
                ),
            ),
            kind="gate",
        ),
    )

    references = (
        Reference(
            "accuracy",
            0.855,
            "Chen et al. 2020, the results in the README of github.com/chennnM/GCNII",
            where={"subject": "gcnii", "task": CORA, "layers": 64},
            note="theirs drops out in every layer and is tuned for Cora; ours has the setting of all subjects",
        ),
    )

    def plot(self, rows, figure, artefacts):
        figure.set_size_inches(9, 7)
        figure.set_layout_engine("constrained")
        upper, lower = figure.subfigures(2, 1)
        reach, radius = upper.subplots(1, 2)
        draw_reach(reach, rows[rows.task == REACH])
        draw_radius(radius, rows[rows.task == RADIUS])
        name = CORA if (rows.task == CORA).any() else BLOCKS
        swept = depths(rows[rows.task == name])
        swept_axes = lower.subplots(1, 3)
        for axes, metric, label in zip(
            swept_axes,
            ("log_energy", "mad", "accuracy"),
            ("log10 of the last layer's energy", "mean cosine distance of two nodes", "accuracy on the test nodes"),
            strict=True,
        ):
            draw_depth(axes, swept, metric, label)
        lower.suptitle(f"deeper on {'Cora' if name == CORA else 'the block model'}", fontsize=10)
        if swept_axes[2].lines:
            lower.legend(*swept_axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)


# ------------------------------------------------------------------------------------------------------------ graphs


def random_links(rng: np.random.Generator, nodes: int) -> np.ndarray:
    """Links [2, L] of a connected graph: a tree in which a node hangs on one of the four before it, and ten chords."""
    later = np.arange(1, nodes)
    tree = np.stack([later - rng.integers(1, np.minimum(later, 4) + 1), later])
    starts = rng.integers(0, nodes - 6, 10)
    return np.unique(np.concatenate([tree, np.stack([starts, starts + rng.integers(2, 6, 10)])], axis=1), axis=1)


def adjacency(edges: np.ndarray, nodes: int) -> np.ndarray:
    """Matrix [n, n] of ones where there is an edge."""
    matrix = np.zeros((nodes, nodes))
    matrix[edges[1], edges[0]] = 1
    return matrix


def ring(rng: np.random.Generator, radius: int, device: str) -> Task:
    """The ring; the nodes ``radius`` away from a colour are split by the colour's node, as many of each colour."""
    count = 3 * SOURCES
    colour = np.concatenate([rng.permutation(np.arange(SOURCES) % COLOURS) for _ in range(3)])
    sources, nodes = GAP * np.arange(count), GAP * count
    x = np.zeros((nodes, COLOURS), np.float32)
    x[sources, colour] = 1
    y = np.full(nodes, -1)
    for side in (-radius, radius):
        y[(sources + side) % nodes] = colour
    split = [np.concatenate([(of - radius) % nodes, of + radius]) for of in np.split(sources, 3)]
    links = np.stack([np.arange(nodes), (np.arange(nodes) + 1) % nodes])
    return Task.of(torch.from_numpy(x).to(device), y, both_ways(links), split, rng)


def citations(data, context: Context) -> Task:
    """A citation network with its public split."""
    words = data["x"]
    x = SparseMatrix.from_dense(words / np.maximum(words.sum(axis=1, keepdims=True), 1), context.device)
    split = [np.flatnonzero(data[f"{part}_mask"]) for part in ("train", "val", "test")]
    return Task.of(x, data["y"], data["edge_index"], split, context.rng("permutation"))


# ---------------------------------------------------------------------------------------------------------- networks


class GCN(nn.Module):
    """A linear map, K graph convolutions, a linear map; what a layer does is in ``step``, what is read in ``read``."""

    def __init__(self, features: int, hidden: int, classes: int, layers: int, p: float) -> None:
        super().__init__()
        self.encode = Linear(features, hidden)
        self.layers = nn.ModuleList(GCNConv(hidden, hidden) for _ in range(layers))
        self.decode = Linear(hidden, classes)
        self.p = p

    def decayed(self) -> Iterable[nn.Parameter]:
        return [self.encode.weight]

    def step(self, number: int, h: Tensor, first: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        return self.layers[number](h, graph, weight).relu()

    def read(self, states: list[Tensor]) -> Tensor:
        return states[-1]

    def represent(self, x: Tensor | SparseMatrix, graph: Graph, weight: Tensor) -> Tensor:
        """What the classes are read from, [n, hidden]."""
        states = [self.encode(dropout(x, self.p, self.training)).relu()]
        for number in range(len(self.layers)):
            states.append(self.step(number, states[-1], states[0], graph, weight))
        return self.read(states)

    def forward(self, x: Tensor | SparseMatrix, graph: Graph, weight: Tensor) -> Tensor:
        return self.decode(dropout(self.represent(x, graph, weight), self.p, self.training))  # [n, classes]


class Residual(GCN):
    """Each layer adds to what was there."""

    def step(self, number: int, h: Tensor, first: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        return h + super().step(number, h, first, graph, weight)


class GCNII(GCN):
    """Each layer goes back to the first a little, and its map is near the identity, the nearer the deeper."""

    def step(self, number: int, h: Tensor, first: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        beta = math.log(1 + 0.5 / (number + 1))
        mixed = aggregate(h, graph, weight).lerp(first, 0.1)
        return torch.addmm(mixed, mixed, self.layers[number].weight, beta=1 - beta, alpha=beta).relu()


class JumpingKnowledge(GCN):
    """The classes are read from the maximum over all layers."""

    def read(self, states: list[Tensor]) -> Tensor:
        return torch.stack(states).amax(0)


SUBJECTS = {"gcn": GCN, "residual": Residual, "gcnii": GCNII, "jk": JumpingKnowledge}


class SideBySide(nn.Module):
    """GCNs of one shape on one graph, each with weights of its own: what they give together, [n, networks, classes]."""

    def __init__(self, nets: Sequence[GCN]) -> None:
        super().__init__()
        maps = [[net.encode.weight.T for net in nets]]
        maps += [[net.layers[i].weight for net in nets] for i in range(len(nets[0].layers))]
        maps += [[net.decode.weight.T for net in nets]]
        self.maps = nn.ParameterList(torch.stack(one).detach() for one in maps)  # [networks, in, out]
        self.shifts = nn.ParameterList(torch.zeros(len(nets), 1, one.shape[2]) for one in self.maps)

    def forward(self, x: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        encode, *layers, decode = zip(self.maps, self.shifts, strict=True)
        h = (x @ encode[0] + encode[1]).relu()  # [networks, n, hidden]
        for linear, shift in layers:
            h = aggregate((h @ linear).transpose(0, 1).contiguous(), graph, weight).transpose(0, 1)
            h = (h + shift).relu()
        return (h @ decode[0] + decode[1]).transpose(0, 1)


def train_on_ring(nets: Sequence[GCN], tasks: Sequence[Task]) -> Iterator[Tensor]:
    """Scores [n, classes] for every task; Adam on the sum of all losses, which does to each what it would do alone."""
    x, wiring = tasks[0].x, tasks[0].wirings["given"]
    net = SideBySide(nets).to(x.device)
    optimiser = torch.optim.Adam(net.parameters(), lr=RING_RATE, fused=True)
    for _ in range(RING_EPOCHS):
        optimiser.zero_grad()
        scores = net(x, wiring.graph, wiring.weight)
        sum(loss(scores[:, i], task, task.train) for i, task in enumerate(tasks)).backward()
        optimiser.step()
    with torch.no_grad():
        yield from net(x, wiring.graph, wiring.weight).unbind(1)


# ------------------------------------------------------------------------------------------------------ measurements


def influences(net: GCN, x: Tensor, graph: Graph, weight: Tensor, node: int) -> Tensor:
    """Greatest |∂ output of ``node`` / ∂ features of u| over outputs and features, for every u, [n]."""
    x = x.clone().requires_grad_()
    outputs = net(x, graph, weight)[node]
    gradients = [torch.autograd.grad(output, x, retain_graph=True)[0] for output in outputs]
    return torch.stack(gradients).abs().amax(dim=(0, 2))


def log_energy(h: Tensor, wiring) -> float:
    """log10 of tr(Hᵀ (I - Â) H) / tr(Hᵀ H), no less than the -16 of rounding; NaN where H is zero."""
    h = h.double()
    norm = h.square().sum()
    energy = norm - (h * aggregate(h, wiring.graph, wiring.weight.double())).sum()
    return math.log10(max(energy / norm, 1e-16)) if norm > 0 else math.nan


def mean_distance(h: Tensor) -> float:
    """Mean over all pairs of nodes of one minus the cosine of their angle; of nodes that are not zero."""
    h = h.double()
    unit = h[h.norm(dim=1) > 0]
    unit = unit / unit.norm(dim=1, keepdim=True)
    return 1 - (unit.mean(dim=0).square().sum()).item() if len(unit) else math.nan


# ----------------------------------------------------------------------------------------------------------- picture

LINES = {"gcn": "#0072B2", "residual": "#D55E00", "gcnii": "#009E73", "jk": "#CC79A7"}


def draw_reach(axes, rows) -> None:
    """Influence over distance, a line for each number of layers."""
    axes.set_title("how far K layers see", fontsize=9)
    axes.set(xlabel="hops away", ylabel="greatest derivative", yscale="log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    layers = sorted(rows.layers.dropna().unique()) if len(rows) else []
    for i, k in enumerate(layers):
        seen = rows[(rows.layers == k) & (rows.influence > 0)].groupby("hop").influence
        colour = (0.0, 0.25 + 0.6 * (1 - i / len(layers)), 0.75 - 0.3 * i / len(layers))
        draw_means(axes, list(seen.groups), [v for _, v in seen], log=True, color=colour, marker="o", markersize=3)
        if seen.groups:
            at = (max(seen.groups) + 0.12, seen.mean().iloc[-1])
            axes.annotate(f"K={k:.0f}", at, fontsize=7, color=colour, va="bottom")


def draw_radius(axes, rows) -> None:
    """Accuracy for every radius and number of layers."""
    axes.set_title("what K layers learn", fontsize=9)
    axes.set(xlabel="layers K", ylabel="radius r of the task")
    table = rows.pivot_table(index="radius", columns="layers", values="accuracy")
    if table.empty:
        return
    axes.imshow(table, origin="lower", vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(table.shape[1]), [f"{k:.0f}" for k in table.columns])
    axes.set_yticks(range(table.shape[0]), [f"{r:.0f}" for r in table.index])
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        axes.text(
            column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color="w" if value < 0.6 else "k"
        )


def draw_depth(axes, rows, metric: str, label: str) -> None:
    """A metric over depth, a line for each subject."""
    axes.set(xlabel="layers", ylabel=label, xscale="log")
    ticks = sorted(rows.layers.unique())
    axes.set_xticks(ticks, [f"{k:.0f}" for k in ticks])
    axes.minorticks_off()
    if metric not in rows:
        return
    for subject, colour in LINES.items():
        of = rows[rows.subject == subject].groupby("layers")[metric]
        draw_means(axes, list(of.groups), [v for _, v in of], color=colour, label=subject, marker="o", markersize=3)
