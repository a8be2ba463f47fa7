"""Ours and its rivals run in turns, so that all meet the same machine.

A large fresh output costs page faults unless the heap is kept warm, so the regime is told with every number;
MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ of 4294967296 in the environment make it warm.
"""

from __future__ import annotations

import os
import statistics
import time

import torch

from dlbench.ops import status

HEAP = "warm heap" if "MALLOC_MMAP_THRESHOLD_" in os.environ else "default heap"


def in_turns(benchmark, ours, rivals, rounds, warmup=2, primed=False, **info):
    """Times ``ours`` with pytest-benchmark and the rivals, {name: function}, between its rounds.

    What takes microseconds is ``primed``: each runs once before it is timed, so that none finds the caches as another
    left them.
    """
    taken = {name: [] for name in rivals}

    def between():
        for name, rival in rivals.items():
            if primed:
                rival()
            began = time.perf_counter()
            rival()
            taken[name].append(time.perf_counter() - began)
        if primed:
            ours()

    benchmark.pedantic(ours, setup=between, rounds=rounds, warmup_rounds=warmup)
    if benchmark.stats is None:
        return
    median = benchmark.stats.stats.median
    about = {"heap": HEAP, "implementation": status().implementation, "threads": torch.get_num_threads()}
    benchmark.extra_info |= about | info
    for name, seconds in taken.items():
        benchmark.extra_info[f"times {name}"] = round(statistics.median(seconds[warmup:]) / median, 2)
    print({"median_ms": round(median * 1e3, 4), **benchmark.extra_info})
