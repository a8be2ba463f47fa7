"""gcn_receptive_field: the ring, derivatives by hop, energies against dense formulas, rules on known frames."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from dlbench import Context, Control
from dlbench.ops import aggregate
from dlbench_plugins.graphs import gcn_receptive_field as study
from dlbench_plugins.graphs.gcn_receptive_field import BLOCKS, CORA, GAP, RADIUS, REACH, SUBJECTS, GCNReceptiveField

from .drawing import drawn

TINY = GCNReceptiveField(radii=(1,), most_layers=2, depths=(2, 4), nodes=180, hidden=8, epochs=2)


def dense(wiring) -> torch.Tensor:
    """The matrix Â that a wiring stands for."""
    return aggregate(torch.eye(wiring.graph.num_src), wiring.graph, wiring.weight)


# ------------------------------------------------------------------------------------------------------------- graphs


@pytest.mark.parametrize("radius", [1, 4])
def test_the_ring_asks_for_the_colour_that_lies_radius_steps_away(radius):
    task = study.ring(np.random.default_rng(0), radius, "cpu")
    nodes = len(task.y)
    coloured = task.x.sum(dim=1).nonzero()[:, 0]
    assert (coloured % GAP == 0).all() and len(coloured) == nodes // GAP
    asked = torch.cat([task.train, task.validation, task.test])
    assert len(asked.unique()) == 2 * len(coloured)
    for node in asked:
        apart = (coloured - node).abs()
        nearest = torch.minimum(apart, nodes - apart)
        assert nearest.min() == radius and nearest.sort().values[1] > study.MOST_LAYERS
        assert task.x[coloured[nearest.argmin()], task.y[node]] == 1
    for part in (task.train, task.validation, task.test):
        assert task.y[part].bincount().unique().numel() == 1  # as many of each colour, so that chance is exact


def test_a_random_graph_is_connected_and_long():
    for seed in range(5):
        edges = study.both_ways(study.random_links(np.random.default_rng(seed), 120))
        hops = study.shortest_path(study.adjacency(edges, 120), unweighted=True)
        assert np.isfinite(hops).all() and hops.max() > study.MOST_LAYERS
        assert (edges[0] != edges[1]).all()


# ----------------------------------------------------------------------------------------------------------- networks


def test_networks_are_their_formulas():
    task = study.ring(np.random.default_rng(0), 1, "cpu")
    a = dense(task.wirings["given"])
    for subject, model in SUBJECTS.items():
        net = model(4, 8, 4, 3, 0.0).eval()
        first = h = net.encode(task.x).relu()
        states = [h]
        for i, layer in enumerate(net.layers):
            if subject == "gcnii":
                beta, mixed = math.log(1 + 0.5 / (i + 1)), 0.9 * a @ h + 0.1 * first
                h = (mixed @ ((1 - beta) * torch.eye(8) + beta * layer.weight)).relu()
            else:
                step = (a @ h @ layer.weight + layer.bias).relu()
                h = h + step if subject == "residual" else step
            states.append(h)
        expected = torch.stack(states).amax(0) if subject == "jk" else h
        found = net.represent(task.x, *task.wirings["given"][:2])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_energy_and_distance_are_their_formulas():
    task = study.ring(np.random.default_rng(0), 1, "cpu")
    wiring = task.wirings["given"]
    h = torch.randn(len(task.y), 3, generator=torch.Generator().manual_seed(0))
    laplacian = torch.eye(len(h), dtype=torch.float64) - dense(wiring).double()
    energy = torch.trace(h.double().T @ laplacian @ h.double()) / h.double().square().sum()
    assert study.log_energy(h, wiring) == pytest.approx(math.log10(energy), abs=1e-6)
    cosine = torch.nn.functional.cosine_similarity(h[:, None].double(), h[None].double(), dim=2)
    assert study.mean_distance(h) == pytest.approx(1 - cosine.mean().item())
    assert math.isnan(study.log_energy(torch.zeros_like(h), wiring)) and math.isnan(study.mean_distance(0 * h))


# ------------------------------------------------------------------------------------------------------------ a trial


@pytest.fixture(scope="module")
def rows():
    rows = pd.DataFrame(list(TINY.trial(Context(seed=100))))
    return rows.assign(seed=100).set_index("seed")


def test_rows_are_told_apart(rows):
    assert not rows.duplicated(["subject", "task", "layers", "radius", "hop"]).any()
    assert rows.groupby("task").size()[[RADIUS, BLOCKS]].to_dict() == {RADIUS: 3, BLOCKS: 1 + 2 * len(SUBJECTS)}


def test_nothing_is_seen_beyond_the_layers(rows):
    reach = rows[rows.task == REACH]
    assert (reach.influence[reach.hop > reach.layers] == 0).all()
    assert (reach.influence[reach.hop <= reach.layers] > 1e-9).all()


def test_without_layers_the_ring_is_at_chance(rows):
    of = rows[(rows.task == RADIUS) & (rows.layers == 0)]
    assert of.subject.tolist() == ["mlp"] and of.accuracy.tolist() == [0.25]


def test_networks_side_by_side_are_what_they_are_alone():
    tasks = [study.ring(np.random.default_rng(0), radius, "cpu") for radius in (1, 2)]
    wiring = tasks[0].wirings["given"]
    torch.testing.assert_close(tasks[0].x, tasks[1].x)  # one ring, two questions
    torch.manual_seed(0)
    nets = [study.GCN(4, 8, 4, 2, 0.0) for _ in tasks]
    for net in nets:
        torch.nn.init.zeros_(net.encode.bias), torch.nn.init.zeros_(net.decode.bias)
    together = study.SideBySide(nets)(tasks[0].x, *wiring[:2])
    for i, net in enumerate(nets):
        torch.testing.assert_close(together[:, i], net(tasks[0].x, *wiring[:2]), atol=1e-5, rtol=1e-4)


def test_each_radius_is_learned_with_as_many_layers_and_not_with_fewer():
    tasks = [study.ring(np.random.default_rng(100), radius, "cpu") for radius in (1, 2)]
    for layers, learned in ((1, [True, False]), (2, [True, True])):
        torch.manual_seed(0)
        nets = [study.GCN(4, 16, 4, layers, 0.0) for _ in tasks]
        for task, scores, right in zip(tasks, study.train_on_ring(nets, tasks), learned, strict=True):
            found = study.accuracy(study.Fit(scores, 0), task, task.test)
            assert found > 0.9 if right else found == 0.25


# -------------------------------------------------------------------------------------------------------------- rules


def frame(seeds=8, learned=0.95, early=0.25, beyond=0.0, near=1e-4, deep=0.5, gcnii=0.8, energy=-0.05, mlp=0.45):
    """Rows as a trial yields them, with what each rule looks at."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        noise = rng.normal(0, 0.01)
        for layers in (1, 2, 3):
            for hop in range(6):
                influence = beyond if hop > layers else near
                rows.append({"seed": seed, "subject": "gcn", "task": REACH, "layers": layers, "hop": hop})
                rows[-1]["influence"] = influence
        for radius in (1, 2):
            for layers in range(4):
                value = (learned if layers >= radius else early) + noise
                rows.append({"seed": seed, "subject": "gcn" if layers else "mlp", "task": RADIUS, "layers": layers})
                rows[-1] |= {"radius": radius, "accuracy": value}
        rows.append({"seed": seed, "subject": "mlp", "task": BLOCKS, "layers": 0, "accuracy": mlp + noise})
        for layers in (2, 8, 32):
            for subject, last in (("gcn", deep), ("gcnii", gcnii)):
                value = (last if layers == 32 else 0.8) + rng.normal(0, 0.01)
                rows.append({"seed": seed, "subject": subject, "task": BLOCKS, "layers": layers, "accuracy": value})
                rows[-1]["log_energy"] = energy * layers + noise
    return pd.DataFrame(rows).set_index("seed")


