"""The road graph lowers the error of a traffic forecast, beyond a detector's own history and the clock.

Jams spread against the traffic, so what is to come at a detector can be seen at its neighbours first (DCRNN: Li et al.,
ICLR 2018, arXiv:1707.01926; T-GCN: Zhao et al., IEEE T-ITS 2020, arXiv:1811.05320). The last hour of five-minute speeds
at every detector goes in, the next hour comes out; errors count what was measured, at 15, 30, 45 and 60 minutes.

Method: a ring road of 30 detectors with six shortcuts, eight days drawn anew for every seed; ``full`` adds the week of
METR-LA that T-GCN's authors publish. In the order of time 70 % train, 10 % validate, 20 % test. Arms come in threes
that differ in nothing but the roads they read: none, the given ones, the same laid over permuted detectors.

    last_value                     what is now stays
    history_average                the mean of the training days at that time of day
    ar_clock, _roads, _shuffled    ridge: the last hour, the history average now and then, the clock; with roads also
                                   the same averaged over the detectors before and behind
    var                            a vector autoregression: what is unusual at all detectors in the last hour, through
                                   one linear map for every detector and lead; it may learn roads, and is told none
    dcgru_alone, dcgru, _shuffled  GRU of diffusion convolutions, all of it in ``dlbench.nn``; without roads a plain GRU
    tgcn                           the same with graph convolutions, for the comparison with what is published
    stid                           a perceptron on the same hour that knows which detector it is and what hour of the
                                   day, by learned vectors, and no roads (Shao et al., CIKM 2022, arXiv:2208.05233; the
                                   day of the week is left out, as one week is all there is)

A ridge, and var, takes the best of four penalties on the validation days, a network the best of its epochs; rate, width
and number of epochs are the same for all networks, set on a few other seeds for the recurrent ones and not searched.
Whether that is fair to stid was tried for version 2 on made weeks of seeds 100 to 107, when METR-LA had been seen. Of
the rates .002, .005, .01, .02 and .05 the one in use, .02, has the least validation error for both (stid 2.371, and
2.373 at .01; dcgru 2.208, and 2.214 at .05), so no number has changed. Two or four times the width, at three rates,
brings stid a hundredth (2.361). More epochs help both: errors 15 minutes ahead on the test days are 1.97 for stid and
1.78 for dcgru with 6 epochs, 1.87 and 1.68 with 18, 1.78 and 1.61 with 48. At equal epochs stid is behind, with eight
times dcgru's it is level, and an epoch of it takes a third of the time: the claim is of equal epochs. 60 minutes ahead
stid with 18 epochs, in little more than the time of dcgru's 6, errs less (2.55, 2.62). For var, penalties of 1 and 10
are the best of .01 to 100 at 15 and 60 minutes, and it may choose both.

Two worlds keep the ridges honest: one where jams stay where they are, so that roads must be worth nothing, and one
where every detector repeats what the next one showed a quarter of an hour ago, so that they must be worth a lot.

On METR-LA the week is one and the same: there seeds vary the first weights and the wrong roads, and an interval tells
nothing about other weeks. T-GCN's numbers are means over all steps up to the horizon, of the epoch that is best on the
test set (as its code has it): they belong beside ``rmse_until`` and ``mae_until``, and are still flattered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlbench import (
    Claim,
    Context,
    Control,
    Experiment,
    Measurement,
    Metric,
    Reference,
    all_of,
    below,
    between,
    draw_means,
    equivalent,
    every,
    one_of,
    paired,
    stats,
    where,
)
from dlbench.nn import DCGRU, TGCN, diffusion_norm, gcn_norm
from dlbench.ops import Graph
from dlbench_plugins.graphs.forecasting import Links, Ridge, filled, mae, rmse, targets, train, windows

RING, METR_LA = "ring road", "METR-LA week"  # tasks of which something is claimed
STILL, ECHO = "jams stay", "detectors repeat the next"  # and those where it is known what roads are worth
LENGTH = 12  # steps that are seen, an hour
LEADS = tuple(range(1, 13))
MINUTES = (15, 30, 45, 60)  # those that are reported
TRAIN, VALIDATION = 0.7, 0.1
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
VAR_PENALTIES = (1e-2, 1e-1, 1.0, 10.0)  # of a map that reads all detectors, so of far more columns
NOTHING = 0.03  # miles per hour that roads may be worth where they are worth nothing
MUCH = 0.5  # and the least where they are worth a lot
BAD = 0.2  # a travel time that is off by a fifth is a bad one


def at(rows, minutes: int):
    """The tasks of which something is claimed, so many minutes ahead."""
    return rows[rows.task.isin([RING, METR_LA]) & (rows.minutes == minutes)]


def less_than(rows, minutes: int, subject: str, *others: str):
    """On every task the subject's error is below that of all others."""
    return every(
        at(rows, minutes), "task", lambda r: all_of(*(below(paired(r, "mae", subject, other), 0) for other in others))
    )


