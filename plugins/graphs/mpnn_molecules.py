"""Message passing over bonds ranks molecules (Yang et al. 2019, arXiv:1904.01561; Stokes et al., Cell 180, 2020).

Claim: a network that passes messages along bonds predicts what composition alone cannot, and puts active molecules far
ahead in a library that it never saw; so halicin was found. Only the ranking is tested here: that halicin kills
bacteria was seen in a laboratory, which no program repeats.

Method: made molecules, drawn anew for every seed, with a property (regression) and an activity of one in twenty
(screening: train on some, rank a library); and the E. coli screen of Stokes et al., 2,335 molecules, split at random
and by scaffold. Then models of all of these rank the drug repurposing hub, without the molecules that they trained on,
and the rank of halicin is told, seed by seed. The hub chooses nothing. Every arm is fitted with the same number of
settings, of which the validation molecules choose one.

    dmpnn               messages on directed bonds, one row a molecule, two layers
    dmpnn_ensemble      the mean of several that differ in their first weights
    dmpnn_rewired       the same on bonds that join the wrong atoms: within each molecule atoms change places
    dmpnn_shuffled      the same, trained on activities dealt out at random
    atoms_net           the same without bonds: a network on a bag of atoms
    gin                 sums over bonded atoms, blind to what a bond is, and the same readout, of the last layer alone
                        (Xu et al., ICLR 2019)
    attentive_fp        attention over bonded atoms, then over all of a molecule, which starts as their sum or mean
                        (Xiong et al., J. Med. Chem. 63, 2020); without its dropout
    formula_linear      ridge or logistic regression on the number of atoms of each element
    fingerprint_linear  the same on fingerprints: which surroundings of atoms occur
    fingerprint_forest  a random forest on fingerprints
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dlbench import (
    Claim,
    Context,
    Control,
    Experiment,
    Measurement,
    Metric,
    Reference,
    above,
    all_of,
    below,
    between,
    every,
    one_of,
    paired,
    per_seed,
)
from dlbench.data import molecules as published
from dlbench.data import smiles
from dlbench.data.smiles import Molecules
from dlbench.nn import DMPNN, AttentiveFP, GINConv, bond_graph
from dlbench.ops import Graph, segment_reduce
from dlbench_plugins.graphs import made_molecules

# Tasks, the column that tells one set of molecules and split from another.
PROPERTY, LIBRARY = "made property", "made library"
ECOLI_RANDOM, ECOLI_SCAFFOLD, HUB = "ecoli random split", "ecoli scaffold split", "repurposing hub"

ACTIVES = 0.05  # share of a made library; 0.051 of the E. coli screen
SHARES = (0.8, 0.1, 0.1)  # of the E. coli screen: to train, to choose a setting, to test
SYMBOLS = ("B", "C", "N", "O", "F", "Na", "Si", "P", "S", "Cl", "K", "Se", "Br", "I", "?")  # of smiles.ELEMENTS
FIRST = 6  # molecules of a list that are drawn


class Setting(NamedTuple):
    """What is tuned: networks read the first, fingerprints the second, linear models the third, the forest the last."""

    readout: str  # how atoms become one row a molecule
    radius: int  # how far a surrounding reaches, in bonds
    penalty: float
    leaf: int  # least number of molecules in a leaf


GRID = (
    Setting("sum", radius=1, penalty=1.0, leaf=1),
    Setting("mean", radius=2, penalty=10.0, leaf=3),
)


def predicted(rows):
    """The task whose test molecules have a property to be told."""
    return rows[rows.task == PROPERTY]


def screened(rows):
    """The tasks in which activities of the test molecules are known."""
    return rows[rows.task.isin([LIBRARY, ECOLI_RANDOM, ECOLI_SCAFFOLD])]


def ranked(rows):
    """The tasks in which a molecule is sought in a library."""
    return rows[rows.task.isin([LIBRARY, HUB])]


def most_extra_trials(rows):
    """By how many trials the arms of a task differ, at most."""
    trials = rows.groupby("task").tuned_trials
    return (trials.max() - trials.min()).max()


@dataclass(frozen=True)
class MPNNMolecules(Experiment):
    """Message passing over bonds against composition and fingerprints: a property, a screening, and a drug's rank.
    Made molecules; the E. coli screen of Stokes et al. (2020), and where halicin stands in the drug repurposing hub.
    """

    sets: tuple[str, ...] = one_of("made", "ecoli", default=("made",))
    train: int = between(50, 100_000, default=1000)  # made molecules, a fifth of them to choose a setting
    test: int = between(100, 100_000, default=1500)  # made molecules that are ranked
    hidden: int = between(1, 2048, default=32)
    steps: int = between(1, 10, default=3)  # of message passing
    epochs: int = between(1, 1000, default=14)
    batch: int = between(1, 4096, default=64)
    learning_rate: float = between(1e-6, 1.0, default=1e-2)  # at its highest
    trees: int = between(1, 5000, default=50)
    members: int = between(1, 100, default=2)  # of the ensemble
    trials: int = between(1, len(GRID), default=len(GRID))  # settings tried for every arm
    beside: tuple[str, ...] = one_of("gin", "attentive_fp", default=("gin",))  # other networks on the same bonds

    version = 3  # with GIN and, in ``full``, Attentive FP
    title = "Message passing over bonds finds active molecules"
    chapter = "graphs"
    sources = (
        "Gilmer et al., ICML 2017, arXiv:1704.01212",
        "Yang et al., J. Chem. Inf. Model. 2019, arXiv:1904.01561",
        "Stokes et al., Cell 180, 2020, doi:10.1016/j.cell.2020.01.021",
        "Xu et al., ICLR 2019, arXiv:1810.00826 (GIN)",
        "Xiong et al., J. Med. Chem. 63, 2020, doi:10.1021/acs.jmedchem.9b00959 (Attentive FP)",
    )
    metrics = {
        "roc_auc": Metric("area under the ROC curve on the test molecules", better="higher", main=True, low=0, high=1),
        "pr_auc": Metric("average precision on the test molecules", better="higher", low=0, high=1),
        "ef1": Metric("enrichment: actives among the first 1 %, over chance", better="higher", low=0),
        "hits50": Metric("actives among the first 50", better="higher", low=0, high=50),
        "ece": Metric("expected calibration error, ten bins", better="lower", low=0, high=1),
        "rmse": Metric("error of the property, root mean square", better="lower", low=0),
        "mae": Metric("error of the property, mean absolute", better="lower", low=0),
        "rank": Metric("share of the library ahead of the molecule sought (the median active)", better="lower", low=0),
        "candidates": Metric("test molecules"),
        "unread": Metric("SMILES that are no molecule, or made molecules that cannot be", low=0),
        "duplicates": Metric("records left out, as the same molecule stood there already", low=0),
        "leaked": Metric("test molecules that the models were fitted or chosen on", low=0),
        "tuned_trials": Metric("settings tried, of which the validation molecules chose one"),
    }
    presets = {
        "quick": {},
        "full": {
            "sets": ("made", "ecoli"),
            "hidden": 300,
            "epochs": 30,
            "learning_rate": 1e-3,
            "trees": 500,
            "members": 5,
            "beside": ("gin", "attentive_fp"),
        },
    }

    def datasets(self):
        return ("ecoli", "repurposing_hub") if "ecoli" in self.sets else ()

    @property
    def plain(self) -> tuple[str, ...]:
        """The arms of every task."""
        return (*PLAIN, *self.beside)

    def trial(self, context: Context) -> Iterable[Measurement]:
        if "made" in self.sets:
            yield from self.made(context)
        if "ecoli" in self.sets:
            yield from self.ecoli(context)

    def made(self, context: Context) -> Iterator[Measurement]:
        """The property of molecules as they come; the activity in a set of which one in twenty is active."""
        task = made_task(context, self.train, self.test, activity=False)
        outcomes = self.compare([*self.plain, "dmpnn_rewired"], task, context)
        for subject in ("dmpnn", "formula_linear"):
            context.keep(f"property_{subject}", np.stack([task.y[task.test], outcomes[subject].scores]))
        yield from (outcome.row for outcome in outcomes.values())
        context.progress(0.4 if self.datasets() == () else 0.05, LIBRARY)
        task = made_task(context, self.train, self.test, activity=True)
        outcomes = self.compare([*self.plain, "dmpnn_shuffled"], task, context, self.members)
        keep_found(context, "library", task, outcomes)
        keep_first(context, "library", task, outcomes["dmpnn_ensemble"].scores)
        yield from (outcome.row for outcome in outcomes.values())

    def ecoli(self, context: Context) -> Iterator[Measurement]:
        """Two splits of the screen; then all of it trains, with the settings that the random split chose."""
        screen = Records.read("ecoli", context)
        context.keep("unread", np.array([f"ecoli, line {line}" for line, _ in screen.unread], dtype="U40"))
        n = len(screen.y)
        bounds = np.cumsum([round(share * n) for share in SHARES[:2]])
        splits = {
            ECOLI_RANDOM: np.split(context.rng("split", "random").permutation(n), bounds),
            ECOLI_SCAFFOLD: smiles.scaffold_split(
                smiles.scaffolds(screen.molecules), context.rng("split", "scaffold"), SHARES
            ),
        }
        chosen: Mapping[str, Setting] = {}
        for i, (name, split) in enumerate(splits.items()):
            context.progress(0.1 + 0.3 * i, name)
            task = screen.task(name, *split, context)
            outcomes = self.compare([*self.plain, "dmpnn_shuffled"], task, context, self.members)
            chosen = chosen or {subject: outcome.setting for subject, outcome in outcomes.items()}
            keep_found(context, f"ecoli_{i}", task, outcomes)
            yield from (outcome.row for outcome in outcomes.values())

        context.progress(0.7, HUB)
        hub = Records.read("repurposing_hub", context).without(screen)
        both = screen.joined(hub)
        nothing, everything = np.arange(0), np.arange(len(both.y))
        task = both.task(HUB, everything[:n], nothing, everything[n:], context)
        (halicin,), _, _ = smiles.parse([published.HALICIN], [0])
        task = replace(task, sought=np.flatnonzero(hub.identity == smiles.identities([halicin])[0]))
        outcomes = self.compare(self.plain, task, context, self.members, chosen)
        keep_first(context, "hub", task, outcomes["dmpnn_ensemble"].scores)
        yield from (outcome.row for outcome in outcomes.values())

    def compare(
        self,
        subjects: Iterable[str],
        task: Task,
        context: Context,
        members: int = 1,
        chosen: Mapping[str, Setting] | None = None,
    ) -> dict[str, Outcome]:
        """Each arm with each setting; the one that is best on the validation molecules is asked for the test ones.

        Where settings were chosen before, each arm has its own and no other.
        """
        settings = {subject: [chosen[subject]] if chosen else GRID[: self.trials] for subject in subjects}
        tried = self.fitted(
            [Job(subject, setting) for subject in subjects for setting in settings[subject]], task, context
        )
        outcomes = {}
        for subject in subjects:
            best = max(settings[subject], key=lambda setting: task.quality(tried[Job(subject, setting)]))
            scores, trials = tried[Job(subject, best)][task.test], len(settings[subject])
            outcomes[subject] = Outcome(task.row(subject, scores, trials), scores, best)
            if subject == "dmpnn" and task.activity:
                more = self.fitted([Job(subject, best, member) for member in range(1, members)], task, context)
                scores = np.mean([scores, *(found[task.test] for found in more.values())], axis=0)
                outcomes["dmpnn_ensemble"] = Outcome(task.row("dmpnn_ensemble", scores, trials), scores, best)
        return outcomes

    def fitted(self, jobs: Sequence[Job], task: Task, context: Context) -> dict[Job, np.ndarray]:
        """Scores [n] of every job's model, NaN for molecules that trained; networks on one graph train side by side."""
        found = {}
        alike: dict[tuple[str, str], list[Job]] = {}  # of one shape, on one graph
        for job in jobs:
            if isinstance(arm := ARMS[job.subject], Network):
                alike.setdefault((arm.bonds, arm.kind), []).append(job)
        for (bonds, _), these in alike.items():
            found |= dict(zip(these, networks(these, bonds, task, self, context), strict=True))
        for job in jobs:
            if not isinstance(arm := ARMS[job.subject], Network):
                found[job] = arm(task, job.setting, self, context)
        return found

    claims = (
        Claim(
            "Messages over bonds predict a property better than any model that sees the atoms alone",
            lambda rows: all_of(
                *(
                    below(paired(predicted(rows), "rmse", "dmpnn", other), 0)
                    for other in ("formula_linear", "atoms_net")
                )
            ),
            source="Gilmer et al. 2017",
        ),
        Claim(
            "What counts is which atoms are bonded: with atoms in each other's places the error grows",
            lambda rows: below(paired(predicted(rows), "rmse", "dmpnn", "dmpnn_rewired"), 0),
        ),
        Claim(
            "Among the first 1 % that an ensemble names there are more than five times as many actives as by chance",
            lambda rows: every(screened(rows), "task", lambda r: above(r[r.subject == "dmpnn_ensemble"].ef1, 5)),
            source="Stokes et al. 2020",
        ),
        Claim(
            "An ensemble ranks activity better than a linear model of the formula",
            lambda rows: every(
                screened(rows), "task", lambda r: above(paired(r, "roc_auc", "dmpnn_ensemble", "formula_linear"), 0)
            ),
        ),
        Claim(
            "An ensemble ranks activity better than fingerprints with a forest",
            lambda rows: every(
                screened(rows), "task", lambda r: above(paired(r, "roc_auc", "dmpnn_ensemble", "fingerprint_forest"), 0)
            ),
        ),
        Claim(
            "In a library that it never saw, the ensemble puts what is sought into the first 5 %: "
            "the median active of a made library; halicin in the repurposing hub",
            lambda rows: every(ranked(rows), "task", lambda r: below(r[r.subject == "dmpnn_ensemble"]["rank"], 0.05)),
            source="Stokes et al. 2020",
        ),
        Control(
            "Trained on activities dealt out at random, a network ranks no better than chance: ROC-AUC below 0.65",
            lambda rows: every(screened(rows), "task", lambda r: below(r[r.subject == "dmpnn_shuffled"].roc_auc, 0.65)),
            kind="negative",
        ),
        Control(
            "The surroundings of atoms tell the property: linear on them, the error is 0.3 below that on the formula",
            lambda rows: below(paired(predicted(rows), "rmse", "fingerprint_linear", "formula_linear"), -0.3),
            kind="positive",
        ),
        Control(
            "Fingerprints tell activity: with a forest their ROC-AUC is above 0.7",
            lambda rows: every(
                screened(rows), "task", lambda r: above(r[r.subject == "fingerprint_forest"].roc_auc, 0.7)
            ),
            kind="positive",
        ),
        Control(
            "No test molecule is one that the models were fitted or chosen on",
            lambda rows: below(per_seed(rows, lambda r: r.leaked.max()), 0.5),
            kind="gate",
        ),
        Control(
            "At most one SMILES in a hundred is no molecule",
            lambda rows: below(per_seed(rows, lambda r: (r.unread / r.candidates).max()), 0.01),
            kind="gate",
        ),
        Control(
            "Within a task every arm was tuned with as many trials",
            lambda rows: below(per_seed(rows, most_extra_trials), 0.5),
            kind="gate",
        ),
    )

    references = (
        Reference(
            "roc_auc",
            0.896,
            "Stokes et al., Cell 180, 2020, doi:10.1016/j.cell.2020.01.021",
            where={"subject": "dmpnn_ensemble", "task": ECOLI_RANDOM},
            note="an ensemble with RDKit's descriptors beside the graph, which ours has not; read in a secondary copy",
        ),
    )

    def plot(self, rows, figure, artefacts):
        real = "task" in rows and rows.task.isin([ECOLI_RANDOM, ECOLI_SCAFFOLD]).any()
        made = not real or rows.task.isin([PROPERTY, LIBRARY]).any()
        sets = int(made) + int(real)
        figure.set_size_inches(11, 1.3 + 4.1 * sets)
        figure.set_layout_engine("constrained")
        parts = figure.subfigures(2 * sets, 1, height_ratios=[3.6, 1.5] * sets)
        if made:
            parity, found, reliable = parts[0].subplots(1, 3)
            draw_parity(parity, artefacts)
            draw_enrichment(found, artefacts, "library", "a made library, one in twenty active")
            draw_reliability(reliable, artefacts, "library", "its calibration")
            draw_first(parts[1], artefacts, "library")
        if real:
            areas, reliable, ranks = parts[-2].subplots(1, 3)
            draw_areas(areas, rows, self.references)
            draw_reliability(reliable, artefacts, "ecoli_0", "its calibration, random splits")
            draw_ranks(ranks, rows, artefacts)
            draw_first(parts[-1], artefacts, "hub")


