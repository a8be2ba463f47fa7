"""What the rules look at: attacks and measurements, each made when a rule first asks for it, and once.

The attacks form a chain. ``held`` marks what an attack left right, and the next one attacks only that: FGSM and PGD
begin with what the model gets right; PGD's further restarts, its other losses, noise and queries with what was left.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from dlbench import ops
from dlbench.attacks.blackbox import noise
from dlbench.attacks.checks import Bounds, are_probabilities
from dlbench.attacks.diagnosis import probes
from dlbench.attacks.diagnosis.probes import CannotAskError
from dlbench.attacks.gradient import pgd
from dlbench.attacks.modes import Model, attack_mode
from dlbench.attacks.randomness import uniform
from dlbench.attacks.search import AttackResult, Norm
from dlbench.attacks.square import square
from dlbench.ops.limits import Number

REPEATS = 5  # forward passes of the same x (AutoAttack's check_randomized)
PROBED = 64  # samples for the measurements of 40 passes and more: enough for a mean
DIRECTIONS = 20  # along which slopes are compared
DIFFERENCES = {torch.float64: (1e-6,), torch.float32: (1e-3, 3e-3, 1e-2, 3e-2)}  # steps, as shares of the range
NEIGHBOURS = 100  # draws around a sample (Pintor et al. 2022: gamma)
LAST_STEPS = 10  # over which an attack should be at rest (Pintor et al. 2022)
RERUN = 256  # samples that are attacked again in full precision
LEVELS = 255  # steps of an 8-bit image between its bounds
CORNER = {"linf": 0.0, "l2": 0.5, "l1": 1.0}  # the norm of a cube's corner is its half-side times D to this power


@dataclass(frozen=True)
class Settings:
    """How to attack: the arguments of :func:`~dlbench.attacks.diagnose`."""

    eps: float
    norm: Norm
    bounds: Bounds
    steps: int
    restarts: int
    queries: int
    noise_draws: int
    seed: int
    attack_autocast: torch.dtype | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an attack did to k of the N samples.

    ``attacked`` [k] are their indices, and ``x_adv`` [k, ...] the points that it kept for them. The others are in the
    places of all N: ``held`` and ``broken`` [N] bool, attacked and right still or not; ``loss`` [N], NaN where not
    attacked.
    """

    attacked: Tensor
    x_adv: Tensor
    held: Tensor
    broken: Tensor
    loss: Tensor


