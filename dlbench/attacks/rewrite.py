"""A model in other forms that compute the same function, and the fastest of them found by running them.

Evaluating a net's robustness runs it thousands of times with fixed weights, so it may be rewritten for that: batch
normalisation folded into the convolutions before it, images in channels-last order, convolutions in Winograd's way, and
pieces small enough for the cache. Every form is held against the model's own logits first, and dropped where they
differ or where it cannot be made (``forms.py``). Which one is fastest depends on the machine, so they race, on points
that have to be evaluated anyway. Since the winner may differ from run to run, so may the last bits of the numbers.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dlbench.attacks.forms import agree, forms_of
from dlbench.attacks.modes import Model, attack_mode
from dlbench.attacks.oracle import Whole

SIZES = (32, 16, 64)  # of a piece
LAPS = 3  # timed, after one to warm up; two of them only for those that are
CLOSE = 1.5  # times as slow as the fastest, or less: a busy machine slows single laps by as much
WORTH_REWRITING = 1e7  # steps times numbers in x from which faster forms of a model are looked for
PROBE = 8  # samples on which forms are compared; on a CPU they race with as many, since of slow ones few are enough


@dataclass
class Form:
    """One way to compute the model, in pieces of one size."""

    name: str
    model: Model
    size: int
    seconds: list[float] = field(default_factory=list)  # a sample

    def piece(self, left: int) -> int:
        """How many of the points that are left the next piece has: a small rest, which would cost more, joins."""
        return left if left < 1.5 * self.size else self.size

    @property
    def timed(self) -> bool:
        """Whether it has run once since it was warm."""
        return len(self.seconds) > 1

    @property
    def settled(self) -> bool:
        """Whether it has run as often as any form may."""
        return len(self.seconds) > LAPS

    @property
    def best(self) -> float:
        """Seconds a sample in its best lap; the first, in which libraries prepare themselves, does not count."""
        return min(self.seconds[1:])


class Rewritten:
    """A model in the fastest form known; an attack that is given it uses it, others may use ``original``.

    Args:
        model: a module, which is put in eval mode meanwhile; whatever cannot be traced keeps its own form.
        x: [n, ...] samples on which forms are compared.
        compiled: let ``torch.compile`` take part, which costs up to minutes once.
    """

    def __init__(self, model: Model, x: Tensor, *, compiled: bool = False) -> None:
        self.original, self.compiled = model, compiled
        self._look_for_forms(x)

    def _look_for_forms(self, x: Tensor) -> None:
        model, on_cpu = self.original, x.device.type == "cpu"
        self.version = _version(model)
        self.plain = Whole(model)
        self.forms = [Form("as it is", model, size=len(x))]
        self.winner: Form | None = self.forms[0]
        with attack_mode(model, x.device):
            self.by_sample = _may_be_cut(model, x[:PROBE])
            if not self.by_sample:
                return
            self.sizes = SIZES if on_cpu else (len(x),)  # a GPU would stand idle for pieces that fit a cache
            self.plain = Whole(model, self.sizes[-1])
            size = PROBE if on_cpu else self.sizes[0]
            self.forms = [Form(name, same, size) for name, same in forms_of(model, x[:PROBE], self.compiled)]
            self.winner = None

    def current(self, x: Tensor) -> Rewritten:
        """Itself, with forms made anew where the model has changed since, as it does when it is trained."""
        if _version(self.original) != self.version:
            self._look_for_forms(x)
        return self

    @property
    def settled(self) -> bool:
        """Whether one form has won."""
        return self.winner is not None

    @contextlib.contextmanager
    def form(self, left: int) -> Iterator[tuple[Model, int]]:
        """A form and its size of a piece for the next of ``left`` points; pieces are timed until one has won."""
        form = self.winner or self._next()
        points = form.piece(left)
        if self.winner is not None:
            yield form.model, points
            return
        began = _now()
        yield form.model, points
        if self.winner is None and points >= PROBE:  # fewer would tell of little but the machine's moods
            form.seconds.append((_now() - began) / points)

    def _next(self) -> Form:
        """Whose turn it is: that of the form with the fewest laps, until those that are close have all theirs."""
        fastest = min((form.best for form in self.forms if form.timed), default=math.inf)
        racing = [form for form in self.forms if not form.timed or (form.best < CLOSE * fastest and not form.settled)]
        if racing:
            return min(racing, key=lambda form: len(form.seconds))
        best = min(self.forms, key=lambda form: form.best)
        tried = {form.size for form in self.forms if form.model is best.model}
        if more := [Form(best.name, best.model, size) for size in self.sizes if size not in tried]:
            self.forms += more
            return more[0]
        self.winner, self.forms = best, [best]  # the others' weights need not be kept
        return best


def original(model: Model | Rewritten) -> Model:
    """The model as it is."""
    return model.original if isinstance(model, Rewritten) else model


def worth_rewriting(x: Tensor, steps: int) -> bool:
    """Whether so many steps of these samples pay for finding a faster form of their model."""
    return x.numel() * steps >= WORTH_REWRITING


def pieces_of(model: Model | Rewritten, x: Tensor, steps: int, rewrite: str) -> Rewritten | Whole:
    """How a model is asked for so many steps of samples x: as it is, or in a faster form where that is to be found."""
    if isinstance(model, Rewritten):
        return model.current(x)
    if rewrite != "off" and worth_rewriting(x, steps):
        return Rewritten(model, x, compiled=rewrite == "compile")
    return Whole(model)


def _version(model: Model) -> list[tuple[int, int, float]]:
    """Which tensors the model consists of, how often each has been written to, and their sums: what is written to
    ``.data`` is not counted.
    """
    if not isinstance(model, nn.Module):
        return []
    tensors = [tensor.detach() for tensor in (*model.parameters(), *model.buffers()) if not is_lazy(tensor)]
    return [(tensor.data_ptr(), tensor._version, float(tensor.double().nan_to_num().sum())) for tensor in tensors]


def _now() -> float:
    """Seconds, when everything that was asked of the machine until now has been done."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return time.perf_counter()


def _may_be_cut(model: Model, probe: Tensor) -> bool:
    """Whether a sample's logits do not depend on the others in its batch."""
    with torch.no_grad():
        return len(probe) > 1 and agree(torch.cat([model(probe[:1]), model(probe[1:])]), model(probe))
