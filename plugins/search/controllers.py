"""Controllers that learn which children to ask for by REINFORCE, many searches at once.

A controller is a distribution over children whose parameters go up the gradient of the expected reward,
``(reward - baseline) * grad log p(child)``, with Adam (Williams 1992; Zoph & Le, ICLR 2017). The baseline is a moving
average of rewards, and a bonus for entropy keeps it from settling too soon. The :class:`Recurrent` one samples the
slots one after another, each given those before, as Zoph & Le's does; the :class:`Independent` one gives every slot
probabilities of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlbench_plugins.search.methods import Values
from dlbench_plugins.search.space import Numbers, Space

UNITS = 32  # of the LSTM
DECAY = 0.9  # of the baseline


class Controller(ABC):
    """REINFORCE on a policy; one a search, whose parameters have a leading dimension of searches.

    Args:
        space: of children.
        searches: how many at once.
        generator: of the first weights and of what is sampled.
        rate: of Adam.
        entropy: weight of the bonus, in units of the reward a nat.
        batch: children that are asked for between one step of Adam and the next.
    """

    def __init__(
        self,
        space: Space,
        searches: int,
        generator: torch.Generator,
        *,
        rate: float,
        entropy: float,
        batch: int = 1,
    ) -> None:
        self.space, self.searches, self.generator, self.bonus, self.batch = space, searches, generator, entropy, batch
        self.sizes = [int(size) for size in space.sizes]
        self.parameters = self.start()
        self.adam = torch.optim.Adam(self.parameters, lr=rate, fused=True)
        self.baseline, self.steps = torch.zeros(searches), 0
        self.waiting: list[Numbers] = []  # asked of the policy, and not yet of the searches
        self.rewards: list[Values] = []
        self.probabilities: list[NDArray[np.float32]] = []  # a step: [searches, choices of all slots]

    @abstractmethod
    def start(self) -> list[nn.Parameter]:
        """The first weights, [searches, ...] each."""

    @abstractmethod
    def logits(self, slot: int, before: Tensor | None) -> Tensor:
        """[searches, batch, choices] of a slot, given the choices [searches, batch] of the slot before, if any."""

    def ask(self) -> Numbers:
        """[searches], children drawn from the policy."""
        if not self.waiting:
            self.waiting = list(self.sampled().T)
        return self.waiting.pop(0)

    def sampled(self) -> Numbers:
        """[searches, batch], children drawn from the policy, whose log-probabilities and entropies are kept."""
        chance = torch.rand(self.searches, self.batch, len(self.sizes), generator=self.generator)
        picked: list[Tensor] = []
        self.log_p = self.entropy = torch.zeros(self.searches, self.batch)
        probabilities = []
        for slot, size in enumerate(self.sizes):
            log_p = self.logits(slot, picked[-1] if picked else None).log_softmax(2)
            p = log_p.detach().exp()
            picked.append((chance[..., slot, None] > p.cumsum(2)).sum(2).clamp(max=size - 1))
            self.log_p = self.log_p + log_p.gather(2, picked[-1][..., None])[..., 0]
            self.entropy = self.entropy - (log_p.exp() * log_p).sum(2)
            probabilities.append(p.mean(1))
        self.probabilities.append(torch.cat(probabilities, 1).numpy())
        return self.space.numbers(torch.stack(picked, 2).numpy())

    def tell(self, values: Values) -> None:
        """One step of Adam, once all children of a batch are told."""
        self.rewards.append(values)
        if len(self.rewards) < self.batch:
            return
        reward = torch.from_numpy(np.stack(self.rewards, axis=1)).float()
        self.rewards, self.steps = [], self.steps + 1
        self.baseline = DECAY * self.baseline + (1 - DECAY) * reward.mean(1)
        advantage = reward - (self.baseline / (1 - DECAY**self.steps))[:, None]
        self.adam.zero_grad()
        (-(advantage * self.log_p + self.bonus * self.entropy).mean(1).sum()).backward()
        self.adam.step()


class Recurrent(Controller):
    """An LSTM of 32 units, whose input is an embedding of the choice before; a linear layer a slot gives the next."""

    def start(self) -> list[nn.Parameter]:
        def first(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(self.searches, *shape).uniform_(-0.08, 0.08, generator=self.generator))

        self.begin = first(1, UNITS)
        self.embeddings = [first(size, UNITS) for size in self.sizes[:-1]]
        self.gates, self.gate_bias = first(2 * UNITS, 4 * UNITS), first(1, 4 * UNITS)
        self.heads = [first(UNITS, size) for size in self.sizes]
        return [self.begin, *self.embeddings, self.gates, self.gate_bias, *self.heads]

    def logits(self, slot: int, before: Tensor | None) -> Tensor:
        if before is None:
            x = self.begin.expand(-1, self.batch, -1)
            self.hidden = self.cell = torch.zeros(self.searches, self.batch, UNITS)
        else:
            x = self.embeddings[slot - 1][torch.arange(self.searches)[:, None], before]
        gates = torch.baddbmm(self.gate_bias, torch.cat([x, self.hidden], 2), self.gates)
        into, keep, out = gates[..., : 3 * UNITS].sigmoid().chunk(3, 2)
        self.cell = keep * self.cell + into * gates[..., 3 * UNITS :].tanh()
        self.hidden = out * self.cell.tanh()
        return torch.bmm(self.hidden, self.heads[slot])


class Independent(Controller):
    """Probabilities of the choices of each slot, whatever the others are; uniform at first."""

    def start(self) -> list[nn.Parameter]:
        self.scores = [nn.Parameter(torch.zeros(self.searches, 1, size)) for size in self.sizes]
        return list(self.scores)

    def logits(self, slot: int, before: Tensor | None) -> Tensor:
        return self.scores[slot].expand(-1, self.batch, -1)
