"""A model that is trained once grows stale as the world changes, and fails first where it changed.

Three worlds that change, with equally many labels in each step, known one step later:

- *boundary*: ten Gaussian inputs and a boundary that turns by 90° over 20 steps. The inputs look the same all the time;
- *digits*: handwritten digits that turn by as much, as slowly;
- *roads*: a car that learnt to drive in a town by imitation, from what it sees within two cells and the direction of
  its goal. Then a barrier stands across one road. Three in four of the 600 drives between junctions are shown to it,
  and the others test it, in the town before and after.

In each: a *frozen* network; *retrained* from scratch on the latest labels, as many as the frozen one had, so that new
and not more data is what helps; *fine_tuned* on them from the weights of the step before; the same with elastic weight
consolidation (*ewc*, Kirkpatrick et al. 2017), which holds on to the past; an *ensemble* of the latest retrained
networks (of frozen ones in the town); and, without any new label, adaptation at test time by entropy (*tent*, Wang et
al., ICLR 2021) and by training on one's own answers (*self_trained*, Kumar et al., ICML 2020) for the digits alone,
because the boundary's inputs tell nothing of its turn. Every subject has three settings, of which validation data
chooses: of the frozen one that of the step in which it is trained, of the others that of the first five steps, in the
town a fifth of the drives that are shown. Later steps choose nothing, and the test decides nothing.

"Where the map changed" are the drives whose way before led over the barrier's cell. Whoever drives on as before must
crash in all of these and in none of the others, so that a frozen driver's 1 and 0 say no more than that the sight of
the barrier did not warn him. Which share of them he crashes in after today's drives is not known beforehand.

The controls: a world that stands still, where a frozen network must not decay; a boundary that ends at right angles to
where it was, where it must be at chance; the old town, where the car must keep to the road.

The lecture shows the accident of 23 March 2018 in Mountain View, where a car on autopilot hit a barrier at 71 mph, as
one of stale data. The report of the NTSB (HWY18FH011) does not say so. It names faded lane lines, the sun's glare, a
distracted driver, and a crash attenuator that had been damaged 11 days before and was not yet repaired; missing map
data is not among its findings. That its driver had complained of the place before is reported. The accident is only an
illustration here: nothing below models it.

Version 1 had networks that were not trained to the end: seeds 0 to 5 left its gate on them undecided. Version 2 has
three times the learning rate, chosen on seeds from 100 on. Version 3 tests digits on other images in each step: on the
same ones a frozen network could not but stay as it was where they stood still. Version 4 tests cars on drives that they
were not shown; before, on all, with those of the training among them. No rule has changed.

Not covered: Yearbook and FMoW, Wild-Time's own data; ``full`` turns MNIST's digits. Wild-Time's fall of 20 % on average
over its data sets stands beside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    contains,
    draw_means,
    equivalent,
    one_of,
    paired,
    slope,
    where,
)
from dlbench_plugins.failures import roads
from dlbench_plugins.failures.renewal import RATE, Anchor, Way, answer, network, share, train

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbench import Artefacts

STEPS = 20
TURN = math.pi / 2  # in all
DIMENSIONS, LABEL_NOISE = 10, 0.2
CHOSEN_BY = range(1, 6)  # the steps whose validation data chooses settings
L2 = (0.0, 1e-3, 1e-2)
RATES = (RATE / 3, RATE, 3 * RATE)
ELASTICITY = (1.0, 10.0, 100.0)
MEMBERS = (2, 3, 5)  # of an ensemble
TRIALS = 3


@dataclass(frozen=True)
class StaleData(Experiment):
    """Accuracy step by step of models that are renewed in various ways or not at all, while the world changes."""

    worlds: tuple[str, ...] = one_of("boundary", "digits", "roads", default=("boundary", "digits", "roads"))
    dataset: str = one_of("digits", "mnist", default="digits")
    labels: int = between(10, 10**6, default=400)  # in each step
    test_points: int = between(100, 10**6, default=4000)
    hidden: int = between(2, 4096, default=32)
    # of a network trained from scratch, of a driver eight times as many (few drives pass the barrier, each turns once);
    # to go on with a network a sixth, with a driver as many
    updates: int = between(1, 10**6, default=100)
    batch: int = between(1, 10**5, default=48)
    drives: int = between(10, 500, default=450)  # in training, of the 600 that there are; the others test

    title = "A model trained once grows stale as the world changes"
    chapter = "failures"
    version = 4
    sources = (
        "Yao et al., Wild-Time: a benchmark of in-the-wild distribution shift over time, NeurIPS 2022",
        "Kirkpatrick et al., Overcoming catastrophic forgetting in neural networks, PNAS 2017",
        "Wang et al., Tent: fully test-time adaptation by entropy minimization, ICLR 2021",
        "Kumar et al., Understanding self-training for gradual domain adaptation, ICML 2020",
        "NTSB, Collision between a sport utility vehicle operating with partial driving automation and a crash "
        "attenuator, HWY18FH011",
    )
    metrics = {
        "accuracy": Metric("share of right answers; of drives, that arrive", better="higher", main=True, low=0, high=1),
        "off_road": Metric("share of drives that end off the road", better="lower", low=0, high=1),
        "noticed": Metric("first step whose labels show that the accuracy fell; 21: none", "steps", low=0, high=21),
        "drop": Metric("accuracy at the start less the mean of what follows", better="lower", low=-1, high=1),
    }
    presets = {
        "quick": {},
        "mnist": {"dataset": "mnist", "labels": 1500, "hidden": 64, "updates": 300},
        "full": {
            "dataset": "mnist",
            "labels": 4000,
            "test_points": 20_000,
            "hidden": 256,
            "updates": 1500,
            "drives": 500,
        },
    }
    references = (
        Reference(
            "drop",
            0.2,
            "Yao et al. 2022",
            {"subject": "erm", "world": "wild_time"},
            note="relative fall from in- to out-of-distribution, mean over its data sets; none of 13 methods closes it",
        ),
    )

    def datasets(self) -> tuple[str, ...]:
        return (self.dataset,) if "digits" in self.worlds else ()

    def trial(self, context: Context) -> Iterator[Measurement]:
        make = {"boundary": boundary, "digits": turning_digits}
        for done, world in enumerate(self.worlds):
            context.progress(done / len(self.worlds), world)
            if world in make:
                yield from self._stream(
                    world, *(make[world](self, moving, context) for moving in (True, False)), context
                )
            else:
                yield from self._roads(context)

    def _stream(self, world: str, moving: Stream, still: Stream, context: Context) -> Iterator[Measurement]:
        """Every subject while the world moves; the same frozen network while it stands still."""
        for subject, settings in self.renewed(moving, context).items():
            steps = (0,) if subject == "frozen" else CHOSEN_BY

            def validated(members: Members, steps: Sequence[int] = steps) -> float:
                return float(np.mean([share(members(t), moving.valid_x[t], moving.valid_y[t]) for t in steps]))

            chosen = max(settings, key=validated)
            for drift, stream in (("moving", moving), ("still", still)):
                if drift == "still" and subject != "frozen":
                    continue
                accuracy = [share(chosen(t), stream.test_x[t], stream.test_y[t]) for t in range(STEPS + 1)]
                common = {"subject": subject, "world": world, "drift": drift, "routes": "-"}
                for t, value in enumerate(accuracy):
                    yield {
                        **common,
                        "time": t,
                        "accuracy": value,
                        **(summary(accuracy, chosen, stream) if not t else {}),
                    }

    def renewed(self, stream: Stream, context: Context) -> dict[str, list[Members]]:
        """Subject → for each of its settings, whom it asks at a step.

        At step t the labels of the steps before are known; all subjects begin with those of step 0.
        """
        with context.seeded("init"):
            first = network(stream.x.shape[-1], self.hidden, stream.classes)
        ways = [Way(l2=l2) for l2 in L2 for _ in range(STEPS)]
        # one network for each setting and each step's labels
        x, y = (part[:STEPS].repeat(TRIALS, *[1] * (part.dim() - 1)) for part in (stream.x, stream.y))
        nets = train([first] * len(ways), x, y, ways, self.updates, self.batch, context)
        single = [[nets[k * STEPS + t] for t in range(STEPS)] for k in range(TRIALS)]
        led = {
            "fine_tuned": [Way(rate) for rate in RATES],
            "ewc": [Way(elasticity=strength) for strength in ELASTICITY],
        }
        if stream.inputs_turn:
            led |= {teacher: [Way(rate, teacher=teacher) for rate in RATES] for teacher in ("self_trained", "tent")}
        snapshots = self.follow(single[1][0], [way for ways in led.values() for way in ways], stream, context)
        return {
            "frozen": [lambda t, of=of: of[:1] for of in single],
            "retrained": [lambda t, of=of: of[max(t - 1, 0) : max(t, 1)] for of in single],
            "ensemble": [lambda t, n=n: single[1][max(t - n, 0) : max(t, 1)] for n in MEMBERS],
            **{
                subject: [lambda t, k=k: [snapshots[t][k]] for k in range(i * TRIALS, (i + 1) * TRIALS)]
                for i, subject in enumerate(led)
            },
        }

    def follow(self, first: nn.Module, ways: Sequence[Way], stream: Stream, context: Context) -> list[list[nn.Module]]:
        """[steps][ways]: networks led along the stream from the first, by the labels of the step before or by none."""
        nets, anchor = [first] * len(ways), None
        snapshots = [nets]
        labelled = torch.tensor([way.teacher == "labels" for way in ways], device=stream.x.device).long()
        for t in range(1, STEPS + 1):
            anchor = Anchor.after(nets, ways, stream.x[t - 1], stream.y[t - 1], anchor)
            at = t - labelled  # inputs are there at once, labels a step later
            updates = max(self.updates // 6, 1)
            stack = train(
                nets, stream.x[at], stream.y[at], ways, updates, self.batch, context, "step", t, anchor=anchor
            )
            nets = [stack[k] for k in range(len(ways))]
            snapshots.append(nets)
        return snapshots

    def _roads(self, context: Context) -> Iterator[Measurement]:
        old = roads.town()
        new, barrier = roads.with_barrier(old, context.rng("barrier"))
        everything = roads.all_drives()
        order = context.rng("drives").permutation(len(everything.start))
        known, tested = (
            roads.Drive(everything.start[part], everything.goal[part]) for part in np.split(order, [self.drives])
        )
        concerned = roads.expert(old, tested).visited[:, barrier[0], barrier[1]]
        context.keep("town", old)
        context.keep("barrier", np.array(barrier))
        context.keep("tested", np.array(len(concerned)))
        for subject, members in self.drivers(roads.expert(old, known), roads.expert(new, known), context).items():
            for drift, road in (("still", old), ("moving", new)):
                driven = roads.drive(road, tested, policy(members, context.device))
                if drift == "moving":
                    context.keep(f"crashes_{subject}", crash_map(driven))
                for routes, chosen in (("changed", concerned), ("unchanged", ~concerned)):
                    yield {
                        "subject": subject,
                        "world": "roads",
                        "drift": drift,
                        "time": int(drift == "moving"),
                        "routes": routes,
                        "accuracy": float(driven.arrived[chosen].mean()),
                        "off_road": float(driven.off_road[chosen].mean()),
                    }

    def drivers(self, old: roads.Driven, new: roads.Driven, context: Context) -> dict[str, list[nn.Module]]:
        """Subject → the networks that it asks; settings are chosen by the moves on a fifth of the drives."""
        worlds = {"old": moves(old, context.device), "new": moves(new, context.device)}
        n = min(len(x) for (x, _), _ in worlds.values())  # as many moves of today as of then

        def fit(
            names: Sequence[str],
            nets: Sequence[nn.Module],
            ways: Sequence[Way],
            updates: int,
            anchor: Anchor | None = None,
        ) -> list[nn.Module]:
            x, y = (torch.stack([worlds[name][0][part][:n] for name in names]) for part in (0, 1))
            return list(train(nets, x, y, ways, updates, self.batch, context, anchor=anchor))

        def best(nets: Sequence[nn.Module], name: str) -> nn.Module:
            return max(nets, key=lambda net: share([net], *worlds[name][1]))

        with context.seeded("init"):
            beginners = [network(roads.INPUTS, 2 * self.hidden, 4) for _ in range(TRIALS)]
        names = ["old"] * TRIALS + ["new"] * TRIALS + ["old"] * len(beginners)
        ways = [Way(rate) for rate in RATES] * 2 + [Way(RATES[-1])] * len(beginners)
        nets = fit(names, beginners[:1] * 2 * TRIALS + beginners, ways, 8 * self.updates)
        frozen = best(nets[:TRIALS], "old")
        ways = [Way(rate) for rate in RATES] + [Way(elasticity=strength) for strength in ELASTICITY]
        anchor = Anchor.after([frozen] * len(ways), ways, *worlds["old"][0], None)
        led = fit(["new"] * len(ways), [frozen] * len(ways), ways, self.updates, anchor)
        return {
            "frozen": [frozen],
            "retrained": [best(nets[TRIALS : 2 * TRIALS], "new")],
            "fine_tuned": [best(led[:TRIALS], "new")],
            "ewc": [best(led[TRIALS:], "new")],
            "ensemble": nets[2 * TRIALS :],
        }

    claims = [
        *(
            Claim(
                f"{name}: a frozen network decays, and ends over 5 points below one trained on the latest labels",
                lambda rows, world=world: all_of(
                    below(slope(of(rows, world, "frozen"), "time", "accuracy"), 0.0),
                    below(at_end(rows, world, "frozen", "retrained"), -0.05),
                ),
            )
            for world, name in (("boundary", "the turning boundary"), ("digits", "the turning digits"))
        ),
        Claim(
            "the town: a frozen driver leaves the road over 20 points more often where the map changed",
            lambda rows: above(
                paired(on_roads(rows, subject="frozen"), "off_road", "changed", "unchanged", by="routes"), 0.2
            ),
        ),
        Claim(
            "the town: trained on as many drives of today, it leaves the road there over 20 points less often",
            lambda rows: below(paired(on_roads(rows, routes="changed"), "off_road", "retrained", "frozen"), -0.2),
        ),
        Claim(
            "the town: an ensemble of frozen drivers crashes there, too, in over 20 % of the drives",
            lambda rows: above(on_roads(rows, routes="changed", subject="ensemble").off_road, 0.2),
        ),
        Claim(
            "the turning boundary: fine-tuning step by step ends over 5 points above the frozen network",
            lambda rows: above(at_end(rows, "boundary", "fine_tuned", "frozen"), 0.05),
        ),
        Claim(
            "the turning boundary: to hold on to the past (EWC) ends below plain fine-tuning",
            lambda rows: below(at_end(rows, "boundary", "ewc", "fine_tuned"), 0.0),
        ),
        Claim(
            "the turning digits: training on its own answers, without a new label, ends over 5 points above frozen",
            lambda rows: above(at_end(rows, "digits", "self_trained", "frozen"), 0.05),
            source="Kumar et al. 2020",
        ),
        Claim(
            "the turning digits: so does adaptation by entropy (Tent)",
            lambda rows: above(at_end(rows, "digits", "tent", "frozen"), 0.05),
            source="Wang et al. 2021",
        ),
        *(
            Control(
                f"{name} still: a frozen network stays as it was, within 0.1 points a step",
                lambda rows, world=world: equivalent(
                    slope(of(rows, world, "frozen", "still"), "time", "accuracy"), 0.001
                ),
                kind="negative",
            )
            for world, name in (("boundary", "a boundary"), ("digits", "digits"))
        ),
        Control(
            "the town as it was: the frozen driver leaves the road in less than 2 % of the drives",
            lambda rows: below(on_roads(rows, drift="still", subject="frozen", routes="changed").off_road, 0.02),
            kind="negative",
        ),
        Control(
            "a boundary at right angles to what was learnt leaves the frozen network at chance",
            lambda rows: contains(last(of(rows, "boundary", "frozen")).accuracy, 0.5, margin=0.03),
            kind="positive",
        ),
        Control(
            "the frozen networks were right at the start: more than 85 %",
            lambda rows: all_of(
                *(above(start(of(rows, world, "frozen")).accuracy, 0.85) for world in ("boundary", "digits"))
            ),
            kind="gate",
        ),
    ]

    def plot(self, rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
        """Accuracy step by step in both streams; below, where the cars crashed."""
        figure.set_size_inches(9, 6.5)
        figure.set_layout_engine("constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1))
        for axes, (world, title) in zip(top.subplots(1, 2, sharey=True), STREAMS.items(), strict=True):
            draw_stream(axes, rows, world)
            axes.set(title=title, xlabel=f"step ({90 / STEPS:g}° each)", ylim=(0, 1))
            axes.set_xticks(range(0, STEPS + 1, 5))
        top.axes[0].set(ylabel="accuracy")
        handles, labels = top.axes[1].get_legend_handles_labels()
        if handles:
            top.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
        left, middle, right = bottom.subplots(1, 3, width_ratios=(1, 1, 1.2))
        for axes, subject in ((left, "frozen"), (middle, "retrained")):
            draw_crashes(axes, artefacts, subject)
        draw_roads(right, rows)


# ------------------------------------------------------------------------------------------------- rows that rules see


def of(rows: pd.DataFrame, world: str, subject: str, drift: str = "moving") -> pd.DataFrame:
    """A row a seed and step."""
    return where(rows, world=world, subject=subject, drift=drift)


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a seed, of the last step."""
    return where(rows, time=STEPS)