# ------------------------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Task:
    """Molecules of which some train, some choose and some are asked for, in all the forms that arms read."""

    name: str
    graphs: Molecules
    views: Mapping[str, np.ndarray]  # "formula", and "fingerprint 1", "fingerprint 2" by radius: [n, columns]
    y: np.ndarray  # [n] float; activity 0 or 1, or the property; NaN where nobody knows
    activity: bool  # whether y is one
    train: np.ndarray  # numbers of molecules, as in the next two
    validation: np.ndarray
    test: np.ndarray
    identity: np.ndarray  # [n], equal for the same molecule
    sought: np.ndarray  # positions among the test molecules
    symbols: Sequence[str]  # what the atoms' first columns stand for
    unread: int = 0
    duplicates: int = 0

    def quality(self, scores: np.ndarray) -> float:
        """What validation chooses by: ROC-AUC, or the error of the property, negated; -inf where there is none."""
        y, scores = self.y[self.validation], scores[self.validation]
        found = roc_auc(y, scores) if self.activity else -rmse(y, scores)
        return -np.inf if np.isnan(found) else found

    def row(self, subject: str, scores: np.ndarray, trials: int) -> Measurement:
        """What the scores [test] of the test molecules are worth."""
        y = self.y[self.test]
        row = {
            "task": self.name,
            "subject": subject,
            "candidates": len(y),
            "unread": self.unread,
            "duplicates": self.duplicates,
            "leaked": int(np.isin(self.identity[self.test], self.identity[self.fitted]).sum()),
            "tuned_trials": trials,
        }
        if not self.activity:
            return row | {"rmse": rmse(y, scores), "mae": float(np.abs(y - scores).mean())}
        if len(self.sought):
            row["rank"] = float(np.median([share_ahead(scores, at) for at in self.sought]))
        if np.isnan(y).any():
            return row
        return row | {
            "roc_auc": roc_auc(y, scores),
            "pr_auc": average_precision(y, scores),
            "ef1": enrichment(y, scores, 0.01),
            "hits50": hits(y, scores, 50),
            "ece": calibration_error(y, scores),
        }

    @property
    def fitted(self) -> np.ndarray:
        return np.concatenate([self.train, self.validation])