class Evidence:
    """Everything that is measured on a model and N samples.

    To be made before the model is put in eval mode, and used inside ``attack_mode`` and ``input_grad_only``. What
    cannot be measured raises :class:`~dlbench.attacks.diagnosis.probes.CannotAskError`. ``forwards`` and ``backwards``
    [N] count what was spent.
    """

    def __init__(self, model: Model, x: Tensor, y: Tensor, ids: Tensor, settings: Settings) -> None:
        # clones: tensors that were made under inference mode cannot take part in a backward pass
        self.model, self.x, self.y, self.ids, self.settings = model, x.detach().clone(), y.clone(), ids, settings
        self.n = len(x)
        self.lower, self.upper = (_by_channel(bound, self.x) for bound in settings.bounds)
        self.modes = [(m, m.training) for m in model.modules()] if isinstance(model, nn.Module) else []
        self.forwards, self.backwards = torch.zeros_like(self.y), torch.zeros_like(self.y)
        self._held_at: dict[float, Tensor] = {}

    # ---------------------------------------------------------------------------------------------------- the model

    @cached_property
    def clean(self) -> tuple[Tensor, int, list[str]]:
        """In eval mode: logits [N, K], how often the forward pass called autograd, the buffers that it changed."""
        before = self._buffers()
        with probes.BackwardCalls() as calls:
            logits = self._answer(self.x)
        return logits, calls.count, self._changed(before)

    @cached_property
    def by_logits(self) -> Model:
        """The model as it is attacked: where it returns probabilities, which attacks refuse, their logarithms."""
        if not are_probabilities(self.logits).all():
            return self.model
        tiny = torch.finfo(self.logits.dtype).tiny
        return lambda points: self.model(points).clamp(min=tiny).log()

    @property
    def logits(self) -> Tensor:
        """[N, K]"""
        return self.clean[0]

    @property
    def classes(self) -> int:
        """K"""
        return self.logits.shape[1]

    @cached_property
    def correct(self) -> Tensor:
        """[N] bool: what the model gets right."""
        correct = self.logits.argmax(1) == self.y
        if not correct.any():
            raise CannotAskError("the model gets none of the samples right: there is nothing to break")
        return correct

    @cached_property
    def repeats(self) -> Tensor:
        """[5, N, K] logits of the same x."""
        return torch.stack([self.logits, *(self._answer(self.x) for _ in range(REPEATS - 1))])

    @cached_property
    def as_given(self) -> tuple[list[str], Tensor, list[str]]:
        """In the modes that the model came in.

        The batch norm and dropout layers in training; [N] bool, whether the label differs from that in eval mode;
        the buffers that a forward pass changes.
        """
        if not isinstance(self.model, nn.Module):
            raise CannotAskError("the model is a plain callable, whose modes cannot be seen")
        layers = [type(m).__name__ for m, training in self.modes if training and isinstance(m, _BatchNorm | _DropoutNd)]
        if not any(training for _, training in self.modes):
            return layers, torch.zeros_like(self.y, dtype=torch.bool), []
        before = self._buffers()
        with attack_mode(self.model):  # keeps the buffers, and takes the modes back
            for module, training in self.modes:
                module.training = training
            try:
                logits = self._answer(self.x)
            except ValueError as error:  # batch norm in training refuses a single sample
                raise CannotAskError(f"the model does not run in the modes it came in: {error}") from error
            return layers, logits.argmax(1) != self.logits.argmax(1), self._changed(before)

    # ------------------------------------------------------------------------------------------------- its gradients

    @cached_property
    def start(self) -> Tensor:
        """[N, ...] points of the cube inside the ball, where an attack may start.

        They are reflected at the bounds, not clamped to them: where many pixels are equal, a max-pooling has no
        derivative.
        """
        drawn = self._cube * uniform(self._seed("start"), 0, self.ids, self.x.shape[1:], self.x.dtype)
        points = self.x + drawn
        outside = (points < self.lower) | (points > self.upper)
        return torch.where(outside, self.x - drawn, points).clamp(self.lower, self.upper)

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """[N, ...] each: of cross-entropy at x and at the start, and at x of DLR, or the margin for two classes.

        DLR is constant, and rightly, where the label comes third; at x it comes first if the model is right.
        """
        scale_free = ops.dlr_loss if self.classes >= 3 else ops.margin_loss
        ce, dlr = probes.input_gradients(self.model, self.x, self.y, [probes.cross_entropy, scale_free])
        (at_start,) = probes.input_gradients(self.model, self.start, self.y, [probes.cross_entropy])
        self._spend(slice(None), 2, 3)
        return {"ce": ce, "dlr": dlr, "ce at start": at_start}

    @cached_property
    def probed(self) -> Tensor:
        """[p] indices of the samples of the costly measurements."""
        return self.correct.nonzero().squeeze(1)[:PROBED]

    @cached_property
    def slopes(self) -> tuple[Tensor, Tensor, torch.dtype]:
        """How well the gradient's slopes agree with differences: cosine [p], share of equal signs [p], in which type.

        Of several step sizes a sample counts with the one that agrees best.
        """
        chosen = self.probed
        twin = probes.in_float64(self.model, self.x)
        if self.x.dtype != torch.float64:
            self._spend(slice(1), 1)
        dtype = torch.float32 if twin is None else torch.float64
        narrowest = float((self.upper - self.lower).min())
        cosines, signs = [], []
        for share in DIFFERENCES[dtype]:
            by_gradient, by_difference = probes.slopes(
                twin or self.model,
                self.start[chosen].to(dtype),
                self.y[chosen],
                self.ids[chosen],
                step=share * narrowest,
                bounds=(self.lower.to(dtype), self.upper.to(dtype)),
                directions=DIRECTIONS,
                seed=self._seed("directions"),
            )
            self._spend(chosen, 1 + 2 * DIRECTIONS, 1)
            cosines.append(probes.cosine(by_gradient, by_difference))
            signs.append((by_gradient * by_difference > 0).double().mean(1))
        best = torch.stack(cosines).max(0)
        return best.values, torch.stack(signs).gather(0, best.indices[None]).squeeze(0), dtype

    @cached_property
    def roughness(self) -> Tensor:
        """[p] mean relative change of the margin over draws from ±eps/2, capped at 1."""
        chosen = self.probed
        reference = ops.margin_loss(self.logits[chosen].double(), self.y[chosen])
        total = torch.zeros_like(reference)
        for draw in range(NEIGHBOURS):
            drawn = uniform(self._seed("neighbours"), draw, self.ids[chosen], self.x.shape[1:], self.x.dtype)
            points = (self.x[chosen] + self._cube / 2 * drawn).clamp(self.lower, self.upper)
            logits = self._answer(points, chosen)
            total += (ops.margin_loss(logits, self.y[chosen]) - reference).abs()
        return (total / NEIGHBOURS / reference.abs()).nan_to_num(1.0).clamp(max=1)

    # ------------------------------------------------------------------------------------------------------- attacks

    @cached_property
    def fgsm(self) -> Outcome:
        """One step of length eps, from x."""
        return self._pgd(self._attackable, steps=1, step_size=self.settings.eps, random_start=False)

    @cached_property
    def pgd(self) -> list[Outcome]:
        """PGD on cross-entropy, one outcome a restart."""
        outcomes: list[Outcome] = []
        for restart in range(self.settings.restarts):
            outcomes.append(self._pgd(outcomes[-1].held if outcomes else self._attackable, restart=restart))
        return outcomes

    @cached_property
    def pgd_margin(self) -> Outcome:
        """PGD on the margin, with as many restarts."""
        return self._pgd(self.pgd[-1].held, loss="margin", restarts=self.settings.restarts)

    @cached_property
    def pgd_shorter(self) -> Outcome:
        """The first restart again, as it stood ten steps before its end, or after its first step."""
        s = self.settings
        return self._pgd(self.pgd[-1].held, steps=max(1, s.steps - LAST_STEPS), step_size=2.5 * s.eps / s.steps)

    @cached_property
    def pgd_longer(self) -> Outcome:
        """Twice the steps, half as long, from where the first restart began."""
        return self._pgd(self.pgd[-1].held, steps=2 * self.settings.steps)

    @cached_property
    def pgd_rescaled(self) -> Outcome:
        """PGD on cross-entropy of logits less their largest; what holds, also of logits whose gap is 1 on average."""
        first, second = self.logits[self.correct].topk(2).values.unbind(1)
        gap = (first - second).mean()

        def centred(points: Tensor) -> Tensor:
            logits = self.model(points)
            return logits - logits.detach().amax(1, keepdim=True)

        shifted = self._pgd(self.pgd[-1].held, model=centred)
        return self._pgd(shifted.held, model=lambda points: centred(points) / gap)

    @property
    def white_box_held(self) -> Tensor:
        """[N] bool: what held against every attack by gradients."""
        return self.fgsm.held & self.pgd_margin.held

    @cached_property
    def black_box(self) -> dict[str, Outcome]:
        """Attacks that see no gradient: noise and, where x are images, queries.

        They keep to the cube inside the ball, which for ``"linf"`` is the ball.
        """
        s = self.settings
        shared: dict[str, Any] = {"eps": self._cube, "seed": self._seed("black box")}
        found = {"noise": self._attack(noise, self.white_box_held, restarts=s.noise_draws, **shared)}
        if self.x.dim() == 4:
            found["square"] = self._attack(square, found["noise"].held, queries=s.queries, **shared)
        return found

    def held_at(self, eps: float) -> Tensor:
        """[N] bool: what holds against PGD of this radius, from x: a random start so far off might do its work."""
        if eps not in self._held_at:
            self._held_at[eps] = self._pgd(self._attackable, eps=eps, random_start=False).held
        return self._held_at[eps]

    @property
    def full_range(self) -> float:
        """The radius at which every input is in reach of every other."""
        return float((self.upper - self.lower).max()) * self._corner

    @property
    def radii(self) -> list[float]:
        """Two a decade, eps among them, from eps / 10 or the range / 100, whichever is less; half the range, and all.

        So two decades of them end at 10 eps or more, or near the range: where accuracy has to have moved.
        """
        eps, full = self.settings.eps, self.full_range
        first = math.floor(2 * math.log10(min(0.1, full / 100 / eps)) + 1e-9)
        geometric = (eps * 10 ** (i / 2) for i in itertools.count(first))
        return [*itertools.takewhile(lambda radius: radius < full / 2, geometric), full / 2, full]

    @cached_property
    def in_autocast(self) -> tuple[Tensor, Tensor, Tensor]:
        """[N] bool: a few samples, what of them holds under autocast, and what in full float32."""
        dtype = self.settings.attack_autocast
        if dtype is None:
            raise CannotAskError("the attack did not run under autocast (attack_autocast is None)")
        chosen = torch.zeros_like(self.correct)
        chosen[self._attackable.nonzero().squeeze(1)[:RERUN]] = True
        with torch.autocast(self.x.device.type, dtype=dtype):
            low = self._pgd(chosen)
        with probes.exact_float32():
            return chosen, low.held, self._pgd(chosen).held

    # ------------------------------------------------------------------------------------------- what the attacks gave

    @cached_property
    def broken_by(self) -> dict[str, Tensor]:
        """[N] bool for each attack at eps: the samples that it was the first to break."""
        broken, held = {}, self.correct
        for name, outcomes in self._at_eps():
            now = torch.stack([outcome.broken for outcome in outcomes]).any(0)
            broken[name] = held & now
            held = held & ~now
        return broken

    @property
    def held(self) -> Tensor:
        """[N] bool: what held against all of them."""
        return self.correct & ~torch.stack(list(self.broken_by.values())).any(0)

    @cached_property
    def x_adv(self) -> Tensor:
        """[N, ...] the point that first broke a sample, or where PGD came to."""
        points, held, first = self.x.clone(), self.correct.clone(), self.pgd[0]
        points[first.attacked] = first.x_adv
        for _, outcomes in self._at_eps():
            for outcome in outcomes:
                new = (held & outcome.broken)[outcome.attacked]
                points[outcome.attacked[new]] = outcome.x_adv[new]
                held &= ~outcome.broken
        return points

    @cached_property
    def logits_adv(self) -> Tensor:
        """[N, K] logits at these points, asked again."""
        return self._answer(self.x_adv)

    @cached_property
    def rounded(self) -> tuple[Tensor, Tensor]:
        """[N] bool: what PGD broke when it went on to the best loss; what of it is right again, rounded to 8 bits.

        The first point that breaks a sample lies just beyond the boundary, and would be lost to any change.
        """
        ends = float(self.lower.min()), float(self.upper.max())
        if self.lower.dim() == 0 and ends not in ((0, 1), (0, 255)):
            raise CannotAskError(
                "bounds are ({:g}, {:g}); 8-bit images have (0, 1), (0, 255) or bounds a channel".format(*ends)
            )
        best = self._pgd(self.pgd[0].broken, stop="never")
        chosen = best.broken.nonzero().squeeze(1)
        if not len(chosen):
            raise CannotAskError("PGD broke nothing, so there is nothing to round")
        step = (self.upper - self.lower) / LEVELS
        points = best.x_adv[best.broken[best.attacked]]
        points = self.lower + ((points - self.lower) / step).round() * step
        lost = torch.zeros_like(best.broken)
        lost[chosen] = self._answer(points.clamp(self.lower, self.upper), chosen).argmax(1) == self.y[chosen]
        return best.broken, lost

    # ------------------------------------------------------------------------------------------------------- helpers

    def _at_eps(self) -> list[tuple[str, list[Outcome]]]:
        """The attacks of radius eps, in their order."""
        white = [("fgsm", [self.fgsm]), ("pgd", self.pgd), ("pgd_margin", [self.pgd_margin])]
        return [*white, *((name, [outcome]) for name, outcome in self.black_box.items())]

    @property
    def _attackable(self) -> Tensor:
        """What the model gets right, once it is known to have a gradient."""
        _ = self.gradients
        return self.correct

    def _pgd(self, attacked: Tensor, *, model: Model | None = None, restart: int = 0, **changes: Any) -> Outcome:
        s = self.settings
        usual = {"eps": s.eps, "steps": s.steps, "norm": s.norm, "seed": self._seed("pgd", restart)}
        return self._attack(pgd, attacked, model=model, **(usual | changes))

    def _attack(
        self,
        attack: Callable[..., AttackResult],
        attacked: Tensor,
        *,
        model: Model | None = None,
        **settings: Any,
    ) -> Outcome:
        """Run an attack on the samples that are marked [N]."""
        held, broken = torch.zeros_like(attacked), torch.zeros_like(attacked)
        loss = self.x.new_full((self.n,), math.nan)
        chosen = attacked.nonzero().squeeze(1)
        points = self.x[chosen]
        if len(chosen):
            result = attack(
                model or self.by_logits,
                points,
                self.y[chosen],
                bounds=self.settings.bounds,
                sample_ids=self.ids[chosen],
                **settings,
            )
            held[chosen], broken[chosen] = ~result.success, result.success
            points, loss[chosen] = result.x_adv, result.loss.to(loss.dtype)
            self._spend(chosen, result.forwards, result.backwards)
        return Outcome(chosen, points, held, broken, loss)

    def _answer(self, points: Tensor, chosen: Tensor | slice = slice(None)) -> Tensor:
        """Logits at points of the chosen samples; nothing is differentiated through."""
        self._spend(chosen, 1)
        return self.model(points).detach()

    def _spend(self, chosen: Tensor | slice, forwards: Tensor | int, backwards: Tensor | int = 0) -> None:
        self.forwards[chosen] += forwards
        self.backwards[chosen] += backwards

    def _buffers(self) -> dict[str, Tensor]:
        named = self.model.named_buffers() if isinstance(self.model, nn.Module) else ()
        return {name: buffer.detach().clone() for name, buffer in named}

    def _changed(self, before: dict[str, Tensor]) -> list[str]:
        """The names of the buffers that are not bit by bit what they were; a NaN may stay one."""
        now = self._buffers()
        return [name for name, old in before.items() if not _same(old, now.get(name))]

    @property
    def _corner(self) -> float:
        return float(math.prod(self.x.shape[1:]) ** CORNER[self.settings.norm])

    @property
    def _cube(self) -> float:
        """Half the side of the largest cube inside the ball."""
        return self.settings.eps / self._corner

    def _seed(self, purpose: str, index: int = 0) -> int:
        """A seed of its own for each purpose."""
        return zlib.crc32(f"{self.settings.seed}/{purpose}/{index}".encode())


def _same(a: Tensor, b: Tensor | None) -> bool:
    return b is not None and a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def _by_channel(bound: Number, x: Tensor) -> Tensor:
    """A bound, a number or [C], in a shape that broadcasts with x [n, C, ...]."""
    bound = torch.as_tensor(bound, dtype=x.dtype, device=x.device)
    return bound.reshape(-1, *[1] * (x.dim() - 2)) if bound.dim() else bound
