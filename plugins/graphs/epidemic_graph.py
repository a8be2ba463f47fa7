"""Where people go tells where an epidemic goes, beyond what a region's own past tells.

Infections travel with people, so a region's next cases can be seen in those it exchanges people with (Kapoor et al.,
2020, arXiv:2007.03113; Panagopoulos et al., AAAI 2021, arXiv:2009.08388). New cases of the last seven days and the
movements of those days go in; new cases of the next fourteen days come out, on the scale log(1 + cases per 10,000) in
the made epidemic and log(1 + cases) in the real ones, whose populations are not in the files.

Method: a stochastic SIR of 40 regions on a gravity graph, 160 days, drawn anew for every seed; ``full`` adds COVID-19
in England and France, spring 2020. The protocol is Panagopoulos's: all days up to T train, T+1 … T+14 are forecast, for
every T on a grid; what lies after T is not looked at, and errors are means over all T and the next 3, 7 or 14 days.

    last_value, week_average    today, or the mean of the last seven days, stays
    ar, ar_graph, ar_shuffled   ridge on the week, one a lead: alone; with the week of the regions that people come
                                from, weighted by movement; the same with regions permuted
    lstm                        an LSTM over the week, its inputs through a linear layer
    graph_lstm, _shuffled       the same with two layers of messages along each day's movements before it
    graph                       the messages of the week at once and no LSTM: a graph without time

Networks add what they say to the week's average, start with it, and share width, rate and number of epochs, which
with the ridges' penalty were set on a few made epidemics of other seeds and not searched. Negative control: an epidemic
that does not travel. Positive control: one that begins in two regions and reaches the others only by travel, where a
ridge without its neighbours cannot see it coming. On real data the seeds vary first weights and wrong graphs only;
there is one spring.
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
    all_of,
    below,
    between,
    draw_means,
    equivalent,
    every,
    one_of,
    paired,
    where,
)
from dlbench.errors import ParameterError
from dlbench.ops import Graph, aggregate
from dlbench_plugins.graphs.forecasting import Links, Ridge, mae, rmse, targets, train, windows

SIR, ENGLAND, FRANCE = "SIR", "COVID-19 in England", "COVID-19 in France"  # tasks of which something is claimed
STILL, WAVE = "SIR without travel", "SIR that must travel"  # and those where it is known what the graph is worth
LENGTH = 7  # days that are seen
LEADS = tuple(range(1, 15))
AHEAD = (3, 7, 14)  # errors over so many days are reported
PENALTY = 0.01
NOTHING = 0.01  # what a graph may be worth, on the scale of logarithms, where it is worth nothing
MUCH = 0.02  # and the least where it is worth a lot


def main(rows):
    """Errors over the next week, on the tasks of which something is claimed."""
    return rows[rows.task.isin([SIR, ENGLAND, FRANCE]) & (rows.ahead == 7)]


def less_than(rows, subject: str, *others: str):
    """On every task the subject's error is below that of all others."""
    return every(
        main(rows), "task", lambda r: all_of(*(below(paired(r, "rmsle", subject, other), 0) for other in others))
    )


def worth(rows, task: str):
    """By how much the graph raises a ridge's error over the next week; negative where it helps."""
    return paired(where(rows, task=task, ahead=7), "rmsle", "ar_graph", "ar")