class Outcome(NamedTuple):
    row: Measurement
    scores: np.ndarray  # [test]
    setting: Setting


def made_task(context: Context, train: int, test: int, activity: bool) -> Task:
    """Made molecules, none of them twice, in random order."""
    name = LIBRARY if activity else PROPERTY
    rng = context.rng(name)
    drawn = (
        made_molecules.library(rng, train + test, ACTIVES) if activity else made_molecules.distinct(rng, train + test)
    )
    made = list(drawn.values())
    if activity:
        y = np.array([float(made_molecules.active(one)) for one in made])
    else:
        y = np.array([made_molecules.property_of(one) for one in made])
        y += made_molecules.NOISE * rng.normal(size=len(y))
    order = rng.permutation(train + test)
    fingerprints = made_molecules.fingerprints(made, radii=(1, 2))
    return Task(
        name,
        made_molecules.graphs(made),
        {f"fingerprint {radius}": table for radius, table in fingerprints.items()}
        | {"formula": made_molecules.formulas(made)},
        y,
        activity,
        *np.split(order, [train - train // 5, train]),
        identity=np.array(list(drawn)),
        sought=np.flatnonzero(y[order[train:]] == 1) if activity else np.arange(0),
        symbols="CNOF",
        unread=sum(not one.valid for one in made),
    )


@dataclass(frozen=True)
class Records:
    """A published set, each molecule once."""

    molecules: Sequence[Any]  # RDKit's
    y: np.ndarray  # [n], NaN where nothing was measured
    identity: np.ndarray  # [n]
    unread: Sequence[smiles.Unread]
    duplicates: int

    @classmethod
    def read(cls, name: str, context: Context) -> Records:
        """The set, its duplicates joined: active where any record of a molecule is."""
        data = context.data(name)
        molecules, kept, unread = smiles.parse(data["smiles"], data["line"])
        y = data["y"][kept].astype(float) if "y" in data else np.full(len(kept), np.nan)
        keys = smiles.identities(molecules)
        identity, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        most = np.full(len(identity), np.nan)
        np.fmax.at(most, inverse, y)  # of NaN and a number, the number
        return cls([molecules[i] for i in first], most, identity, unread, len(keys) - len(first))

    def without(self, other: Records) -> Records:
        """What the other set has not."""
        new = np.flatnonzero(~np.isin(self.identity, other.identity))
        molecules = [self.molecules[i] for i in new]
        gone = len(self.y) - len(new)
        return Records(molecules, self.y[new], self.identity[new], self.unread, self.duplicates + gone)

    def joined(self, other: Records) -> Records:
        """This set, then the other."""
        return Records(
            [*self.molecules, *other.molecules],
            np.concatenate([self.y, other.y]),
            np.concatenate([self.identity, other.identity]),
            [*self.unread, *other.unread],
            self.duplicates + other.duplicates,
        )

    def task(self, name: str, train: np.ndarray, validation: np.ndarray, test: np.ndarray, context: Context) -> Task:
        """In all forms."""
        graphs = smiles.featurised(self.molecules)
        elements = graphs.atoms[:, : len(smiles.ELEMENTS) + 1]
        views = {f"fingerprint {radius}": smiles.morgan(self.molecules, radius) for radius in (1, 2)}
        return Task(
            name,
            graphs,
            views | {"formula": np.add.reduceat(elements, graphs.atom_ptr[:-1])},
            self.y,
            True,
            *(train, validation, test),
            identity=self.identity,
            sought=np.arange(0),
            symbols=SYMBOLS,
            unread=len(self.unread),
            duplicates=self.duplicates,
        )


# -------------------------------------------------------------------------------------------------------------- arms


class Network(NamedTuple):
    """What a network is, and sees: bonds ``given``, ``permuted`` or ``none``; labels ``given`` or ``shuffled``."""

    bonds: str = "given"
    labels: str = "given"
    kind: str = "dmpnn"


class Job(NamedTuple):
    """One model to be fitted; members differ in their first weights."""

    subject: str
    setting: Setting
    member: int = 0


class MoleculeNet(nn.Module):
    """Messages on directed bonds, atoms to one row a molecule, two layers: chemprop's shape."""

    def __init__(self, atom_features: int, bond_features: int, study: MPNNMolecules, *readouts: str) -> None:
        super().__init__()
        self.messages = self.on_atoms(atom_features, bond_features, study)
        self.first = nn.Linear(study.hidden, study.hidden)
        self.second = nn.Linear(study.hidden, 1)
        self.readouts = readouts

    def on_atoms(self, atom_features: int, bond_features: int, study: MPNNMolecules) -> nn.Module:
        return DMPNN(atom_features, bond_features, study.hidden, study.steps)

    def forward(self, batch: Batch) -> Tensor:
        h = self.messages(batch.atoms, batch.graph, batch.edges, batch.bonds)  # [atoms, networks * hidden]
        parts = zip(h.chunk(len(self.readouts), dim=1), self.readouts, strict=True)
        h = torch.cat([segment_reduce(part, batch.atom_ptr, readout) for part, readout in parts], dim=1)
        return self.second(self.first(h).relu())  # [molecules, networks]

    @staticmethod
    def together(nets: Sequence[MoleculeNet]) -> MoleculeNet:
        """One network that gives what all of them give, a column each: what is done once a step is done once for all.

        Adam moves each weight by itself, so trained on the sum of their losses each becomes what it would become alone.
        """
        whole = copy.deepcopy(nets[0])
        whole.readouts = tuple(readout for net in nets for readout in net.readouts)
        for name, shared in nets[0].shared().items():
            whole.set_submodule(name, Blocks([net.get_submodule(name) for net in nets], shared))
        return whole

    def shared(self) -> dict[str, int | None]:
        """Its linear maps, and how many of the columns that they read are the same for networks side by side."""
        atoms = self.messages.finish.in_features - self.messages.finish.out_features
        of_messages = {"messages.start": None, "messages.update": 0, "messages.finish": atoms}
        return of_messages | {"first": 0, "second": 0}


class Sums(nn.Module):
    """GIN on the atoms, batch normalisation behind every linear map of its layers; what bonds are is not read."""

    def __init__(self, atom_features: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.embed = nn.Linear(atom_features, hidden)
        self.convs = nn.ModuleList(
            GINConv(nn.Sequential(*self.layer(hidden), *self.layer(hidden))) for _ in range(steps)
        )

    @staticmethod
    def layer(hidden: int) -> tuple[nn.Module, ...]:
        return nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU()

    def forward(self, x: Tensor, graph: Graph, edges: Tensor, bonds: Graph) -> Tensor:
        h = self.embed(x)
        for conv in self.convs:
            h = conv(h, graph)
        return h


class GINNet(MoleculeNet):
    """The same with sums over bonded atoms in the place of messages."""

    def on_atoms(self, atom_features: int, bond_features: int, study: MPNNMolecules) -> nn.Module:
        return Sums(atom_features, study.hidden, study.steps)

    def shared(self) -> dict[str, int | None]:
        of_layers = {f"messages.convs.{i}.net.{j}": 0 for i in range(len(self.messages.convs)) for j in (0, 3)}
        return {"messages.embed": None} | of_layers | {"first": 0, "second": 0}

    @staticmethod
    def together(nets: Sequence[MoleculeNet]) -> MoleculeNet:
        whole = MoleculeNet.together(nets)
        for name, module in nets[0].named_modules():
            if isinstance(module, nn.BatchNorm1d):  # normalises every column by itself; as new as theirs
                whole.set_submodule(name, nn.BatchNorm1d(len(nets) * module.num_features))
        return whole


class AttentiveNet(nn.Module):
    """Attentive FP, which reads molecules out by itself, starting from a readout; the same two layers behind it."""

    def __init__(self, atom_features: int, bond_features: int, study: MPNNMolecules, readout: str) -> None:
        super().__init__()
        self.messages = AttentiveFP(atom_features, bond_features, study.hidden, study.steps, start=readout)
        self.first = nn.Linear(study.hidden, study.hidden)
        self.second = nn.Linear(study.hidden, 1)

    def forward(self, batch: Batch) -> Tensor:
        h = self.messages(batch.atoms, batch.graph, batch.edges, batch.atom_ptr)
        return self.second(self.first(h).relu())  # [molecules, 1]

    @staticmethod
    def together(nets: Sequence[AttentiveNet]) -> nn.Module:
        return OneByOne(nets)


class OneByOne(nn.Module):
    """What some networks give, a column each."""

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, batch: Batch) -> Tensor:
        return torch.cat([net(batch) for net in self.nets], dim=1)


KINDS = {"dmpnn": MoleculeNet, "gin": GINNet, "attentive_fp": AttentiveNet}


class Blocks(nn.Module):
    """Linear maps side by side: all read the first ``shared`` columns (None: all), and each its own of the others."""

    def __init__(self, maps: Sequence[nn.Linear], shared: int | None) -> None:
        super().__init__()
        self.shared = maps[0].in_features if shared is None else shared
        self.weight = nn.Parameter(torch.stack([one.weight.detach() for one in maps]))  # [maps, out, in]
        biases = [one.bias.detach() for one in maps if one.bias is not None]
        self.bias = nn.Parameter(torch.cat(biases)) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        sizes = [self.shared, self.weight.shape[2] - self.shared]
        if not sizes[1]:
            return functional.linear(x, self.weight.flatten(0, 1), self.bias)  # [n, maps * out]
        common, own = x.split([self.shared, x.shape[1] - self.shared], dim=1)
        of_common, of_own = self.weight.split(sizes, dim=2)
        maps = zip(own.chunk(len(self.weight), dim=1), of_own, strict=True)
        out = torch.cat([functional.linear(part, weight) for part, weight in maps], dim=1)
        if self.shared:
            return out + functional.linear(common, of_common.flatten(0, 1), self.bias)
        return out if self.bias is None else out + self.bias


class Batch(NamedTuple):
    atoms: Tensor
    graph: Graph
    edges: Tensor  # features of directed bonds
    bonds: Graph  # which of these hear of which
    atom_ptr: Tensor

    @classmethod
    def of(cls, molecules: Molecules, device: str) -> Batch:
        bonds, features = len(molecules.bond_features), torch.from_numpy(molecules.bond_features)
        graph = Graph.from_edge_index(torch.from_numpy(molecules.edge_index()), len(molecules.atoms))
        return cls(
            torch.from_numpy(molecules.atoms).to(device),
            graph.to(device),
            torch.cat([features, features]).to(device),
            bond_graph(graph, reverse=torch.arange(2 * bonds).roll(bonds)).to(device),
            torch.from_numpy(molecules.atom_ptr).to(device),
        )


def networks(
    jobs: Sequence[Job], bonds: str, task: Task, study: MPNNMolecules, context: Context
) -> Iterator[np.ndarray]:
    """Scores [n] for every job: Adam, its rate rising and falling once, batches in random order, the same for all."""
    graphs = task.graphs
    if bonds == "none":
        graphs = bag_of_atoms(graphs)
    elif bonds == "permuted":
        graphs = rewired(graphs, context.rng("rewired", task.name))
    known = task.y[task.train]
    shift, scale = (0.0, 1.0) if task.activity else (known.mean(), known.std())
    labels = {"given": known, "shuffled": context.rng("shuffled", task.name).permutation(known)}
    targets = torch.full((len(task.y), len(jobs)), torch.nan)
    for column, job in enumerate(jobs):
        targets[task.train, column] = torch.from_numpy((labels[ARMS[job.subject].labels] - shift) / scale).float()
    kind, nets = KINDS[ARMS[jobs[0].subject].kind], []
    for job in jobs:
        with context.seeded("fit", task.name, job.member):  # the same first weights for every arm of one shape
            nets.append(kind(graphs.atoms.shape[1], graphs.bond_features.shape[1], study, job.setting.readout))
    net = kind.together(nets).to(context.device)
    loss = functional.binary_cross_entropy_with_logits if task.activity else functional.mse_loss
    optimiser = torch.optim.Adam(net.parameters(), lr=study.learning_rate, fused=True)
    steps = study.epochs * -(-len(task.train) // study.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, study.learning_rate, total_steps=steps)
    rng = context.rng("batches", task.name)
    for _ in range(study.epochs):
        order = rng.permutation(task.train)
        for start in range(0, len(order), study.batch):
            chosen = order[start : start + study.batch]
            optimiser.zero_grad()
            batch = Batch.of(graphs.take(chosen), context.device)
            net.train(len(batch.atoms) > 1)  # of one atom no deviation can be taken
            out = net(batch)
            (len(jobs) * loss(out, targets[chosen].to(context.device))).backward()  # the sum of their means
            optimiser.step()
            schedule.step()
    scores = np.full((len(task.y), len(jobs)), np.nan)
    asked = np.concatenate([task.validation, task.test])
    net.eval()
    with torch.no_grad():
        for start in range(0, len(asked), 512):
            chosen = asked[start : start + 512]
            out = net(Batch.of(graphs.take(chosen), context.device)).double().cpu()
            scores[chosen] = (out.sigmoid() if task.activity else out * scale + shift).numpy()
    yield from scores.T


def bag_of_atoms(graphs: Molecules) -> Molecules:
    """The same atoms without bonds."""
    nothing = np.zeros_like(graphs.bond_ptr)
    return replace(graphs, bonds=graphs.bonds[:, :0], bond_features=graphs.bond_features[:0], bond_ptr=nothing)


def rewired(graphs: Molecules, rng: np.random.Generator) -> Molecules:
    """Within each molecule atoms change places: formula, bonds and rings stay, but not who is bonded to whom."""
    owner = np.repeat(np.arange(len(graphs)), np.diff(graphs.atom_ptr))
    return replace(graphs, atoms=graphs.atoms[np.lexsort((rng.random(len(owner)), owner))])


def linear(task: Task, setting: Setting, study: MPNNMolecules, context: Context, view: str) -> np.ndarray:
    """Ridge or logistic regression on standardised columns."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegression(C=1 / setting.penalty, max_iter=1000) if task.activity else Ridge(setting.penalty)
    return fitted_scores(make_pipeline(StandardScaler(), model), task, columns(task, setting, view))


def forest(task: Task, setting: Setting, study: MPNNMolecules, context: Context) -> np.ndarray:
    """A random forest on fingerprints."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestClassifier if task.activity else RandomForestRegressor
    model = kind(
        study.trees,
        min_samples_leaf=setting.leaf,
        max_features="sqrt" if task.activity else 0.33,
        random_state=context.integer("forest", task.name) % 2**32,
    )
    return fitted_scores(model, task, columns(task, setting, "fingerprint"))


def columns(task: Task, setting: Setting, view: str) -> np.ndarray:
    """What a model without a graph reads of every molecule."""
    return task.views[f"fingerprint {setting.radius}" if view == "fingerprint" else view]


def fitted_scores(model: Any, task: Task, x: np.ndarray) -> np.ndarray:
    """Scores [n] of one of scikit-learn's models, of which only the test and validation ones are of use."""
    model.fit(x[task.train], task.y[task.train])
    return model.predict_proba(x)[:, 1] if task.activity else model.predict(x)


ARMS: dict[str, Network | Callable[[Task, Setting, MPNNMolecules, Context], np.ndarray]] = {
    "dmpnn": Network(),
    "dmpnn_rewired": Network(bonds="permuted"),
    "dmpnn_shuffled": Network(labels="shuffled"),
    "atoms_net": Network(bonds="none"),
    "gin": Network(kind="gin"),
    "attentive_fp": Network(kind="attentive_fp"),
    "formula_linear": partial(linear, view="formula"),
    "fingerprint_linear": partial(linear, view="fingerprint"),
    "fingerprint_forest": forest,
}
PLAIN = ("dmpnn", "atoms_net", "formula_linear", "fingerprint_linear", "fingerprint_forest")


# ----------------------------------------------------------------------------------------------------------- metrics


def rmse(y: np.ndarray, scores: np.ndarray) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean((y - scores) ** 2)))


def roc_auc(y: np.ndarray, scores: np.ndarray) -> float:
    """Chance that an active stands before an inactive, ties counted half; NaN where there are not both."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, scores)) if len(set(y.tolist())) == 2 else float("nan")


def average_precision(y: np.ndarray, scores: np.ndarray) -> float:
    """Precision, averaged over the actives from the first to the last; NaN where there is none."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(y, scores)) if y.any() else float("nan")


def enrichment(y: np.ndarray, scores: np.ndarray, share: float) -> float:
    """Actives in the first share of the list over what chance would put there; NaN where there is none."""
    first = int(np.ceil(share * len(y)))
    return float(hits(y, scores, first) / (first * y.mean())) if y.any() else float("nan")


def hits(y: np.ndarray, scores: np.ndarray, first: int) -> float:
    """Actives among the first of the list; of equal scores each has the same chance to be there."""
    first = min(first, len(y))
    bar = np.sort(scores)[-first]
    sure, level = scores > bar, scores == bar
    return float(y[sure].sum() + (first - sure.sum()) * y[level].mean())


def share_ahead(scores: np.ndarray, at: int) -> float:
    """Share of the others that stand before one, ties counted half."""
    ahead = (scores > scores[at]).sum() + ((scores == scores[at]).sum() - 1) / 2
    return float(ahead / max(len(scores) - 1, 1))


def reliability(y: np.ndarray, p: np.ndarray, bins: int = 10) -> np.ndarray:
    """Molecules, summed probabilities of activity and actives in bins of one width, [3, bins]."""
    place = np.minimum((p * bins).astype(int), bins - 1)
    return np.stack([np.bincount(place, each, minlength=bins) for each in (np.ones_like(p), p, y)])


def calibration_error(y: np.ndarray, p: np.ndarray) -> float:
    """How far the share of actives is from the mean probability, over the bins, weighted by their numbers."""
    molecules, expected, actives = reliability(y, p)
    return float(np.abs(actives - expected).sum() / molecules.sum())


# ---------------------------------------------------------------------------------------------------------- picture

COLOURS = {  # Okabe & Ito
    "dmpnn_ensemble": "#0072B2",
    "dmpnn": "#56B4E9",
    "fingerprint_forest": "#D55E00",
    "fingerprint_linear": "#E69F00",
    "gin": "#000000",
    "attentive_fp": "#8C510A",
    "atoms_net": "#009E73",
    "formula_linear": "#CC79A7",
    "dmpnn_shuffled": "0.6",
}
CALIBRATED = ("dmpnn_ensemble", "fingerprint_forest", "fingerprint_linear", "formula_linear")  # of the diagram
ELEMENT_COLOURS = {"N": "#0072B2", "O": "#D55E00", "S": "#A6761D", "F": "#009E73", "Cl": "#009E73", "Br": "#8C510A"}
LEGEND = {"frameon": False, "fontsize": 8, "handletextpad": 0.4}


def keep_found(context: Context, name: str, task: Task, outcomes: Mapping[str, Outcome]) -> None:
    """For the picture: the activities of the test molecules in the order of each arm's list; what it expected."""
    y = task.y[task.test]
    for subject, outcome in outcomes.items():
        order = np.argsort(-outcome.scores, kind="stable")
        context.keep(f"{name}_{subject}", y[order].astype(bool))
        if subject in CALIBRATED:
            context.keep(f"{name}_{subject}_reliability", reliability(y, outcome.scores))


def keep_first(context: Context, name: str, task: Task, scores: np.ndarray) -> None:
    """For the picture: the molecules at the head of a list."""
    chosen = task.test[np.argsort(-scores, kind="stable")[:FIRST]]
    first = task.graphs.take(chosen)
    elements = first.atoms[:, : len(task.symbols)].argmax(axis=1)
    context.keep(f"{name}_first_atoms", np.array([task.symbols[element] for element in elements], dtype="U2"))
    context.keep(f"{name}_first_orders", first.bond_features[:, :4].argmax(axis=1) + 1)
    context.keep(f"{name}_first_active", task.y[chosen])
    for part in ("bonds", "atom_ptr", "bond_ptr"):
        context.keep(f"{name}_first_{part}", getattr(first, part))


def draw_parity(axes, artefacts) -> None:
    """Predicted over true property, of one seed."""
    axes.set_title("the property of made molecules", fontsize=10)
    axes.set(xlabel="true", ylabel="predicted")
    shown = [("formula_linear", "the formula alone"), ("dmpnn", "messages over bonds")]
    seeds = [seed for seed, kept in artefacts.items() if all(f"property_{subject}" in kept for subject, _ in shown)]
    if not seeds:
        return
    for subject, words in shown:
        true, predicted = artefacts[min(seeds)][f"property_{subject}"]
        label = f"{words}: RMSE {rmse(true, predicted):.2f}"
        axes.plot(true, predicted, ".", color=COLOURS[subject], markersize=2, alpha=0.5, rasterized=True)
        axes.plot([], [], ".", color=COLOURS[subject], markersize=8, label=label)
    axes.axline((0, 0), slope=1, color="0.4", linewidth=0.8)
    axes.legend(loc="upper left", **LEGEND)


def draw_enrichment(axes, artefacts, name: str, title: str) -> None:
    """Share of the actives found over share of the library tested, the mean over seeds."""
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="share of the library tested", ylabel="share of its actives found", xscale="log", ylim=(0, 1.02))
    share = np.geomspace(0.001, 1, 200)
    axes.plot(share, share, ":", color="0.5", linewidth=1, label="chance")
    for subject, colour in COLOURS.items():
        lists = [kept[f"{name}_{subject}"] for kept in artefacts.values() if f"{name}_{subject}" in kept]
        curves = [np.interp(share, np.arange(len(y) + 1) / len(y), np.cumsum([0, *y]) / max(y.sum(), 1)) for y in lists]
        if curves:
            axes.plot(share, np.mean(curves, axis=0), color=colour, linewidth=1.4, label=subject)
    axes.set_xlim(0.005, 1)
    axes.legend(loc="upper left", **LEGEND)