def worth(rows, minutes: int):
    """By how much roads raise a ridge's error; negative where they help."""
    return paired(where(rows, minutes=minutes), "mae", "ar_roads", "ar_clock")


@dataclass(frozen=True)
class TrafficGraph(Experiment):
    """Forecasts of traffic with the right roads, the wrong ones and none: a ridge and a recurrent network.
    A ring road where jams spread against the traffic; METR-LA's published week.
    """

    tasks: tuple[str, ...] = one_of("ring", "metr_la", default=("ring",))
    days: int = between(4, 365, default=8)  # of the made worlds
    networks: tuple[str, ...] = one_of("dcgru", "tgcn", "stid", default=("dcgru", "stid"))
    hidden: int = between(1, 1024, default=16)
    diffusion: int = between(1, 8, default=1)  # steps of the random walks
    epochs: int = between(1, 10_000, default=6)
    batch: int = between(1, 10_000, default=32)
    stride: int = between(1, 100, default=8)  # every so many steps a training window starts
    learning_rate: float = between(1e-6, 1.0, default=0.02)

    version = 2  # with var and stid
    title = "Jams come along the road: neighbours know first"
    chapter = "graphs"
    sources = (
        "Li et al., ICLR 2018, arXiv:1707.01926 (DCRNN)",
        "Zhao et al., IEEE T-ITS 2020, arXiv:1811.05320 (T-GCN)",
        "Shao et al., CIKM 2022, arXiv:2208.05233 (STID)",
        "github.com/lehaifeng/T-GCN (the week of METR-LA, and how errors are averaged)",
    )
    metrics = {
        "mae": Metric("mean absolute error", unit="mph", better="lower", main=True, low=0),
        "rmse": Metric("root mean squared error", unit="mph", better="lower", low=0),
        "mape": Metric("mean absolute error as a share of the speed", better="lower", low=0),
        "bad_eta": Metric("share of travel times that are off by more than a fifth", better="lower", low=0, high=1),
        "mae_until": Metric("mean absolute error of all steps up to there", unit="mph", better="lower", low=0),
        "rmse_until": Metric("root mean squared error of all steps up to there", unit="mph", better="lower", low=0),
        "parameters": Metric("trained parameters"),
        "epoch": Metric("the epoch that was kept"),
    }
    presets = {
        "quick": {},
        "full": {"tasks": ("ring", "metr_la"), "networks": ("dcgru", "tgcn", "stid")},
    }

    def datasets(self):
        return ("metr_la_week",) if "metr_la" in self.tasks else ()

    def trial(self, context: Context) -> Iterable[Measurement]:
        for name, echo, spread in ((STILL, 0.0, 0.0), (ECHO, 1.0, 0.0)):
            task = Task.of(made_week(context.rng("world", name), self.days, echo=echo, spread=spread))
            yield from self.score(name, task, ("ar_clock", "ar_roads"), context)
        subjects = [subject for subject, arm in ARMS.items() if arm.network in (None, *self.networks)]
        if "ring" in self.tasks:
            task = Task.of(made_week(context.rng("world", RING), self.days))
            yield from self.score(RING, task, subjects, context)
            context.keep("speed", task.speed[-STEPS:].astype(np.float32))
        if "metr_la" in self.tasks:
            yield from self.score(METR_LA, Task.of(week(context.data("metr_la_week"))), subjects, context)

    def score(self, name: str, task: Task, subjects: Iterable[str], context: Context) -> Iterator[Measurement]:
        """Every subject's errors on the test days; roads are permuted alike for all that read the wrong ones."""
        nodes = context.rng("permutation", name).permutation(task.speed.shape[1])
        wirings = {"given": task.roads, "permuted": task.roads.over(nodes), "none": task.roads.none()}
        came = targets(task.speed, task.test, LEADS)
        for i, subject in enumerate(subjects):
            context.progress(i / len(ARMS), f"{name}: {subject}")
            with context.seeded("fit", name):  # the same first weights for every arm of one shape
                result = ARMS[subject].forecast(task, wirings[ARMS[subject].wiring], self, context.rng("order", name))
            for minutes in MINUTES:
                step = minutes // 5
                forecast, then = result.forecast[:, step - 1], came[:, step - 1]
                yield {
                    "subject": subject,
                    "task": name,
                    "minutes": minutes,
                    "mae": mae(forecast, then),
                    "rmse": rmse(forecast, then),
                    "mape": float(np.nanmean(np.abs(forecast - then) / then)),
                    "bad_eta": bad_share(forecast, then),
                    "mae_until": mae(result.forecast[:, :step], came[:, :step]),
                    "rmse_until": rmse(result.forecast[:, :step], came[:, :step]),
                    "parameters": result.parameters,
                    "epoch": result.epoch,
                }

    claims = (
        Claim(
            "A ridge on the right roads errs less 15 minutes ahead than without roads or on the wrong ones",
            lambda rows: less_than(rows, 15, "ar_roads", "ar_clock", "ar_shuffled"),
        ),
        Claim(
            "A recurrent network on the right roads errs less 15 minutes ahead than without roads or on the wrong ones",
            lambda rows: less_than(rows, 15, "dcgru", "dcgru_alone", "dcgru_shuffled"),
            source="Li et al. 2018",
        ),
        Claim(
            "It errs less 15 minutes ahead than the last value, the history average and a ridge on history and clock",
            lambda rows: less_than(rows, 15, "dcgru", "last_value", "history_average", "ar_clock"),
            source="Li et al. 2018",
        ),
        Claim(
            "It errs less 15 minutes ahead than two that know detectors by name and no roads, var and stid",
            lambda rows: less_than(rows, 15, "dcgru", "var", "stid"),
        ),
        Claim(
            "It errs less 60 minutes ahead than without roads or on the wrong ones",
            lambda rows: less_than(rows, 60, "dcgru", "dcgru_alone", "dcgru_shuffled"),
        ),
        Claim(
            "To a ridge, roads are worth less 60 minutes ahead than 15",
            lambda rows: every(at(rows, 60), "task", lambda r: later_is_less(rows, r)),
        ),
        Control(
            f"Where jams stay where they are, roads are worth nothing to a ridge, within {NOTHING} miles per hour",
            lambda rows: equivalent(worth(where(rows, task=STILL), 15), NOTHING),
            kind="negative",
        ),
        Control(
            f"Where detectors repeat the next one, roads are worth more than {MUCH} miles per hour to a ridge",
            lambda rows: below(worth(where(rows, task=ECHO), 15), -MUCH),
            kind="positive",
        ),
        Control(
            "History and clock are used well: their ridge errs less at 15 minutes than last value and history average",
            lambda rows: less_than(rows, 15, "ar_clock", "last_value", "history_average"),
            kind="gate",
        ),
    )

    references = tuple(
        Reference(
            metric,
            value,
            "Zhao et al. 2020, arXiv:1811.05320, table 1 (Los-loop)",
            where={"subject": "tgcn", "task": METR_LA, "minutes": minutes},
            note="mean over all steps up to there, of the epoch best on the test set; from a secondary copy; "
            "theirs has 64 hidden units, trains for 5,000 epochs and reads no clock",
        )
        for metric, values in (("rmse_until", (5.13, 6.06, 6.71, 7.27)),)
        for minutes, value in zip(MINUTES, values, strict=True)
    )

    def plot(self, rows, figure, artefacts):
        tasks = [task for task in (RING, METR_LA) if "task" in rows and (rows.task == task).any()]
        figure.set_size_inches(9, 4.2)
        figure.set_layout_engine("constrained")
        axes = figure.subplots(1, 2 + len(tasks), width_ratios=[1] + [1.1] * len(tasks) + [1])
        draw_day(axes[0], artefacts)
        for panel, task in zip(axes[1:], tasks, strict=False):
            draw_horizons(panel, rows[rows.task == task], task)
        draw_worth(axes[-1], rows)
        handles = {
            label: handle for panel in axes for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        if handles:
            figure.legend(handles.values(), handles, loc="outside lower center", ncols=5, **LEGEND)


def later_is_less(rows, at_60):
    """On the task of ``at_60``: the error that roads spare a ridge at 60 minutes is below that at 15."""
    task = where(rows, task=at_60.task.iloc[0])
    return below(worth(task, 15) - worth(task, 60), 0)


# ------------------------------------------------------------------------------------------------------------- worlds

STEPS = 288  # five minutes each, in a day
DETECTORS, SHORTCUTS = 30, 6
FREE, JAMMED = 65.0, 15.0  # miles per hour


class Week(NamedTuple):
    speed: NDArray  # [T, n], NaN where nothing was measured
    roads: Links  # in the direction of the traffic


def made_week(rng: np.random.Generator, days: int, *, spread: float = 0.25, echo: float = 0.0) -> Week:
    """Days on a ring road with shortcuts: rush hours, incidents, and jams that spread against the traffic.

    A jam at a detector fades by a tenth a step; ``spread`` is the share that reaches it from the detectors ahead. With
    ``echo`` the speed is instead what the next detector around the ring showed 15 minutes ago, and a little noise.
    """
    ring = np.arange(DETECTORS)
    cuts = rng.choice(DETECTORS, (SHORTCUTS, 2))
    ends = np.concatenate([np.stack([ring, (ring + 1) % DETECTORS]), cuts[cuts[:, 0] != cuts[:, 1]].T], axis=1)
    roads = Links(np.unique(ends, axis=1), np.ones(np.unique(ends, axis=1).shape[1]))
    ahead = roads.both()[1].mean(np.eye(DETECTORS))  # [n, n]; what is ahead of a detector reaches it
    steps = days * STEPS
    inflow = rush_hours(rng, days) + incidents(rng, steps)
    jam = np.zeros((steps, DETECTORS))
    for t in range(1, steps):
        jam[t] = np.clip(0.9 * (1 - spread) * jam[t - 1] + spread * jam[t - 1] @ ahead + inflow[t], 0, 1)
    speed = FREE - (FREE - JAMMED) * jam + rng.normal(0, 1.5, jam.shape)
    if echo:
        for t in range(3, steps):
            fresh = speed[t, 0]
            speed[t] = np.roll(speed[t - 3], -1) + rng.normal(0, 0.5, DETECTORS)
            speed[t, -1] = fresh
    speed[rng.random(speed.shape) < 0.02] = np.nan
    return Week(speed, roads)


def rush_hours(rng: np.random.Generator, days: int) -> NDArray:
    """Inflow [T, n] of the mornings and evenings: as strong as the detector and the day have it."""
    hour = np.arange(STEPS) * 24 / STEPS
    peaks = np.exp(-(((hour[:, None] - (8.0, 17.5)) / 0.8) ** 2))  # [steps, 2]
    strength = rng.gamma(1.0, 0.045, (2, DETECTORS)) * rng.lognormal(0, 0.3, (days, 2, 1))
    return np.einsum("sp,dpn->dsn", peaks, strength).reshape(days * STEPS, DETECTORS)


def incidents(rng: np.random.Generator, steps: int) -> NDArray:
    """Inflow [T, n] of what happens once in two days at a detector and lasts for half an hour or so."""
    inflow = np.zeros((steps, DETECTORS))
    for t, detector in np.argwhere(rng.random(inflow.shape) < 1 / (2 * STEPS)):
        inflow[t : t + rng.integers(3, 12), detector] += rng.uniform(0.1, 0.3)
    return inflow


def week(data) -> Week:
    """METR-LA's, from its data set."""
    return Week(data["speed"].astype(float), Links(data["edge_index"], data["weight"].astype(float)))


@dataclass(frozen=True)
class Task:
    speed: NDArray  # [T, n]
    roads: Links
    train: NDArray  # origins, as in the next two
    validation: NDArray
    test: NDArray

    @classmethod
    def of(cls, week: Week) -> Task:
        """Parts follow one another in time; a forecast belongs to the part in which all that it foretells lies."""
        steps = len(week.speed)
        first, second = int(TRAIN * steps), int((TRAIN + VALIDATION) * steps)
        parts = [
            np.arange(begin, end - LEADS[-1]) for begin, end in ((LENGTH, first), (first, second), (second, steps))
        ]
        return cls(*week, *parts)

    @property
    def seen(self) -> NDArray:
        """The speeds of the training days, from which averages and scales are taken."""
        return self.speed[: self.train[-1] + LEADS[-1] + 1]

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        return float(np.nanmean(self.seen)), float(np.nanstd(self.seen))

    @cached_property
    def usual(self) -> NDArray:
        """The history average, [T + 12, n]: of the training days within five minutes of the time of day."""
        slots = np.arange(len(self.seen)) % STEPS
        measured = ~np.isnan(self.seen)
        total, count = np.zeros((2, STEPS, self.seen.shape[1]))
        np.add.at(total, slots, np.nan_to_num(self.seen))
        np.add.at(count, slots, measured)
        total, count = (sum(np.roll(x, shift, axis=0) for shift in (-1, 0, 1)) for x in (total, count))
        by_slot = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return filled(by_slot)[np.arange(len(self.speed) + LEADS[-1]) % STEPS]

    @cached_property
    def filled(self) -> NDArray:
        return filled(self.speed)


# ------------------------------------------------------------------------------------------------------------- arms


class Result(NamedTuple):
    forecast: NDArray  # [test origins, leads, n]
    parameters: int = 0
    epoch: int = 0


def last_value(task: Task, roads: Links, study: TrafficGraph, rng: np.random.Generator) -> Result:
    """What is now stays."""
    return Result(np.repeat(task.filled[task.test, None], len(LEADS), axis=1))


def history_average(task: Task, roads: Links, study: TrafficGraph, rng: np.random.Generator) -> Result:
    """What is usual at that time of day."""
    return Result(targets(task.usual, task.test, LEADS))


def ridge(task: Task, roads: Links, study: TrafficGraph, rng: np.random.Generator) -> Result:
    """One linear map a lead, for all detectors, of the change from now on."""
    features = Features(task, roads)
    x, x_validation, x_test = (features(origins) for origins in (task.train[::2], task.validation, task.test))
    forecasts = []
    for lead in LEADS:
        fit = Ridge.fit(x, change(task, task.train[::2], lead), PENALTIES)
        then = change(task, task.validation, lead)
        best = int(np.argmin([mae(said, then) for said in fit(x_validation)]))
        forecasts.append(task.filled[task.test] + fit(x_test)[best])
    return Result(np.stack(forecasts, axis=1), parameters=len(LEADS) * (x.shape[-1] + 1))


def change(task: Task, origins: NDArray, lead: int) -> NDArray:
    """From now to ``lead`` steps later, [origins, n]."""
    return targets(task.speed, origins, (lead,))[:, 0] - task.filled[origins]


def vector_autoregression(task: Task, roads: Links, study: TrafficGraph, rng: np.random.Generator) -> Result:
    """One linear map for every detector and lead, of what was unusual at all detectors, to what will be."""
    unusual = task.filled - task.usual[: len(task.filled)]
    chosen = task.train[::2]
    x, x_validation, x_test = (
        windows(unusual, origins, LENGTH).reshape(len(origins), -1) for origins in (chosen, task.validation, task.test)
    )
    y = targets(unusual, chosen, LEADS).reshape(len(chosen), -1)  # where nothing was measured, what was there last
    centre, scale, level = x.mean(axis=0), x.std(axis=0), y.mean(axis=0)
    scale[scale < 1e-12] = 1  # of a detector that always shows the same
    x, x_validation, x_test = ((some - centre) / scale for some in (x, x_validation, x_test))
    gram, moments = x.T @ x / len(x), x.T @ (y - level) / len(x)
    then = targets(task.speed - task.usual[: len(task.speed)], task.validation, LEADS)
    slopes = [np.linalg.solve(gram + penalty * np.eye(len(gram)), moments) for penalty in VAR_PENALTIES]
    off = [np.abs((x_validation @ of + level).reshape(then.shape) - then) for of in slopes]
    best = np.nanmean(off, axis=(1, 3)).argmin(axis=0)  # for every lead
    said = np.stack([(x_test @ of + level).reshape(len(x_test), len(LEADS), -1) for of in slopes])
    forecast = said[best, :, np.arange(len(LEADS))].swapaxes(0, 1)  # [origins, leads, n]
    return Result(forecast + targets(task.usual, task.test, LEADS), parameters=moments.size + level.size)


class Features:
    """What a ridge reads at an origin, [origins, n, K]: every detector's own, and the means of its neighbours'."""

    def __init__(self, task: Task, roads: Links) -> None:
        ways = roads.both() if roads.weight.size else []
        self.speeds = [task.filled, *(way.mean(task.filled) for way in ways)]
        self.usual = [task.usual, *(way.mean(task.usual) for way in ways)]

    def __call__(self, origins: NDArray) -> NDArray:
        hours = 2 * np.pi * (origins % STEPS) / STEPS
        clock = np.stack([wave(k * hours) for k in (1, 2) for wave in (np.sin, np.cos)], axis=-1)  # [origins, 4]
        columns = [windows(speed, origins, LENGTH) for speed in self.speeds]
        columns += [targets(usual, origins, (0, 3, 6, 9, 12)) for usual in self.usual]
        n = self.speeds[0].shape[1]
        columns.append(np.broadcast_to(clock[:, :, None], (*clock.shape, n)))
        return np.concatenate(columns, axis=1).transpose(0, 2, 1)


class Forecaster(nn.Module):
    """The last hour through a recurrent cell; its last state, and what is usual from now on, say what will change."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell
        self.out = nn.Linear(cell.hidden + 1 + len(LEADS), len(LEADS))
        nn.init.zeros_(self.out.weight)  # at first nothing changes
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, later: Tensor, hour: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        """From x [steps, n, B, 2], speeds and what is usual, and later [n, B, 13], usual from now on: [n, B, leads].

        The hour of the day, [B], is not looked at.
        """
        h = None
        for step in x:
            h = self.cell(step, graph, weight, h)
        return x[-1, ..., :1] + self.out(torch.cat([h, later - x[-1, ..., :1]], dim=-1))


class STID(nn.Module):
    """What the recurrent networks read of the last hour, beside vectors of the detector and of the hour of the day."""

    def __init__(self, detectors: int, hidden: int) -> None:
        super().__init__()
        self.who, self.when = nn.Embedding(detectors, hidden), nn.Embedding(24, hidden)
        self.read = nn.Linear(2 * LENGTH + 1 + len(LEADS), hidden)
        wide = 3 * hidden
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, wide)) for _ in range(3)
        )
        self.out = nn.Linear(wide, len(LEADS))
        nn.init.zeros_(self.out.weight)  # at first nothing changes
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, later: Tensor, hour: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        """As above; the graph is not looked at."""
        now = x[-1, ..., :1]
        own = self.read(torch.cat([x.permute(1, 2, 0, 3).flatten(2), later - now], dim=-1))  # [n, B, hidden]
        h = torch.cat([own, self.who.weight[:, None].expand_as(own), self.when(hour).expand_as(own)], dim=-1)
        for block in self.blocks:
            h = h + block(h)
        return now + self.out(h)


def network(kind: str) -> Callable[[Task, Links, TrafficGraph, np.random.Generator], Result]:
    """The arm of one kind of network, trained on windows ``stride`` steps apart."""

    def fit(task: Task, roads: Links, study: TrafficGraph, rng: np.random.Generator) -> Result:
        mean, deviation = task.scale
        n = task.speed.shape[1]
        graph = Graph.from_edge_index(torch.from_numpy(np.ascontiguousarray(roads.ends)), num_nodes=n)
        weight = torch.from_numpy(roads.weight).float()
        if kind == "dcgru":
            net: nn.Module = Forecaster(DCGRU(2, study.hidden, study.diffusion))
            weight = diffusion_norm(graph, weight)
        elif kind == "tgcn":
            net = Forecaster(TGCN(2, study.hidden))
            graph, weight = gcn_norm(graph)
        else:
            net = STID(n, study.hidden)
        speed = torch.from_numpy((task.filled - mean) / deviation).float()
        usual = torch.from_numpy((task.usual - mean) / deviation).float()

        def forecast(net: nn.Module, origins: NDArray) -> Tensor:
            steps = torch.from_numpy(origins[None] + np.arange(1 - LENGTH, 1)[:, None])  # [steps, B]
            x = torch.stack([speed[steps], usual[steps]], dim=-1).transpose(1, 2)  # [steps, n, B, 2]
            later = usual[torch.from_numpy(origins + np.arange(LEADS[-1] + 1)[:, None])].permute(2, 1, 0)
            hour = torch.from_numpy(origins % STEPS * 24 // STEPS)
            return net(x, later, hour, graph, weight).permute(1, 2, 0)  # [B, leads, n]

        @torch.no_grad()
        def ask(net: nn.Module, origins: NDArray) -> NDArray:
            parts = np.array_split(origins, -(-len(origins) // 128))
            return torch.cat([forecast(net, part) for part in parts]).double().numpy() * deviation + mean

        chosen, check = task.train[:: study.stride], task.validation[:: study.stride]
        then = targets(task.speed, check, LEADS)
        epoch = train(
            net,
            lambda net, some: forecast(net, chosen[some]),
            (targets(task.speed, chosen, LEADS) - mean) / deviation,
            learning_rate=study.learning_rate,
            epochs=study.epochs,
            batch=study.batch,
            rng=rng,
            validate=lambda net: mae(ask(net, check), then),
        )
        return Result(ask(net, task.test), sum(p.numel() for p in net.parameters()), epoch)

    return fit


class Arm(NamedTuple):
    forecast: Callable[[Task, Links, TrafficGraph, np.random.Generator], Result]
    wiring: str = "none"  # which roads it reads
    network: str | None = None  # what it needs among the parameter of this name


ARMS = {
    "last_value": Arm(last_value),
    "history_average": Arm(history_average),
    "ar_clock": Arm(ridge),
    "ar_roads": Arm(ridge, "given"),
    "ar_shuffled": Arm(ridge, "permuted"),
    "var": Arm(vector_autoregression),
    "dcgru": Arm(network("dcgru"), "given", "dcgru"),
    "dcgru_alone": Arm(network("dcgru"), "none", "dcgru"),
    "dcgru_shuffled": Arm(network("dcgru"), "permuted", "dcgru"),
    "tgcn": Arm(network("tgcn"), "given", "tgcn"),
    "stid": Arm(network("stid"), network="stid"),
}


def bad_share(forecast: NDArray, came: NDArray) -> float:
    """Share of travel times, distance over speed, that are off by more than a fifth; of what was measured."""
    measured = ~np.isnan(came)
    off = np.abs(came[measured] / np.maximum(forecast[measured], 1) - 1)  # nobody is told to stand still
    return float((off > BAD).mean())


# ---------------------------------------------------------------------------------------------------------- picture

COLOURS = {  # Okabe & Ito; a family has one colour
    "last_value": "#999999",
    "history_average": "#CC79A7",
    "ar_clock": "#E69F00",
    "ar_roads": "#E69F00",
    "ar_shuffled": "#E69F00",
    "var": "#D55E00",
    "dcgru": "#0072B2",
    "dcgru_alone": "#0072B2",
    "dcgru_shuffled": "#0072B2",
    "tgcn": "#009E73",
    "stid": "#56B4E9",
}
LINES = {"given": "-", "none": "--", "permuted": ":"}
LEGEND = {"frameon": False, "fontsize": 8, "handletextpad": 0.4, "columnspacing": 1.2}


def draw_day(axes, artefacts) -> None:
    """Space and time: the ring road's last day, of one seed."""
    axes.set_title("the ring's last day", fontsize=10)
    axes.set(xlabel="hour", ylabel="detector")
    kept = [artefacts[seed]["speed"] for seed in sorted(artefacts) if "speed" in artefacts[seed]]
    if not kept:
        axes.text(0.5, 0.5, "no seed kept its speeds", ha="center", color="0.4", transform=axes.transAxes)
        return
    image = axes.imshow(kept[0].T, aspect="auto", origin="lower", extent=(0, 24, 0, kept[0].shape[1]), cmap="magma")
    axes.figure.colorbar(image, ax=axes, label="miles per hour", location="top", shrink=0.9, pad=0.02).ax.tick_params(
        labelsize=7
    )
    axes.set_title("")
    axes.set_xticks(range(0, 25, 6))


def draw_horizons(axes, rows, task: str) -> None:
    """Mean absolute error over the horizon, with 95 % intervals over seeds."""
    axes.set_title(task, fontsize=10)
    axes.set(xlabel="minutes ahead", ylabel="mean absolute error [mph]", xticks=MINUTES)
    for subject, colour in COLOURS.items():
        points = rows[rows.subject == subject].groupby("minutes").mae
        style = {"color": colour, "linestyle": LINES[ARMS[subject].wiring if "_" in subject else "given"]}
        if ARMS[subject].forecast in (last_value, history_average):
            style["linestyle"] = "-."
        draw_means(axes, [m for m, _ in points], [a for _, a in points], label=subject, linewidth=1.2, **style)


def draw_worth(axes, rows) -> None:
    """By how much the right and the wrong roads lower a subject's error, 15 and 60 minutes ahead."""
    axes.set_title("error spared by roads", fontsize=10)
    axes.set(xlabel="miles per hour")
    axes.axvline(0, color="0.6", linewidth=0.8)
    if "task" not in rows:
        return
    names, bars = [], []
    for task in (RING, METR_LA, STILL, ECHO):
        for subject, alone in (("ar_roads", "ar_clock"), ("dcgru", "dcgru_alone")):
            for minutes in (15, 60):
                values = paired(rows[(rows.task == task) & (rows.minutes == minutes)], "mae", alone, subject)
                if len(values) and task != ECHO:
                    names.append(f"{task}, {subject.split('_')[0]}, {minutes}'")
                    bars.append((stats.t_interval(values), COLOURS[subject]))
    for y, ((estimate, low, high, n), colour) in enumerate(bars):
        axes.plot(estimate, y, "o", color=colour, markersize=4)
        if n > 1:
            axes.plot([low, high], [y, y], color=colour, linewidth=1.5)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
