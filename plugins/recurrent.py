"""A recurrent network for sequences, in operations that stacks of networks can map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GRU(nn.GRU):
    """``torch.nn.GRU``, of one layer in both directions, step by step: its own kernel cannot be mapped over a stack.

    Takes sequences [n, steps, features] from a state of 0 and gives the states after every step,
    [n, steps, 2 · hidden], those of the way back after those of the way there.

    Args:
        features: of a step.
        hidden: numbers in a state.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__(features, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return torch.cat([self._one_way(x, ""), self._one_way(x.flip(1), "_reverse").flip(1)], 2)

    def _one_way(self, x: Tensor, ending: str) -> Tensor:
        from_input, from_state, bias_input, bias_state = (
            getattr(self, f"{name}_l0{ending}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        seen = F.linear(x, from_input, bias_input)
        h = torch.zeros_like(seen[:, 0, : self.hidden_size])
        states = []
        for step in range(x.shape[1]):
            reset, update, new = seen[:, step].chunk(3, 1)
            of_reset, of_update, of_new = F.linear(h, from_state, bias_state).chunk(3, 1)
            update = (update + of_update).sigmoid()
            h = (1 - update) * (new + (reset + of_reset).sigmoid() * of_new).tanh() + update * h
            states.append(h)
        return torch.stack(states, 1)