@dataclass(frozen=True)
class EpidemicGraph(Experiment):
    """Forecasts of new cases with the movements between regions, wrong ones and none, and with time and without.

    A stochastic SIR on a gravity graph; COVID-19 in England and France in spring 2020.
    """

    tasks: tuple[str, ...] = one_of("sir", "england", "france", default=("sir",))
    days: int = between(60, 1000, default=160)  # of the made epidemics
    every: int = between(1, 100, default=60)  # days between two T of the made epidemics
    every_real: int = between(1, 100, default=4)  # and of the real ones
    hidden: int = between(1, 1024, default=16)
    epochs: int = between(1, 10_000, default=10)
    batch: int = between(1, 10_000, default=16)
    learning_rate: float = between(1e-6, 1.0, default=0.02)

    title = "Where people go tells where an epidemic goes"
    chapter = "graphs"
    sources = (
        "Panagopoulos et al., AAAI 2021, arXiv:2009.08388 (data, protocol, MPNN+LSTM)",
        "Kapoor et al. 2020, arXiv:2007.03113",
    )
    metrics = {
        "rmsle": Metric("root mean squared error of log(1 + cases)", better="lower", main=True, low=0),
        "mae": Metric("mean absolute error of new cases in a region", unit="cases", better="lower", low=0),
        "correlation": Metric("Pearson's correlation of new cases, forecast and come", better="higher", low=-1, high=1),
        "parameters": Metric("trained parameters"),
    }
    presets = {"quick": {}, "full": {"tasks": ("sir", "england", "france"), "every": 10}}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.days - LEADS[-1] <= max(self.every, 2 * LENGTH):
            raise ParameterError(
                f"EpidemicGraph: days is {self.days} and every is {self.every}; no forecast fits in. Expected days "
                f"above every (or {2 * LENGTH}, where that is more) plus {LEADS[-1]}"
            )

    def datasets(self):
        return tuple(f"covid_{country}" for country in ("england", "france") if country in self.tasks)

    def trial(self, context: Context) -> Iterable[Measurement]:
        for name, world in ((STILL, {"travel": 0.0}), (WAVE, {"begin": 2, "travel": 0.2})):
            task = made_epidemic(context.rng("world", name), self.days, **world)
            yield from self.score(name, task, self.every, ("ar", "ar_graph"), context)
        if "sir" in self.tasks:
            yield from self.score(SIR, made_epidemic(context.rng("world", SIR), self.days), self.every, ARMS, context)
        for country, name in (("england", ENGLAND), ("france", FRANCE)):
            if country in self.tasks:
                task = real_epidemic(context.data(f"covid_{country}"))
                yield from self.score(name, task, self.every_real, ARMS, context)

    def score(
        self, name: str, task: Task, step: int, subjects: Iterable[str], context: Context
    ) -> Iterator[Measurement]:
        """Every subject's errors over all T; regions are permuted alike for all that read a wrong graph."""
        nodes = context.rng("permutation", name).permutation(task.cases.shape[1])
        wirings = {"given": task.moves, "permuted": task.moves.over(nodes), "none": task.moves.none()}
        last_days = np.arange(max(step, 2 * LENGTH), len(task.cases) - LEADS[-1], step)
        came = targets(task.cases, last_days, LEADS)  # [T, leads, n]
        for i, subject in enumerate(subjects):
            context.progress(i / len(ARMS), f"{name}: {subject}")
            arm, order = ARMS[subject], context.rng("order", name)
            said, parameters = [], 0
            for last in last_days:
                with context.seeded("fit", name, int(last)):  # the same first weights for every arm of one shape
                    logs, parameters = arm.forecast(task.until(last), wirings[arm.wiring].until(last), self, order)
                said.append(task.to_cases(logs))
            forecast = np.stack(said)
            if name == SIR and subject in ("graph_lstm", "last_value"):
                context.keep(subject, forecast[:, :, :6].astype(np.float32))
            for ahead in AHEAD:
                yield {
                    "subject": subject,
                    "task": name,
                    "ahead": ahead,
                    **errors(forecast[:, :ahead], came[:, :ahead], task),
                    "parameters": parameters,
                }
        if name == SIR:
            context.keep("cases", task.cases[:, :6].astype(np.float32))
            context.keep("last_days", last_days)

    claims = (
        Claim(
            "A ridge that sees the regions people come from errs less over a week than without them or with wrong ones",
            lambda rows: less_than(rows, "ar_graph", "ar", "ar_shuffled"),
        ),
        Claim(
            "Graph and time together err less than time alone: an LSTM with messages than one without",
            lambda rows: less_than(rows, "graph_lstm", "lstm"),
            source="Panagopoulos et al. 2021",
        ),
        Claim(
            "Graph and time together err less than the graph alone",
            lambda rows: less_than(rows, "graph_lstm", "graph"),
            source="Panagopoulos et al. 2021",
        ),
        Claim(
            "Graph and time together err less on the right graph than on one that joins the wrong regions",
            lambda rows: less_than(rows, "graph_lstm", "graph_lstm_shuffled"),
        ),
        Claim(
            "Graph and time together err less than the last value and the week's average",
            lambda rows: less_than(rows, "graph_lstm", "last_value", "week_average"),
            source="Kapoor et al. 2020",
        ),
        Control(
            f"Where infections do not travel, the graph is worth nothing to a ridge, within {NOTHING}",
            lambda rows: equivalent(worth(rows, STILL), NOTHING),
            kind="negative",
        ),
        Control(
            f"Where they come by travel alone, the graph is worth more than {MUCH} to a ridge",
            lambda rows: below(worth(rows, WAVE), -MUCH),
            kind="positive",
        ),
        Control(
            "The past tells something: on the made epidemic a ridge errs less than the last value",
            lambda rows: below(paired(where(rows, task=SIR, ahead=7), "rmsle", "ar", "last_value"), 0),
            kind="gate",
        ),
    )

    def plot(self, rows, figure, artefacts):
        tasks = [task for task in (SIR, ENGLAND, FRANCE) if "task" in rows and (rows.task == task).any()]
        figure.set_size_inches(9, 4.2)
        figure.set_layout_engine("constrained")
        axes = figure.subplots(1, 1 + max(1, len(tasks)), width_ratios=[1.3] + [1] * max(1, len(tasks)))
        draw_fans(axes[0], artefacts)
        for panel, task in zip(axes[1:], tasks, strict=False):
            draw_horizons(panel, rows[rows.task == task], task)
        if axes[1].lines:
            figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=5, **LEGEND)


