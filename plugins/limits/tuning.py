"""Settings of a training, many trained at once and thinned out on the way, and what searches make of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench.errors import ParameterError
from dlbench.stacking import Stack

if TYPE_CHECKING:
    import optuna

OPTIMIZERS = ("adam", "sgd")


class Settings(NamedTuple):
    """What is tuned. Decay is decoupled from the gradient, for both optimizers (Loshchilov & Hutter 2019)."""

    optimizer: str
    rate: float
    momentum: float  # of Adam the first beta; its second is 0.999
    decay: float
    falls: bool  # whether the rate falls to 0 along a cosine, or stays


def drawn(rng: np.random.Generator) -> Settings:
    """Settings at random: rates from 1e-4 to 1, momentum from 0.5 to 0.99, decay from 1e-5 to 0.1, each by its size."""

    def log(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    return Settings(
        OPTIMIZERS[rng.integers(2)], log(1e-4, 1), 1 - log(0.01, 0.5), log(1e-5, 0.1), bool(rng.integers(2))
    )


def suggested(trial: optuna.Trial) -> Settings:
    """The same space, as Optuna's samplers see it."""
    return Settings(
        trial.suggest_categorical("optimizer", OPTIMIZERS),
        trial.suggest_float("rate", 1e-4, 1, log=True),
        1 - trial.suggest_float("one_less_momentum", 0.01, 0.5, log=True),
        trial.suggest_float("decay", 1e-5, 0.1, log=True),
        trial.suggest_categorical("falls", (False, True)),
    )


class Training:
    """Networks of one shape, each trained with its own settings, as far as is asked for.

    Args:
        starts: the untrained networks; their weights are copied.
        settings: of each.
        x: [n, ...], to train with.
        y: [n], classes.
        rows: the examples of every step's batch, [steps, batch] if all networks share it, or [steps, networks, batch].
    """

    def __init__(
        self, starts: Sequence[nn.Module], settings: Sequence[Settings], x: Tensor, y: Tensor, rows: Tensor
    ) -> None:
        self.nets, self.settings, self.step = Stack(starts).to(x.device), list(settings), 0
        self.x, self.y, self.rows = x, y, rows
        self._first, self._second = (torch.zeros_like(_in_rows(self.nets.parameters())) for _ in range(2))

    def to(self, step: int) -> Training:
        """Train on until this many steps have been taken."""
        adam = torch.tensor([[s.optimizer == "adam"] for s in self.settings], device=self.x.device)
        rate, momentum, decay, falls = (
            torch.tensor([[float(getattr(s, name))] for s in self.settings], device=self.x.device)
            for name in ("rate", "momentum", "decay", "falls")
        )  # [networks, 1]
        share = torch.where(adam, 1 - momentum, torch.ones_like(momentum))  # of a gradient in the moving sum
        parameters = list(self.nets.parameters())
        weights, first, second = _in_rows(parameters).detach(), self._first, self._second  # [networks, weights]
        places = weights.split([p[0].numel() for p in parameters], 1)
        parts = [part.unflatten(1, p.shape[1:]) for p, part in zip(parameters, places, strict=True)]
        while self.step < step:
            rows = self.rows[self.step].to(self.x.device)
            shared = rows.ndim == 1
            logits = self.nets(self.x[rows]) if shared else self.nets.each(self.x[rows])
            targets = self.y[rows].expand(len(self.settings), -1)
            losses = self.nets.losses(F.cross_entropy, logits, targets)
            gradient = _in_rows(torch.autograd.grad(losses.sum(), parameters))
            now = rate * torch.where(falls > 0, 0.5 + 0.5 * math.cos(math.pi * self.step / len(self.rows)), 1.0)
            self.step += 1
            with torch.no_grad():
                first.mul_(momentum).add_(share * gradient)
                second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                size = (second / (1 - 0.999**self.step)).sqrt_().add_(1e-8)
                by = torch.where(adam, first / ((1 - momentum**self.step) * size), first)
                weights.mul_(1 - now * decay).sub_(now * by)
                for p, part in zip(parameters, parts, strict=True):
                    p.copy_(part)
        return self

    def only(self, kept: Sequence[int]) -> Training:
        """These networks alone, to be trained on from where they are."""
        rows = self.rows if self.rows.ndim == 2 else self.rows[:, list(kept)]
        part = Training([self.nets[k] for k in kept], [self.settings[k] for k in kept], self.x, self.y, rows)
        part.step = self.step
        part._first, part._second = (moments[list(kept)] for moments in (self._first, self._second))
        return part