def draw_reliability(axes, artefacts, name: str, title: str) -> None:
    """Share of actives over the mean probability of activity in ten bins, all seeds together; the area tells how many.

    On the diagonal an arm's probabilities are what they say. Bins with fewer than ten molecules are left out.
    """
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="probability of activity", ylabel="share that is active", xlim=(0, 1), ylim=(0, 1))
    axes.axline((0, 0), slope=1, color="0.4", linewidth=0.8)
    for subject in CALIBRATED:
        kept_name = f"{name}_{subject}_reliability"
        found = [kept[kept_name] for kept in artefacts.values() if kept_name in kept]
        if not found:
            continue
        whole = np.sum(found, axis=0)
        molecules, expected, actives = whole[:, whole[0] >= 10]
        style = {"color": COLOURS[subject], "label": subject}
        axes.plot(expected / molecules, actives / molecules, linewidth=1.2, **style)
        area = 6 + 80 * molecules / whole[0].sum()
        axes.scatter(expected / molecules, actives / molecules, s=area, color=COLOURS[subject])
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", **LEGEND)


def draw_first(figure, artefacts, name: str) -> None:
    """The molecules that one seed's ensemble names first, without hydrogens; aromatic bonds as single ones."""
    kept = next((kept for _, kept in sorted(artefacts.items()) if f"{name}_first_atoms" in kept), None)
    axes = figure.subplots(1, FIRST)
    for one in axes:
        one.set_axis_off()
    if kept is None:
        return
    words = {"library": "the made molecules that an ensemble names first", "hub": "the drugs that it names first"}
    figure.suptitle(f"{words[name]}, one seed", fontsize=10)
    atoms, orders, active, bonds, atom_ptr, bond_ptr = (
        kept[f"{name}_first_{part}"] for part in ("atoms", "orders", "active", "bonds", "atom_ptr", "bond_ptr")
    )
    for i, one in enumerate(axes[: len(active)]):
        symbols = atoms[atom_ptr[i] : atom_ptr[i + 1]]
        own = slice(bond_ptr[i], bond_ptr[i + 1])
        xy = flat_layout(len(symbols), bonds[:, own])
        for (a, b), order in zip(bonds[:, own].T, orders[own], strict=True):
            across = 0.08 * np.array([xy[a, 1] - xy[b, 1], xy[b, 0] - xy[a, 0]])
            for side in {1: (0,), 2: (-1, 1), 3: (-1.6, 0, 1.6)}.get(int(order), (0,)):
                one.plot(*(xy[[a, b]] + side * across).T, color="0.45", linewidth=0.9, zorder=1)
        for (x, y), symbol in zip(xy, symbols, strict=True):
            if symbol != "C":
                colour = ELEMENT_COLOURS.get(str(symbol), "0.2")
                box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
                one.text(x, y, symbol, fontsize=7, color=colour, ha="center", va="center", bbox=box)
        one.set_aspect("equal")
        one.margins(0.12)
        if not np.isnan(active[i]):
            one.set_title("active" if active[i] else "inactive", fontsize=8, color="0.2" if active[i] else "#D55E00")