def errors(forecast: NDArray, came: NDArray, task: Task) -> Measurement:
    """The metrics of forecasts in cases."""
    known = ~np.isnan(came)
    constant = np.ptp(came[known]) == 0 or np.ptp(forecast[known]) == 0
    return {
        "rmsle": rmse(task.to_logs(forecast), task.to_logs(came)),
        "mae": mae(forecast, came),
        "correlation": float("nan") if constant else float(np.corrcoef(forecast[known], came[known])[0, 1]),
    }


# ------------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Task:
    cases: NDArray  # [T, n]
    moves: Links  # between regions, without those within one; a row of people a day
    per: NDArray  # [n]; cases count in units of it

    def until(self, last: int) -> Task:
        """What is known on day ``last``."""
        return Task(self.cases[: last + 1], self.moves.until(last), self.per)

    def to_logs(self, cases: NDArray) -> NDArray:
        return np.log1p(cases / self.per)

    def to_cases(self, logs: NDArray) -> NDArray:
        """At least none, and no more than ten times the most that a region has seen."""
        return np.clip(np.expm1(np.clip(logs, 0, 20)) * self.per, 0, 10 * max(1.0, float(self.cases.max())))

    @cached_property
    def logs(self) -> NDArray:
        return self.to_logs(self.cases)


def made_epidemic(
    rng: np.random.Generator, days: int, *, regions: int = 40, travel: float = 0.08, begin: int = 2
) -> Task:
    """A stochastic SIR: people meet others at home and, in the share ``travel``, where the gravity graph takes them.

    Immunity wanes by a hundredth a day and transmission has a season of 60 days, so that waves come again. Without
    travel every region starts with infections of its own.
    """
    at = rng.random((regions, 2))
    distance = np.linalg.norm(at[:, None] - at[None], axis=2)
    people = rng.integers(2000, 20_000, regions).astype(float)
    gravity = np.where((distance < 0.28) & (distance > 0), np.exp(-distance / 0.15), 0)
    target, source = gravity.nonzero()
    links = Links(np.stack([source, target]), gravity[target, source])
    visited = links.mean(np.eye(regions))  # [n, n]
    contact = 0.35 * np.exp(0.25 * rng.normal(size=regions))
    infected = np.zeros(regions)
    infected[rng.choice(regions, begin if travel else regions, replace=False)] = 20
    susceptible, cases = people - infected, np.zeros((days, regions))
    for day in range(days):
        share = infected / people
        share = (1 - travel) * share + travel * share @ visited
        force = contact * (1 + 0.2 * np.sin(2 * np.pi * day / 60)) * susceptible * share
        cases[day] = np.minimum(rng.poisson(np.minimum(susceptible, force)), np.floor(susceptible))
        infected = infected + cases[day] - rng.binomial(infected.astype(int), 0.15)
        susceptible = susceptible - cases[day]
        susceptible = susceptible + 0.01 * (people - susceptible - infected)
    return Task(cases, Links(links.ends, np.tile(links.weight, (days, 1))), people / 1e4)


def real_epidemic(data) -> Task:
    """The days that have both cases and movements, of one country's data set; a missing count repeats the last."""
    between_regions = data["edge_index"][0] != data["edge_index"][1]
    known = ~np.isnan(data["movement"]).any(axis=1)
    moves = Links(data["edge_index"][:, between_regions], data["movement"][known][:, between_regions].astype(float))
    cases = data["cases"][known].astype(float)
    for day in range(len(cases)):
        cases[day] = np.where(np.isnan(cases[day]), cases[day - 1] if day else 0, cases[day])
    return Task(cases, moves, np.ones(cases.shape[1]))


