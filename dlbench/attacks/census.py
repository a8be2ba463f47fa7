"""How many points are still under way, told without making a GPU wait."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

LAG = 2  # steps that a GPU is given to do while the host reads what an earlier one has counted


class Census:
    """Reads counts from a device: at once on a CPU; on a GPU the counts of two calls ago, which are there by then.

    So the GPU always has work queued, and what is read does not depend on how fast it is. Counts that can only fall are
    never too small for being old.
    """

    def __init__(self, device: torch.device) -> None:
        self.lag = LAG if device.type == "cuda" else 0
        self.counts: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def __call__(self, counts: Tensor) -> list[int] | None:
        """Files some counts [k] and returns those of ``lag`` calls ago; None where there were none yet."""
        event = None
        if counts.is_cuda:
            host = torch.empty(counts.shape, dtype=counts.dtype, pin_memory=True)
            counts, event = host.copy_(counts, non_blocking=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self.counts.append((counts, event))
        if len(self.counts) <= self.lag:
            return None
        counts, event = self.counts.popleft()
        if event is not None:
            event.synchronize()
        found: list[int] = counts.tolist()
        return found


def bucket(count: int, size: int, device: torch.device) -> int:
    """To how many rows a batch of ``size`` shrinks of which ``count`` are needed.

    To just these on a CPU; on a GPU to the next power of two, so that few sizes occur, and each one's work can be
    recorded once.
    """
    return count if device.type == "cpu" else min(size, 1 << max(count - 1, 0).bit_length())
