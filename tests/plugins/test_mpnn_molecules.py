"""mpnn_molecules: the made molecules, what each arm may see, metrics on known lists, rules on known frames."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from dlbench import Context, Control
from dlbench.nn import bond_graph
from dlbench_plugins.graphs import made_molecules as made
from dlbench_plugins.graphs import mpnn_molecules as study
from dlbench_plugins.graphs.made_molecules import CARBON, FLUORINE, NITROGEN, OXYGEN, Made
from dlbench_plugins.graphs.mpnn_molecules import ECOLI_RANDOM, ECOLI_SCAFFOLD, HUB, LIBRARY, PROPERTY, MPNNMolecules

from .drawing import drawn

TINY = MPNNMolecules(train=60, test=100, hidden=8, steps=2, epochs=1, trees=5, beside=("gin", "attentive_fp"))


# ------------------------------------------------------------------------------------------------ the made molecules


def molecule(elements, bonds) -> Made:
    """Of elements, and bonds as (atom, atom, order)."""
    a, b, order = np.array(bonds).T
    return Made(np.array(elements), np.stack([a, b]), order)


GLYCINE = molecule([NITROGEN, CARBON, CARBON, OXYGEN, OXYGEN], [(0, 1, 1), (1, 2, 1), (2, 3, 2), (2, 4, 1)])


def test_made_molecules_keep_valences_and_are_one_piece():
    rng = np.random.default_rng(0)
    drawn = [made.molecule(rng) for _ in range(200)]
    assert all(one.valid and 6 <= len(one.element) <= 18 for one in drawn)
    rings = {len(one.order) - len(one.element) + 1 for one in drawn}
    assert rings == {0, 1, 2} and {2} <= {order for one in drawn for order in one.order.tolist()}
    assert not molecule([CARBON, FLUORINE], [(0, 1, 2)]).valid
    assert not molecule([CARBON, CARBON, CARBON], [(0, 1, 1)]).valid


def test_the_property_by_hand():
    c, n, o = made.CONTRIBUTION[[CARBON, NITROGEN, OXYGEN]]
    polarity = (3.04 - 2.55) + 0 + 2 * (3.44 - 2.55) + (3.44 - 2.55)
    assert made.property_of(GLYCINE) == pytest.approx(2 * c + n + 2 * o + 0.5 * polarity - 1)  # O, O on one carbon


def test_activity_is_the_group_and_not_the_formula():
    assert made.active(GLYCINE)
    amide = molecule([NITROGEN, CARBON, CARBON, OXYGEN, OXYGEN], [(0, 2, 1), (1, 2, 1), (2, 3, 2), (1, 4, 1)])
    assert not made.active(amide)
    assert made.formulas([GLYCINE]).tolist() == made.formulas([amide]).tolist()


def test_identity_ignores_the_order_of_atoms():
    back = molecule([OXYGEN, OXYGEN, CARBON, CARBON, NITROGEN], [(4, 3, 1), (3, 2, 1), (2, 1, 2), (2, 0, 1)])
    other = molecule([NITROGEN, CARBON, CARBON, OXYGEN, OXYGEN], [(0, 1, 1), (1, 2, 1), (2, 3, 1), (2, 4, 1)])
    assert made.identity(GLYCINE) == made.identity(back) != made.identity(other)
    for table in made.fingerprints([GLYCINE, back], radii=(1, 2)).values():
        np.testing.assert_array_equal(*table)


def test_a_library_has_its_share_of_actives_and_nothing_twice():
    found = made.library(np.random.default_rng(1), 100, 0.05)
    assert len(found) == 100 and sum(map(made.active, found.values())) == 5
    assert [made.identity(one) for one in found.values()] == list(found)
    assert len(made.distinct(np.random.default_rng(1), 100)) == 100


def test_fingerprints_count_surroundings():
    ethane, propane = molecule([CARBON] * 2, [(0, 1, 1)]), molecule([CARBON] * 3, [(0, 1, 1), (1, 2, 1)])
    tables = made.fingerprints([ethane, propane], radii=(1, 2))
    assert tables[1].sum(axis=1).tolist() == [4, 6] and tables[2].sum(axis=1).tolist() == [6, 9]
    assert sorted(tables[1][1][tables[1][1] > 0].tolist()) == [1, 2, 3]  # three atoms, two ends, one middle


# ---------------------------------------------------------------------------------------------------------- the arms


def test_rewiring_keeps_each_formula_and_all_bonds():
    graphs = made.graphs([GLYCINE, molecule([CARBON, FLUORINE], [(0, 1, 1)])] * 20)
    moved = study.rewired(graphs, np.random.default_rng(0))
    starts = graphs.atom_ptr[:-1]
    np.testing.assert_array_equal(np.add.reduceat(moved.atoms, starts), np.add.reduceat(graphs.atoms, starts))
    np.testing.assert_array_equal(moved.bonds, graphs.bonds)
    assert (moved.atoms != graphs.atoms).any()


def test_the_network_without_bonds_sees_the_formula_alone():
    one = molecule([CARBON, NITROGEN, OXYGEN], [(0, 1, 1), (0, 2, 1)])
    other = molecule([CARBON, NITROGEN, OXYGEN], [(0, 1, 1), (1, 2, 1)])
    torch.manual_seed(0)
    net = study.MoleculeNet(4, 2, TINY, "sum")
    graphs = made.graphs([one, other])
    bare = net(study.Batch.of(study.bag_of_atoms(graphs), "cpu"))
    assert bare[0] == bare[1]
    whole = net(study.Batch.of(graphs, "cpu"))
    assert whole[0] != whole[1]


def test_what_other_networks_on_bonds_see():
    """GIN sees who is bonded, Attentive FP the order of bonds as well."""
    chain, other = [(0, 1, 1), (1, 2, 1), (2, 3, 1)], [(0, 1, 2), (1, 2, 1), (2, 3, 1)]
    branch = [(0, 1, 1), (1, 2, 1), (1, 3, 1)]
    atoms = [CARBON, NITROGEN, CARBON, OXYGEN]
    batch = study.Batch.of(made.graphs([molecule(atoms, bonds) for bonds in (chain, other, branch)]), "cpu")
    torch.manual_seed(0)
    gin, attentive = (study.KINDS[kind](4, 2, TINY, "sum")(batch).flatten() for kind in ("gin", "attentive_fp"))
    assert gin[0] == gin[1] != gin[2] and len(set(attentive.tolist())) == 3


def test_a_network_beside_the_others_changes_none_of_them():
    task = study.made_task(Context(seed=100), 60, 100, activity=False)
    with_them, without = (
        replace(TINY, beside=beside).compare(subjects, task, Context(seed=100))
        for beside, subjects in (((), study.PLAIN), (TINY.beside, ("attentive_fp", "gin", *study.PLAIN)))
    )
    assert all(with_them[subject].row == without[subject].row for subject in study.PLAIN)


@pytest.mark.parametrize("kind", study.KINDS)
def test_a_batch_is_its_molecules_one_by_one(kind):
    graphs = made.graphs([made.molecule(np.random.default_rng(seed)) for seed in range(5)])
    torch.manual_seed(0)
    net = study.KINDS[kind](4, 2, TINY, "mean").eval()
    alone = [net(study.Batch.of(graphs.take(np.array([i])), "cpu")) for i in range(5)]
    batch = study.Batch.of(graphs, "cpu")
    torch.testing.assert_close(net(batch), torch.cat(alone))
    heard = bond_graph(batch.graph).edge_index  # by the ways back that reverse_edges finds
    assert len(heard.T) and sorted(heard.T.tolist()) == sorted(batch.bonds.edge_index.T.tolist())


@pytest.mark.parametrize("kind", study.KINDS)
def test_networks_side_by_side_are_what_they_are_alone(kind):
    """What they say, and what a step of Adam on the sum of their losses makes of them."""
    graphs = made.graphs([made.molecule(np.random.default_rng(seed)) for seed in range(5)])
    batch, target = study.Batch.of(graphs, "cpu"), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    nets = [study.KINDS[kind](4, 2, TINY, readout) for readout in ("sum", "mean", "sum")]
    together = study.KINDS[kind].together(copy.deepcopy(nets))
    assert together(batch).shape == (5, 3)
    for _ in range(2):
        torch.testing.assert_close(
            together(batch), torch.cat([net(batch) for net in nets], dim=1), atol=1e-5, rtol=1e-4
        )
        for net, wanted in ((together, target), *zip(nets, target.split(1, dim=1), strict=True)):
            optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
            (wanted.shape[1] * torch.nn.functional.mse_loss(net(batch), wanted)).backward()
            optimiser.step()
            optimiser.zero_grad()


def test_the_setting_is_chosen_on_validation_molecules_alone(monkeypatch):
    task = study.made_task(Context(seed=0), 60, 100, activity=False)
    asked = []

    def scripted(task, setting, study, context):
        asked.append(setting)
        scores = np.full(len(task.y), 9.0)  # no use on the test molecules
        scores[task.validation] = task.y[task.validation] + (setting == study_grid[0])
        return scores

    study_grid = study.GRID
    monkeypatch.setitem(study.ARMS, "scripted", scripted)
    outcome = TINY.compare(["scripted"], task, Context(seed=0))["scripted"]
    assert asked == list(study_grid) and outcome.setting == study_grid[1]
    assert outcome.row["rmse"] == pytest.approx(study.rmse(task.y[task.test], 9.0)) and outcome.row["tuned_trials"] == 2


def test_members_are_of_the_chosen_setting(monkeypatch):
    task = study.made_task(Context(seed=0), 60, 100, activity=False)
    task = replace(task, activity=True, y=(task.y > np.median(task.y)).astype(float))
    asked = []

    def scripted(jobs, bonds, task, study_, context):
        asked.append(jobs)
        for job in jobs:
            yield np.where(task.y == 1, 0.9, 0.1) if job.setting == study.GRID[1] else np.full(len(task.y), 0.5)

    monkeypatch.setattr(study, "networks", scripted)
    outcomes = TINY.compare(["dmpnn", "dmpnn_shuffled"], task, Context(seed=0), members=3)
    first, members = asked  # those on one graph at once
    assert [(job.subject, job.setting) for job in first] == [
        (subject, setting) for subject in ("dmpnn", "dmpnn_shuffled") for setting in study.GRID
    ]
    assert [(job.setting, job.member) for job in members] == [(study.GRID[1], 1), (study.GRID[1], 2)]
    assert outcomes["dmpnn_ensemble"].row["roc_auc"] == 1 and outcomes["dmpnn_ensemble"].row["tuned_trials"] == 2


def test_a_leak_is_counted():
    task = study.made_task(Context(seed=0), 60, 100, activity=False)
    scores = np.zeros(100)
    assert task.row("x", scores, 1)["leaked"] == 0
    leaky = replace(task, test=np.concatenate([task.test[:97], task.train[:2], task.validation[:1]]))
    assert leaky.row("x", scores, 1)["leaked"] == 3


# ------------------------------------------------------------------------------------------------------- the metrics


def test_metrics_of_known_lists():
    y = np.array([1.0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    scores = np.linspace(1, 0.1, 10)
    assert study.hits(y, scores, 1) == 1 and study.hits(y, scores, 3) == 2 and study.hits(y, scores, 50) == 2
    assert study.enrichment(y, scores, 0.1) == pytest.approx(5.0)
    assert study.hits(y, np.zeros(10), 5) == pytest.approx(1.0)  # all equal: chance
    assert study.share_ahead(scores, 2) == pytest.approx(2 / 9) and study.share_ahead(np.zeros(3), 0) == 0.5
    assert study.roc_auc(y, scores) == pytest.approx(15 / 16) and np.isnan(study.roc_auc(np.zeros(3), np.arange(3)))
    assert study.calibration_error(np.array([1.0, 0, 0, 0]), np.full(4, 0.25)) == pytest.approx(0)
    assert study.calibration_error(np.array([1.0, 1]), np.array([0.5, 1.0])) == pytest.approx(0.25)
    counts = study.reliability(np.array([1.0, 0, 1]), np.array([0.02, 0.07, 1.0]))
    assert counts.shape == (3, 10) and counts[:, [0, 9]].T.tolist() == [[2, pytest.approx(0.09), 1], [1, 1, 1]]
    assert not counts[:, 1:9].any()


# --------------------------------------------------------------------------------------------------------- small runs


@pytest.fixture(scope="module")
def run():
    context = Context(seed=0)
    return pd.DataFrame(TINY.trial(context)), context.kept


def test_rows_are_complete_and_lie_in_range(run):
    rows, _ = run
    assert not rows.duplicated(["task", "subject"]).any()
    assert set(rows.columns) == {"subject", "task", *MPNNMolecules.metrics}
    assert set(rows[rows.task == PROPERTY].subject) == {*TINY.plain, "dmpnn_rewired"}
    assert set(rows[rows.task == LIBRARY].subject) == {*TINY.plain, "dmpnn_ensemble", "dmpnn_shuffled"}
    for name, metric in MPNNMolecules.metrics.items():
        values = rows[name].dropna()
        assert len(values) and values.between(metric.low, metric.high).all(), name
    assert (rows.leaked == 0).all() and (rows.unread == 0).all() and (rows.tuned_trials == 2).all()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows(run):
    again = pd.DataFrame(TINY.trial(Context(seed=0)))
    pd.testing.assert_frame_equal(run[0], again, check_exact=True)


def test_the_full_protocol_on_a_few_real_smiles():
    """Rings of many sizes, chlorides active: the code is exercised, not the science."""
    pytest.importorskip("rdkit")
    texts = ["C1" + "C" * n + "C1" + end for n in range(1, 16) for end in ("Cl", "O", "N")] + ["C1CC"]
    screen = {
        "smiles": np.array([*texts, "OC1CC1"]),
        "line": np.arange(2, len(texts) + 3),
        "y": np.array([float(text.endswith("Cl")) for text in texts] + [0.0], dtype=np.float32),
    }
    hub = {"smiles": np.array(["OC1CC1.Cl", "CCBr", study.published.HALICIN]), "line": np.arange(2, 5)}
    context = Context(seed=0, loader={"ecoli": screen, "repurposing_hub": hub}.__getitem__)
    few = replace(TINY, sets=("ecoli",))
    assert set(few.datasets()) == {"ecoli", "repurposing_hub"}
    rows = pd.DataFrame(few.trial(context))
    assert set(rows.task) == {ECOLI_RANDOM, ECOLI_SCAFFOLD, HUB} and (rows.leaked == 0).all()
    on_screen, on_hub = rows[rows.task == ECOLI_RANDOM], rows[rows.task == HUB]
    assert (on_screen.unread == 1).all() and (on_screen.duplicates == 1).all()  # one alcohol, twice
    assert (on_hub.candidates == 2).all() and (on_hub.duplicates == 2).all()  # its salt has been trained on
    assert on_hub["rank"].between(0, 1).all() and on_hub.roc_auc.isna().all()
    assert context.kept["unread"].tolist() == ["ecoli, line 47"]
    few.plot(rows.set_index(pd.Index([0] * len(rows), name="seed")), Figure(), {0: context.kept})


# ------------------------------------------------------------------------------------------------------------- rules


def made_rows(**changes):
    """Eight seeds of rows under which everything holds, but for what is changed: subject → metrics."""
    level = {
        "dmpnn": (0.3, 0.95),
        "dmpnn_ensemble": (0.3, 0.96),
        "dmpnn_rewired": (0.8, 0.5),
        "dmpnn_shuffled": (0.9, 0.5),
        "atoms_net": (0.9, 0.6),
        "formula_linear": (1.0, 0.65),
        "fingerprint_linear": (0.4, 0.85),
        "fingerprint_forest": (0.8, 0.9),
    }
    rows = []
    for seed in range(8):
        jitter = 0.001 * (seed - 3.5)
        for task in (PROPERTY, LIBRARY, HUB):
            for subject, (error, area) in level.items():
                row = {"seed": seed, "task": task, "subject": subject, "tuned_trials": 2 - (task == HUB)}
                row |= {"leaked": 0, "unread": 1, "duplicates": 0, "candidates": 200}
                if task == PROPERTY:
                    row |= {"rmse": error + jitter}
                if task == LIBRARY:
                    row |= {"roc_auc": area + jitter, "ef1": 15 + jitter}
                if task != PROPERTY:
                    row |= {"rank": 0.03 + jitter}
                more = changes.get(subject, {})
                rows.append(row | {name: value for name, value in more.items() if name in row})
    return pd.DataFrame(rows).set_index("seed")


def failing(frame):
    return [claim.statement for claim in MPNNMolecules.claims if claim.rule(frame).outcome != "holds"]


def test_every_rule_can_hold():
    assert failing(made_rows()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"atoms_net": {"rmse": 0.2}}, ["atoms alone"]),
        ({"dmpnn_rewired": {"rmse": 0.2}}, ["which atoms are bonded"]),
        ({"dmpnn_ensemble": {"ef1": 4.0}}, ["first 1 %"]),
        ({"formula_linear": {"roc_auc": 0.97}}, ["linear model of the formula"]),
        ({"fingerprint_forest": {"roc_auc": 0.97}}, ["fingerprints with a forest"]),
        ({"dmpnn_ensemble": {"rank": 0.2}}, ["first 5 %"]),
        ({"dmpnn_shuffled": {"roc_auc": 0.8}}, ["at random"]),
        ({"fingerprint_linear": {"rmse": 0.9}}, ["tell the property"]),
        ({"fingerprint_forest": {"roc_auc": 0.6}}, ["Fingerprints tell activity"]),
        ({"dmpnn": {"leaked": 1}}, ["fitted or chosen on"]),
        ({"dmpnn": {"unread": 5}}, ["no molecule"]),
        ({"dmpnn": {"tuned_trials": 5}}, ["as many trials"]),
    ],
)
def test_each_rule_can_fail(changes, words):
    failed = failing(made_rows(**changes))
    assert len(failed) == len(words) and all(word in text for word, text in zip(words, failed, strict=True)), failed


def test_controls_are_of_all_kinds():
    assert {c.kind for c in MPNNMolecules.claims if isinstance(c, Control)} == {"negative", "positive", "gate"}


# ----------------------------------------------------------------------------------------------------------- picture


def test_the_picture(run):
    rows, kept = run
    figure = drawn(TINY, rows.set_index(pd.Index([0] * len(rows), name="seed")), {0: kept})
    parity, found, reliable, *molecules = figure.axes
    assert len(molecules) == study.FIRST and all(axes.lines or axes.texts for axes in molecules)
    assert len(parity.get_lines()[0].get_xdata()) == 100
    ends = [line.get_ydata()[-1] for line in found.get_lines()]
    assert len(ends) == 10 and ends == [1.0] * 10
    assert [text.get_text() for text in reliable.get_legend().get_texts()] == list(study.CALIBRATED)


@pytest.mark.parametrize("rows", [pd.DataFrame(), pd.DataFrame({"subject": ["dmpnn"], "task": [HUB]}, index=[0])])
def test_the_picture_of_nothing(rows):
    figure = Figure()
    MPNNMolecules().plot(rows, figure, {})
    figure.canvas.draw()
    assert len(figure.axes) == 3 + study.FIRST


def test_a_layout_keeps_the_distances_of_a_chain_and_a_ring():
    chain = study.flat_layout(4, np.array([[0, 1, 2], [1, 2, 3]]))
    np.testing.assert_allclose(np.linalg.norm(chain[0] - chain, axis=1), [0, 1, 2, 3], atol=0.05)
    ring = study.flat_layout(6, np.array([range(6), [1, 2, 3, 4, 5, 0]]))
    sides = np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1)
    np.testing.assert_allclose(sides, sides.mean(), rtol=0.02)


def test_published_numbers_name_metrics_that_exist():
    for reference in MPNNMolecules.references:
        metric = MPNNMolecules.metrics[reference.metric]
        assert metric.low <= reference.value <= metric.high and "read in" in reference.note