# ------------------------------------------------------------------------------------------------------------- arms


class Result(NamedTuple):
    logs: NDArray  # [leads, n], from the last day that is known
    parameters: int = 0


def last_value(task: Task, moves: Links, study: EpidemicGraph, rng: np.random.Generator) -> Result:
    """Today stays."""
    return Result(np.repeat(task.logs[-1:], len(LEADS), axis=0))


def week_average(task: Task, moves: Links, study: EpidemicGraph, rng: np.random.Generator) -> Result:
    """The mean of the last seven days stays."""
    return Result(np.repeat(task.to_logs(task.cases[-LENGTH:].mean(axis=0, keepdims=True)), len(LEADS), axis=0))


def ridge(task: Task, moves: Links, study: EpidemicGraph, rng: np.random.Generator) -> Result:
    """One linear map a lead, for all regions, of the change from the week's mean."""
    series = [task.logs] + ([moves.mean(task.logs)] if moves.weight.size else [])
    origins = np.arange(LENGTH - 1, len(task.cases))
    week = windows(task.logs, origins, LENGTH).mean(axis=1)  # [origins, n]
    x = np.concatenate([windows(one, origins, LENGTH) for one in series], axis=1).transpose(0, 2, 1)
    logs = []
    for lead in LEADS:
        change = targets(task.logs, origins, (lead,))[:, 0] - week  # NaN beyond the last day that is known
        if np.isnan(change).all():
            logs.append(week[-1])
            continue
        logs.append(week[-1] + Ridge.fit(x, change, (PENALTY,))(x[-1])[0])
    return Result(np.stack(logs), len(LEADS) * (x.shape[-1] + 1))