def start(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a seed, of the first step."""
    return where(rows, time=0)


def at_end(rows: pd.DataFrame, world: str, a: str, b: str) -> pd.Series:
    """Accuracy of a less that of b at the last step."""
    return paired(last(where(rows, world=world, drift="moving")), "accuracy", a, b)


def on_roads(rows: pd.DataFrame, drift: str = "moving", **settings: str) -> pd.DataFrame:
    """Drives in the town as it is, or as it was."""
    return where(rows, world="roads", drift=drift, **settings)


# ------------------------------------------------------------------------------------------------------------ streams


class Stream(NamedTuple):
    """STEPS + 1 steps of a world; what is labelled in a step is known in the next."""

    x: Tensor  # [steps, n, features]
    y: Tensor  # [steps, n]
    valid_x: Tensor
    valid_y: Tensor
    test_x: Tensor  # [steps, m, features]
    test_y: Tensor
    classes: int
    moving: bool
    inputs_turn: bool  # what is seen changes, and not only what it means


def boundary(study: StaleData, moving: bool, context: Context) -> Stream:
    """Ten Gaussian inputs; the class is the side of a plane that turns towards another at right angles to it."""
    normal = np.linalg.qr(context.rng("planes").standard_normal((DIMENSIONS, 2)))[0]
    drawn = []
    for part, n in (("train", study.labels), ("valid", study.labels), ("test", study.test_points)):
        rng = context.rng(part)
        x = rng.standard_normal((STEPS + 1, n, DIMENSIONS), dtype=np.float32)
        angle = TURN * np.arange(STEPS + 1) / STEPS * moving
        planes = np.outer(np.cos(angle), normal[:, 0]) + np.outer(np.sin(angle), normal[:, 1])
        noisy = np.einsum("tnd,td->tn", x, planes) + LABEL_NOISE * rng.standard_normal((STEPS + 1, n))
        drawn += [torch.from_numpy(x), torch.from_numpy(noisy > 0).long()]
    return Stream(*(part.to(context.device) for part in drawn), classes=2, moving=moving, inputs_turn=False)


def turning_digits(study: StaleData, moving: bool, context: Context) -> Stream:
    """Digits, in each step other ones of the same training images, and another half of the test images."""
    data = context.data(study.dataset)
    rng = context.rng("split")
    x, y = (np.concatenate([data[f"train_{k}"], data[f"test_{k}"]]) if f"train_{k}" in data else data[k] for k in "xy")
    order = rng.permutation(len(x))[:10_000]
    train, valid, test = np.split(order, [len(order) // 2, 6 * len(order) // 10])
    in_step, tested = (
        np.stack([rng.permutation(part)[:n] for _ in range(STEPS + 1)])
        for part, n in ((train, study.labels), (test, len(test) // 2))
    )
    drawn = []
    for rows in (in_step, np.broadcast_to(valid, (STEPS + 1, len(valid))), tested):
        images = torch.from_numpy(x[rows])
        angles = TURN * torch.arange(STEPS + 1) / STEPS * moving
        turned = torch.stack([turn(images[t], float(angle)) for t, angle in enumerate(angles)])
        drawn += [turned.flatten(2), torch.from_numpy(y[rows]).long()]
    return Stream(*(part.to(context.device) for part in drawn), classes=10, moving=moving, inputs_turn=True)


def turn(images: Tensor, angle: float) -> Tensor:
    """Images [n, h, w] turned counter-clockwise about their centres, by bilinear interpolation; outside is black."""
    c, s = math.cos(angle), math.sin(angle)
    matrix = images.new_tensor([[c, -s, 0], [s, c, 0]]).expand(len(images), 2, 3)
    grid = F.affine_grid(matrix, [len(images), 1, *images.shape[1:]], align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def summary(accuracy: Sequence[float], members: Members, stream: Stream) -> dict[str, float]:
    """The fall, and the first step whose labels show it: by more than three standard errors of their number."""
    before = share(members(0), stream.valid_x[0], stream.valid_y[0])
    limit = before - 3 * math.sqrt(before * (1 - before) / stream.y.shape[1])
    fell = (t for t in range(1, STEPS + 1) if share(members(t), stream.x[t], stream.y[t]) < limit)
    return {"drop": accuracy[0] - float(np.mean(accuracy[1:])), "noticed": next(fell, STEPS + 1)}


# ------------------------------------------------------------------------------------------------------------- drivers

Members = Callable[[int], Sequence[nn.Module]]  # step → the networks that answer then


def moves(driven: roads.Driven, device: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """What was seen and done, to train on, and on every fifth drive, to choose by."""
    held = driven.of % 5 == 0
    x, y = torch.from_numpy(driven.inputs).to(device), torch.from_numpy(driven.moves).to(device)
    return (x[~held], y[~held]), (x[held], y[held])


def policy(members: Sequence[nn.Module], device: str) -> roads.Policy:
    """The networks as a driver."""
    return lambda inputs: answer(members, torch.from_numpy(inputs).to(device)).cpu().numpy()


def crash_map(driven: roads.Driven) -> np.ndarray:
    """[SIDE, SIDE]: how many drives crashed in each cell."""
    counts = np.zeros((roads.SIDE, roads.SIDE))
    np.add.at(counts, tuple(driven.crash[driven.off_road].T), 1)
    return counts


# -------------------------------------------------------------------------------------------------------- the picture

STREAMS = {"boundary": "turning boundary", "digits": "turning digits"}
SUBJECTS = {
    "frozen": ("frozen", "#000000"),
    "retrained": ("retrained each step", "#0072B2"),
    "fine_tuned": ("fine-tuned each step", "#D55E00"),
    "ewc": ("EWC each step", "#E69F00"),
    "ensemble": ("ensemble of the latest", "#56B4E9"),
    "self_trained": ("own answers, no labels", "#009E73"),
    "tent": ("Tent, no labels", "#CC79A7"),
}


def draw_stream(axes: Axes, rows: pd.DataFrame, world: str) -> None:
    """Accuracy at each step; a mark where a subject was renewed."""
    if not {"world", "time", "accuracy"} <= set(rows.columns):
        return
    rows = rows[rows.world == world]
    for subject, (label, color) in SUBJECTS.items():
        mine = dict(iter(rows[(rows.subject == subject) & (rows.drift == "moving")].groupby("time").accuracy))
        marker = "" if subject == "frozen" else "."
        draw_means(axes, mine, mine.values(), limits=(0, 1), band=True, color=color, marker=marker, lw=1.2, label=label)
    still = dict(iter(rows[(rows.subject == "frozen") & (rows.drift == "still")].groupby("time").accuracy))
    draw_means(axes, still, still.values(), limits=(0, 1), color="#999999", ls=":", label="frozen, world at rest")


def draw_crashes(axes: Axes, artefacts: Artefacts, subject: str) -> None:
    """The town of one seed, its barrier, and where cars crashed."""
    axes.set(xticks=[], yticks=[], title=f"{subject}: crashes")
    axes.title.set_fontsize(9)
    kept = next((arrays for arrays in artefacts.values() if f"crashes_{subject}" in arrays), None)
    if kept is None:
        return
    axes.imshow(np.where(kept["town"], 0.75, 0.95), cmap="gray", vmin=0, vmax=1)
    row, column = kept["barrier"]
    axes.plot(column, row, "s", color="#E69F00", markersize=5)
    crashes = kept[f"crashes_{subject}"]
    rows, columns = np.nonzero(crashes)
    axes.scatter(columns, rows, 12 + 4 * crashes[rows, columns], color="#D55E00", alpha=0.7, linewidths=0)
    axes.set_xlabel(f"{int(crashes.sum())} of {int(kept['tested'])} drives; square: the barrier", fontsize=8)


def draw_roads(axes: Axes, rows: pd.DataFrame) -> None:
    """Share of drives that end off the road, by subject, where the map changed and where not."""
    axes.set(ylabel="share of drives off the road", ylim=(-0.03, 1.03))
    if "off_road" not in rows.columns:
        return
    rows = rows[(rows.world == "roads") & (rows.drift == "moving")]
    subjects = [subject for subject in SUBJECTS if (rows.subject == subject).any()]
    for routes, marker, color in (("changed", "o", "#D55E00"), ("unchanged", "s", "#0072B2")):
        samples = [rows[(rows.subject == subject) & (rows.routes == routes)].off_road for subject in subjects]
        label = "past the barrier" if routes == "changed" else "elsewhere"
        draw_means(axes, range(len(subjects)), samples, limits=(0, 1), color=color, marker=marker, ls="", label=label)
    axes.set_xticks(range(len(subjects)), [subject.replace("_", "-") for subject in subjects], rotation=30, fontsize=8)
    if subjects:
        axes.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