def flat_layout(atoms: int, bonds: np.ndarray, rounds: int = 150) -> np.ndarray:
    """Positions [n, 2] whose distances are those along the bonds as nearly as may be: stress majorisation (SMACOF)."""
    apart = made_molecules.distances(atoms, bonds)
    apart = np.where(np.isinf(apart), np.sqrt(atoms) + 1, apart)  # of parts of a salt
    weight = 1 / np.maximum(apart, 1) ** 2 * (1 - np.eye(atoms))
    inverse = np.linalg.pinv(np.diag(weight.sum(axis=1)) - weight)
    xy = np.random.default_rng(0).normal(size=(atoms, 2))
    for _ in range(rounds):
        now = np.linalg.norm(xy[:, None] - xy[None], axis=2)
        pull = weight * apart / np.maximum(now, 1e-9)
        xy = inverse @ ((np.diag(pull.sum(axis=1)) - pull) @ xy)
    return xy


def draw_areas(axes, rows, references) -> None:
    """ROC-AUC of every arm on both splits of the E. coli screen, with 95 % intervals over seeds."""
    axes.set_title("the E. coli screen", fontsize=10)
    axes.set(xlabel="ROC-AUC on the test molecules", xlim=(0.3, 1), yticks=range(len(COLOURS)))
    axes.set_yticklabels([subject.replace("_", "\n") for subject in COLOURS], fontsize=8)
    axes.invert_yaxis()
    for task, words, marker, shift in (
        (ECOLI_RANDOM, "random splits", "o", -0.15),
        (ECOLI_SCAFFOLD, "scaffold splits", "s", 0.15),
    ):
        axes.plot([], [], marker, color="0.4", markersize=4, label=words)
        for y, (subject, colour) in enumerate(COLOURS.items()):
            found = rows[(rows.task == task) & (rows.subject == subject)].roc_auc.dropna()
            draw_interval(axes, found, y + shift, marker, colour)
    for reference in references:
        y = list(COLOURS).index(reference.where["subject"])
        axes.plot(reference.value, y - 0.15, "k|", markersize=10, label="published")
    axes.legend(loc="upper left", **LEGEND)


