"""An operator's item: calls in this process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from dlbench.plugins import Broken, Plugin
from dlbench.runner.provenance import environment
from dlbench.store.benchmarks import INFO, INFO_SCHEMA
from dlbench.timing.clocks import name_of
from dlbench.timing.trials import refuse

if TYPE_CHECKING:
    from dlbench.timing.collection import Timed


def time_op(op: str, case_name: str, benchmark: Any, timed: Timed) -> None:
    """Time a case's calls; the first one, which may compile and always warms up, apart from the others."""
    found = timed.ops[op]
    if isinstance(found, Broken):
        refuse(benchmark, f"{found}\n{found.details}".rstrip())
    plugin, cases = found
    case = cases[case_name]
    call = case.prepare(timed.device)
    began = time.perf_counter()
    call()
    if timed.device.startswith("cuda"):
        torch.cuda.synchronize(timed.device)
    cold = time.perf_counter() - began
    benchmark(call)
    info = {
        "schema": INFO_SCHEMA,
        "kind": "op",
        "op": op,
        "case": case_name,
        "preset": timed.preset,
        "device": timed.device,
        "clock": name_of(timed.clock),
        "cold_s": cold,
        "bytes": case.moved,
        "flops": case.flops,
        "environment": _environment(plugin, timed),
    }
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        info["gb_per_s"] = case.moved / seconds / 1e9
        info["gflop_per_s"] = None if case.flops is None else case.flops / seconds / 1e9
    benchmark.extra_info[INFO] = info


def _environment(plugin: Plugin, timed: Timed) -> Mapping[str, Any]:
    owner = f"operators of {plugin.distribution}"
    if owner not in timed.environments:
        code = {"dlbench": "dlbench", plugin.distribution: plugin.module.partition(".")[0]}
        payload = {"code": code, "threads": torch.get_num_threads(), "heap": "default", "device": timed.device}
        timed.environments[owner] = environment(payload, lambda _: None)
    return timed.environments[owner]