def _in_rows(stacked: Iterable[Tensor]) -> Tensor:
    """Tensors [networks, ...] as one, a row a network: a step is a few operations and not as many for each layer."""
    return torch.cat([one.flatten(1) for one in stacked], 1)


# ----------------------------------------------------------------------------------------------------------- searches


class Rung(NamedTuple):
    """Where successive halving stops to judge: after how many steps, and how many settings get there."""

    step: int
    count: int


def rungs(budget: int, steps: int, *, eta: int = 3, levels: int = 3) -> list[Rung]:
    """The rungs of successive halving that takes at most a budget of steps, summed over all settings.

    Each of ``levels`` rungs is ``eta`` times as far as the one before, the last at ``steps``, and a share 1/eta of the
    settings gets from one to the next (Jamieson & Talwalkar 2016); as many begin as the budget allows.

    Raises:
        ValueError: the budget is not enough for one training.
    """
    if budget < steps:
        raise ValueError(f"a budget of {budget} steps is too small for one training of {steps}")
    places = [max(1, steps // eta ** (levels - 1 - k)) for k in range(levels)]

    def made(first: int) -> list[Rung]:
        return [Rung(place, max(1, first // eta**k)) for k, place in enumerate(places)]

    first = 1
    while spent(made(first + 1)) <= budget:
        first += 1
    return made(first)


def spent(levels: Sequence[Rung]) -> int:
    """The steps that are taken in all when the last of these rungs is reached."""
    befores = [0, *(rung.step for rung in levels)]
    return sum(rung.count * (rung.step - before) for rung, before in zip(levels, befores, strict=False))


class Lap(NamedTuple):
    """How a race stands at a rung."""

    rung: Rung
    training: Training
    alive: list[int]  # which setting each of the training's networks has
    validation: dict[int, float]  # of those
    members: list[int]  # the settings that are halved, the best at validation first


def race(
    training: Training, levels: Sequence[Rung], judge: Callable[[Stack], NDArray[np.float64]], *, always: int
) -> Iterator[Lap]:
    """Successive halving, how it stands at each rung; of equals the first goes on.

    Args:
        training: of the settings that are there always, and then of those that are halved.
        levels: the rungs, of which the first says how many are halved.
        judge: validation accuracies of networks.
        always: how many settings train to the end whatever comes; the first of those that are halved can be among them.
    """
    alive = list(range(len(training.settings)))
    members = alive[-levels[0].count :]
    for rung in levels:
        members = members[: rung.count]
        wanted = [k for k in alive if k < always or k in members]
        training = training.only([alive.index(k) for k in wanted])
        alive = wanted
        validation = dict(zip(alive, map(float, judge(training.to(rung.step).nets)), strict=True))
        members = sorted(members, key=lambda k: -validation[k])
        yield Lap(rung, training, alive, validation, members)


def expected_best(validation: ArrayLike, test: ArrayLike, k: int) -> float:
    """The test accuracy to expect of the best at validation of k trials, drawn from these without replacement.

    Exact, from the order of the trials (as Dodge et al., Show your work, EMNLP 2019, with replacement).

    Args:
        validation: [n], of each trial.
        test: [n].
        k: from 1 to n.

    Raises:
        ValueError: k is out of range.
    """
    v, t = np.asarray(validation, dtype=float), np.asarray(test, dtype=float)
    if not 1 <= k <= len(v):
        raise ValueError(f"k is {k}; expected 1 to {len(v)}, the number of trials")
    ascending = np.lexsort((-np.arange(len(v)), v))  # of equals the first is the best
    chances = [math.comb(below, k - 1) / math.comb(len(v), k) for below in range(len(v))]
    return float(np.dot(chances, t[ascending]))


def incumbents(validation: ArrayLike) -> NDArray[np.intp]:
    """[n]: after each trial, which one is the best at validation so far; of equals the first."""
    v = np.asarray(validation, dtype=float)
    return np.array([int(np.argmax(v[: k + 1])) for k in range(len(v))], dtype=np.intp)


# ------------------------------------------------------------------------------------------------------------- Optuna


class Tried(NamedTuple):
    """One setting of a search by Optuna, and what it came to."""

    settings: Settings
    validation: float
    test: float
    spent: int  # steps of the search so far


Run = Callable[[Sequence[Settings]], Training]
Judge = Callable[[Stack], tuple[NDArray[np.float64], NDArray[np.float64]]]  # validation and test accuracy of each


def by_tpe(run: Run, judge: Judge, *, trials: int, steps: int, seed: int, together: int = 4) -> list[Tried]:
    """Tree-structured Parzen estimators (Bergstra et al. 2011): each few trials are drawn by what those before showed.

    Args:
        run: begins the training of some settings.
        judge: accuracies of networks.
        trials: in all.
        steps: of a training.
        seed: of the sampler.
        together: how many are drawn, and trained, at a time; those still running count as bad.

    Raises:
        ParameterError: Optuna is not installed.
    """
    library = _optuna()
    sampler = library.samplers.TPESampler(seed=seed, n_startup_trials=min(8, trials), constant_liar=True)
    study = library.create_study(direction="maximize", sampler=sampler)
    found: list[Tried] = []
    while len(found) < trials:
        asked = [study.ask() for _ in range(min(together, trials - len(found)))]
        settings = [suggested(trial) for trial in asked]
        validation, test = judge(run(settings).to(steps).nets)
        for trial, one, v, t in zip(asked, settings, validation, test, strict=True):
            study.tell(trial, float(v))
            found.append(Tried(one, float(v), float(t), (len(found) + 1) * steps))
    return found


def by_asha(
    run: Run, judge: Judge, *, levels: Sequence[Rung], budget: int, seed: int, together: int = 12
) -> list[Tried]:
    """Asynchronous successive halving (Li et al. 2020): whoever is among the best third at a rung so far goes on.

    Random settings; only those that get to the end are returned. Arguments as of :func:`by_tpe`.

    Args:
        run: begins the training of some settings.
        judge: accuracies of networks.
        levels: where to judge.
        budget: of steps over all settings; begun trainings are finished.
        seed: of the sampler.
        together: how many are trained at a time.

    Raises:
        ParameterError: Optuna is not installed.
    """
    library = _optuna()
    eta = max(2, levels[1].step // levels[0].step) if len(levels) > 1 else 2
    pruner = library.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=eta)
    study = library.create_study(direction="maximize", sampler=library.samplers.RandomSampler(seed=seed), pruner=pruner)
    found: list[Tried] = []
    taken = 0
    while taken < budget:
        alive = [study.ask() for _ in range(together)]
        training = run([suggested(trial) for trial in alive])
        before = 0
        for number, rung in enumerate(levels):
            taken += len(alive) * (rung.step - before)
            before = rung.step
            validation, test = judge(training.to(rung.step).nets)
            if number == len(levels) - 1:
                for trial, one, v, t in zip(alive, training.settings, validation, test, strict=True):
                    study.tell(trial, float(v))
                    found.append(Tried(one, float(v), float(t), taken))
                break
            kept = []
            for k, trial in enumerate(alive):
                trial.report(float(validation[k]), eta**number)
                if trial.should_prune():
                    study.tell(trial, state=library.trial.TrialState.PRUNED)
                else:
                    kept.append(k)
            if not kept:
                break
            alive, training = [alive[k] for k in kept], training.only(kept)
    return found


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as problem:
        raise ParameterError(
            f"expert_tuning.optuna needs Optuna ({problem}): pip install 'dlbench[automl]', or leave it off"
        ) from problem
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