class Messages(nn.Module):
    """relu(X W + M X V): a region's own, and the mean over where people come from; a day is a head of the operator."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.own = nn.Linear(features, hidden)
        self.others = nn.Linear(features, hidden, bias=False)

    def forward(self, x: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        return (self.own(x) + self.others(aggregate(x, graph, weight))).relu()  # x [n, days, F], weight [E, days]


class GraphLSTM(nn.Module):
    """Messages along each day's movements, then an LSTM over the week (MPNN+LSTM of Panagopoulos et al. 2021)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first, self.second = Messages(1, hidden), Messages(hidden, hidden)
        self.lstm = nn.LSTM(2 * hidden + 1, hidden, batch_first=True)
        self.out = _silent(hidden)

    def forward(self, x: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        """From x [n, B, 7] and weight [E, B, 7] to [n, B, leads]."""
        n, some, days = x.shape
        each = x.reshape(n, some * days, 1)
        weight = weight.reshape(-1, some * days)
        first = self.first(each, graph, weight)
        second = self.second(first, graph, weight)
        states, _ = self.lstm(torch.cat([each, first, second], dim=-1).reshape(n * some, days, -1))
        return self.out(states[:, -1]).reshape(n, some, -1)


class GraphAlone(nn.Module):
    """The same messages with the week as features, along the last day's movements, and no LSTM."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first, self.second = Messages(LENGTH, hidden), Messages(hidden, hidden)
        self.out = _silent(LENGTH + 2 * hidden)

    def forward(self, x: Tensor, graph: Graph, weight: Tensor) -> Tensor:
        """From x [n, B, 7] and weight [E, B, 7] to [n, B, leads]."""
        first = self.first(x, graph, weight[..., -1])
        return self.out(torch.cat([x, first, self.second(first, graph, weight[..., -1])], dim=-1))


def _silent(features: int) -> nn.Linear:
    """A last layer that says nothing at first."""
    out = nn.Linear(features, len(LEADS))
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    return out


def network(
    kind: Callable[[int], nn.Module],
) -> Callable[[Task, Links, EpidemicGraph, np.random.Generator], Result]:
    """The arm of one kind of network; what it says is added to the week's mean."""

    def fit(task: Task, moves: Links, study: EpidemicGraph, rng: np.random.Generator) -> Result:
        n = task.cases.shape[1]
        mean, deviation = task.logs.mean(), task.logs.std() + 1e-6
        ends = torch.from_numpy(np.ascontiguousarray(moves.ends))
        graph = Graph.from_edge_index(ends, num_nodes=n)
        total = np.maximum(moves.arriving(n), 1e-9)
        shares = torch.from_numpy(moves.weight / total[:, moves.ends[1]]).float()  # [T, E]
        logs = torch.from_numpy((task.logs - mean) / deviation).float()

        def forecast(net: nn.Module, origins: NDArray) -> Tensor:
            days = torch.from_numpy(origins[:, None] + np.arange(1 - LENGTH, 1))  # [B, 7]
            x, weight = logs[days].permute(2, 0, 1), shares[days].permute(2, 0, 1)  # [n, B, 7], [E, B, 7]
            return (x.mean(dim=-1, keepdim=True) + net(x, graph, weight)).permute(1, 2, 0)  # [B, leads, n]

        origins = np.arange(LENGTH - 1, len(task.cases) - 1)  # one day ahead at least is known
        net = kind(study.hidden)
        train(
            net,
            lambda net, some: forecast(net, origins[some]),
            (targets(task.logs, origins, LEADS) - mean) / deviation,
            learning_rate=study.learning_rate,
            epochs=study.epochs,
            batch=study.batch,
            rng=rng,
        )
        with torch.no_grad():
            said = forecast(net, np.array([len(task.cases) - 1]))[0].double().numpy()
        return Result(said * deviation + mean, sum(p.numel() for p in net.parameters()))

    return fit


class Arm(NamedTuple):
    forecast: Callable[[Task, Links, EpidemicGraph, np.random.Generator], Result]
    wiring: str = "none"  # which movements it reads


ARMS = {
    "last_value": Arm(last_value),
    "week_average": Arm(week_average),
    "ar": Arm(ridge),
    "ar_graph": Arm(ridge, "given"),
    "ar_shuffled": Arm(ridge, "permuted"),
    "lstm": Arm(network(GraphLSTM)),
    "graph_lstm": Arm(network(GraphLSTM), "given"),
    "graph_lstm_shuffled": Arm(network(GraphLSTM), "permuted"),
    "graph": Arm(network(GraphAlone), "given"),
}


# ---------------------------------------------------------------------------------------------------------- picture

STYLES = {  # Okabe & Ito; a family has one colour
    "last_value": ("#999999", "-."),
    "week_average": ("#CC79A7", "-."),
    "ar": ("#E69F00", "--"),
    "ar_graph": ("#E69F00", "-"),
    "ar_shuffled": ("#E69F00", ":"),
    "lstm": ("#0072B2", "--"),
    "graph_lstm": ("#0072B2", "-"),
    "graph_lstm_shuffled": ("#0072B2", ":"),
    "graph": ("#009E73", "-"),
}
LEGEND = {"frameon": False, "fontsize": 8, "handletextpad": 0.4, "columnspacing": 1.2}


def draw_fans(axes, artefacts) -> None:
    """New cases of three regions of one seed's made epidemic, and what graph_lstm said at every T."""
    axes.set_title("three regions of the SIR, forecasts by graph_lstm", fontsize=10)
    axes.set(xlabel="day", ylabel="new cases", yticks=[])
    seeds = [seed for seed, kept in artefacts.items() if {"cases", "last_days", "graph_lstm"} <= set(kept)]
    if not seeds:
        axes.text(0.5, 0.5, "no seed kept its forecasts", ha="center", color="0.4", transform=axes.transAxes)
        return
    kept = artefacts[min(seeds)]
    height = max(float(kept["cases"][:, :3].max()), 1.0)
    for i in range(3):
        axes.plot(kept["cases"][:, i] + i * height, color="0.6", linewidth=0.8)
        for last, said in zip(kept["last_days"], kept["graph_lstm"], strict=True):
            axes.plot(
                last + np.array(LEADS), np.minimum(said[:, i], height) + i * height, color="#0072B2", linewidth=1.4
            )


def draw_horizons(axes, rows, task: str) -> None:
    """Errors over the next days, with 95 % intervals over seeds."""
    axes.set_title(task, fontsize=10)
    axes.set(xlabel="days ahead", ylabel="root mean squared error of logarithms", xticks=AHEAD)
    for subject, (colour, line) in STYLES.items():
        points = rows[rows.subject == subject].groupby("ahead").rmsle
        draw_means(
            axes,
            [ahead for ahead, _ in points],
            [values for _, values in points],
            color=colour,
            linestyle=line,
            label=subject,
            linewidth=1.2,
        )