def draw_ranks(axes, rows, artefacts) -> None:
    """Where each arm puts halicin in the hub, one dot a seed; and what could not be read."""
    axes.set_title("halicin in the repurposing hub, one dot a seed", fontsize=10)
    shown = [subject for subject in COLOURS if subject != "dmpnn_shuffled"]
    axes.set(xlabel="share of the library ahead of it", xscale="log", yticks=range(len(shown)))
    axes.set_yticklabels([subject.replace("_", "\n") for subject in shown], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0.05, color="0.6", linestyle=":", zorder=0)
    hub = rows[rows.task == HUB]
    for y, subject in enumerate(shown):
        ranks = hub[hub.subject == subject].get("rank")
        if ranks is not None:
            axes.plot(ranks.clip(lower=1e-4), [y] * len(ranks), "o", color=COLOURS[subject], markersize=5, alpha=0.7)
    axes.set_xlim(1e-4, 1)
    unread = sorted({str(where) for kept in artefacts.values() for where in kept.get("unread", ())})
    if unread:
        axes.set_title(f"no molecule: {'; '.join(unread[:3])}", fontsize=7, color="0.4", loc="right", y=-0.27)


def draw_interval(axes, values, y: float, marker: str, colour: str) -> None:
    """A mean with its 95 % interval, lying down."""
    from dlbench import stats

    estimate, low, high, n = stats.t_interval(values)
    if n > 1:
        axes.plot(np.clip([low, high], 0, 1), [y, y], color=colour, linewidth=1.5)
    if n:
        axes.plot(estimate, y, marker, color=colour, markersize=4)