BEYOND, JUMP, ENERGY, DEEP, GCNII, SEES, CHANCE, LEARNED, TRAINED = GCNReceptiveField.claims


def test_everything_holds_where_it_should():
    assert [claim.rule(frame()).outcome for claim in GCNReceptiveField.claims] == ["holds"] * 9
    kinds = {claim.kind for claim in GCNReceptiveField.claims if isinstance(claim, Control)}
    assert kinds == {"negative", "positive", "gate"}


@pytest.mark.parametrize(
    ("claim", "changed"),
    [
        (BEYOND, {"beyond": 1e-6}),
        (JUMP, {"learned": 0.4}),
        (ENERGY, {"energy": 0.05}),
        (DEEP, {"deep": 0.79}),
        (GCNII, {"gcnii": 0.5}),
        (SEES, {"near": 0.0}),
        (CHANCE, {"early": 0.5}),
        (LEARNED, {"learned": 0.6}),
        (TRAINED, {"mlp": 0.9}),
    ],
)
def test_each_rule_says_no(claim, changed):
    assert claim.rule(frame(**changed)).outcome == "does not hold"


def test_cora_counts_where_it_is_there():
    cora = frame(deep=0.8).query("task == @BLOCKS").assign(task=CORA)
    assert DEEP.rule(pd.concat([frame(), cora])).outcome == "does not hold"


# ------------------------------------------------------------------------------------------------------------ picture


@pytest.mark.parametrize("part", [slice(None), [REACH], [RADIUS], [BLOCKS]], ids=str)
def test_the_picture(part):
    rows = frame() if isinstance(part, slice) else frame().query("task in @part")
    figure = drawn(GCNReceptiveField(), rows, {})
    assert len(figure.axes) == 5
