"""FAB-T: the nearest adversarial point, found by walking along the decision boundary (Croce & Hein, ICML 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, Literal, cast

import torch
from torch import Tensor

from dlbench.attacks import hyperplane
from dlbench.attacks.geometry import ORDER, Bounds, box, check_norm, distance
from dlbench.attacks.modes import Model, attack_mode, input_grad_only
from dlbench.attacks.oracle import Oracle, refuted
from dlbench.attacks.randomness import uniform
from dlbench.attacks.rewrite import Rewritten, pieces_of
from dlbench.attacks.search import AttackResult, Search, check_eps


@dataclass(frozen=True, eq=False, kw_only=True)
class NearestResult(AttackResult):
    """An :class:`AttackResult` that also tells how near the boundary was seen.

    Args:
        nearest: [N] float64, distance to the nearest adversarial point met, within eps or not: 0 where the model is
            wrong on x, infinite where none was met. An upper bound of the robustness radius, and where ``stop`` is
            ``"never"`` the attack's estimate of it.
    """

    nearest: Tensor


def fab(
    model: Model | Rewritten,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: Literal["linf", "l2"] = "linf",
    steps: int = 100,
    restarts: int = 1,
    target_classes: int = 9,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
    stop: Literal["success", "never"] = "success",
    rewrite: Literal["auto", "compile", "off"] = "auto",
) -> NearestResult:
    """The fast adaptive boundary attack, targeted as in AutoAttack (Croce & Hein, ICML 2020, arXiv:1907.02044).

    For each of the classes t with the highest other logits at x, the boundary z_t = z_y is linearised where the attack
    stands. That place, drawn back towards x if it is adversarial, and x itself are projected on this hyperplane inside
    the bounds; the next place lies between the two feet, a little beyond the hyperplane. eps plays no part in this
    walk: it only says which of the points count.

    AutoAttack's code asks for the gradient after drawing back, in a second forward pass. Here one pass gives label and
    gradient, and the hyperplane is that of a place just behind the boundary instead of one before it.

    Model, bounds and random state are treated, and samples told apart, as by :func:`~dlbench.attacks.pgd`.

    Args:
        model: maps samples [n, ...] to logits [n, K].
        x: [N, ...] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: points farther from x than this count for ``nearest``, not as success.
        norm: ``"linf"`` or ``"l2"``.
        steps: gradients for each class and restart.
        restarts: the first starts at x, later ones in a random direction, half as far away as eps or the nearest point.
        target_classes: how many; no more than the model has beside the true one.
        bounds: least and greatest value that an input can have.
        seed: of the restarts.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        alpha_max: the largest share of x's projection in a step.
        eta: how far to go, 1 being the hyperplane.
        beta: what drawing back leaves of the distance to x.
        stop: ``"success"`` drops a sample as soon as an adversarial point within eps is found; ``"never"`` goes on to
            the nearest that the attack can find, and ``x_adv`` is that one.
        rewrite: whether faster forms of the model are looked for, as in :func:`perturb`.

    Raises:
        ValueError: labels the model does not have, x outside the bounds, an impossible setting.
    """
    check_eps(eps)
    check_norm(norm, ("linf", "l2"))
    if min(steps, restarts, target_classes) < 1:
        given = f"steps is {steps}, restarts is {restarts} and target_classes is {target_classes}"
        raise ValueError(f"{given}; all must be 1 or more")
    if not (0 <= alpha_max <= 1 and eta >= 1 and 0 <= beta <= 1):
        given = f"alpha_max is {alpha_max:g}, eta is {eta:g} and beta is {beta:g}"
        raise ValueError(f"{given}; they must be 0 to 1, 1 or more, and 0 to 1")
    original = model.original if isinstance(model, Rewritten) else model
    with attack_mode(original), input_grad_only(original):
        search = Search(x, y, bounds=bounds, norm=norm, loss="margin", stop=stop, sample_ids=sample_ids)
        work = steps * restarts * target_classes
        pieces = pieces_of(model, search.x, work, "off" if stop == "never" else rewrite)
        judge = oracle = Oracle(pieces.plain, _lead)
        if pieces.plain is not pieces:
            oracle = Oracle(pieces, _lead)
        logits = judge.look(search.x, search.ids, search.ids)
        search.clean(logits)
        walk = _Walk(oracle, search, eps, norm, steps, alpha_max, eta, beta)
        others = logits.scatter(1, search.y[:, None], -math.inf).argsort(dim=1, descending=True, stable=True)
        classes = min(target_classes, logits.shape[1] - 1)
        search.attend(search.clean_correct.nonzero().squeeze(1))  # the others stand beyond the boundary already
        for rank, restart in product(range(classes if eps > 0 else 0), range(restarts)):
            if not search.drop_decided():
                break
            start = walk.start(seed, restart * classes + rank) if restart else search.centres
            walk.run(start, others[search.active, rank])
        doubted = search.active[:0] if oracle is judge else refuted(search, judge)
        found = search.result(by_gradient=True)
        shared = {field.name: getattr(found, field.name) for field in fields(found)}
        result = NearestResult(**shared, nearest=walk.nearest)
        if not len(doubted):
            return result
        settings: dict[str, Any] = {"eps": eps, "norm": norm, "steps": steps, "restarts": restarts, "seed": seed}
        settings |= {"alpha_max": alpha_max, "eta": eta, "beta": beta, "bounds": bounds}
        settings |= {"target_classes": target_classes, "stop": stop}
        again = fab(original, x[doubted], y[doubted], sample_ids=search.ids[doubted], rewrite="off", **settings)
        result.nearest[doubted] = again.nearest
        return cast(NearestResult, result.followed_by(doubted, again))


def _lead(logits: Tensor, pairs: Tensor) -> Tensor:
    """By how much the second of two classes [n, 2] is ahead of the first."""
    own, aimed_at = logits.gather(1, pairs).unbind(1)
    return aimed_at - own


@dataclass(eq=False)
class _Walk:
    """Walks along boundaries, and how near they came; rows are the search's active samples, in that order."""

    oracle: Oracle
    search: Search
    eps: float
    norm: str
    steps: int
    alpha_max: float
    eta: float
    beta: float

    def __post_init__(self) -> None:
        self.lower, self.upper = box(self.search.bounds, self.search.x)
        self.nearest = torch.where(self.search.clean_correct, math.inf, 0.0).double()

    def start(self, seed: int, draw: int) -> Tensor:
        """[n, ...], half as far from x as eps, or as the nearest adversarial point, in a random direction."""
        search, centres = self.search, self.search.centres.flatten(1)
        drawn = uniform(seed, draw, search.ids[search.active], centres.shape[1:], centres.dtype)
        if self.norm == "l2":  # normal numbers have no preferred direction
            drawn = torch.erfinv(drawn.clamp(min=-1 + 2**-24))
        length = torch.linalg.vector_norm(drawn, ORDER[self.norm], dim=1)
        shrink = self.nearest[search.active].clamp(max=self.eps) / 2 / length
        return self.inside((centres + drawn * shrink.to(drawn.dtype)[:, None]).view_as(search.centres))

    def run(self, points: Tensor, targets: Tensor) -> None:
        """Take the steps from points [n, ...] towards the classes targets [n]."""
        search = self.search
        for age in range(self.steps):
            ids, pairs = search.ids[search.active], torch.stack([search.aims, targets], 1)
            logits, lead, gradient = self.oracle.slope(points, pairs, ids, ids)
            adversarial = self.look(points, logits, start=age == 0)
            still = search.open()
            if not len(still):
                return
            if len(still) < len(points):  # decided samples leave the batch
                search.attend(search.active[still])
                points, targets, lead, adversarial, gradient = (
                    rows[still] for rows in (points, targets, lead, adversarial, gradient)
                )
            points = self.step(points, lead, gradient, adversarial)
        ids = search.ids[search.active]
        self.look(points, self.oracle.look(points, ids, ids))

    def look(self, points: Tensor, logits: Tensor, *, start: bool = False) -> Tensor:
        """Note the logits [n, K] at points [n, ...]; returns whether they are adversarial [n]."""
        search, active = self.search, self.search.active
        adversarial = logits.argmax(1) != search.aims
        far = torch.where(adversarial, distance(points, search.centres, self.norm), math.inf)
        self.nearest[active] = self.nearest[active].minimum(far)
        search.visit(points, logits, start=start, score=torch.where(far <= self.eps, -far, -math.inf))
        return adversarial

    def step(self, points: Tensor, lead: Tensor, gradient: Tensor, adversarial: Tensor) -> Tensor:
        """The next points [n, ...], from what was seen at these."""
        there, centre = points.flatten(1), self.search.centres.flatten(1)
        here = torch.where(adversarial[:, None], centre + self.beta * (there - centre), there)
        both, normal = torch.cat([here, centre]), torch.nan_to_num(gradient.flatten(1), 0.0, 0.0, 0.0).repeat(2, 1)
        lead = torch.nan_to_num(lead.double(), 0.0, 0.0, 0.0).repeat(2)
        lead_at_both = lead + (normal * (both - there.repeat(2, 1))).sum(1, dtype=torch.float64)
        lower, upper = (bound.expand_as(points[:1]).flatten(1) for bound in (self.lower, self.upper))
        way = hyperplane.project(both, normal, -lead_at_both, lower, upper, self.norm) - both
        near, far = torch.linalg.vector_norm(way, ORDER[self.norm], dim=1, keepdim=True).clamp(min=1e-8).chunk(2)
        alpha = (near / (near + far)).clamp(max=self.alpha_max)
        from_here, from_x = (both + self.eta * way).chunk(2)
        return self.inside(((1 - alpha) * from_here + alpha * from_x).view_as(points))

    def inside(self, points: Tensor) -> Tensor:
        """Clipped to the bounds."""
        return torch.clamp(points, self.lower, self.upper)
