"""A report over 100 000 measurements: 10 experiments, 100 seeds, 100 rows a trial.

Run with ``pytest tests/benchmarks/test_report.py -m benchmark --benchmark-enable``.
"""

import resource
from collections import Counter

import numpy as np
import pytest

from dlbench import plugins, report, store
from dlbench.runner.describe import describe

EXPERIMENTS, SEEDS, SUBJECTS, SETTINGS = 10, 100, 10, 10

PLUGIN = """
from dataclasses import dataclass
from dlbench import Claim, Control, Experiment, Metric, above, below, every, paired

@dataclass(frozen=True)
class Large(Experiment):
    title = "A large experiment"
    metrics = {"accuracy": Metric(better="higher", main=True), "loss": Metric(better="lower"), "time": Metric(unit="s")}
    claims = [
        Claim("m9 is better", lambda rows: every(rows, "noise", lambda r: above(paired(r, "accuracy", "m9", "m0"), 0))),
        Control("chance", lambda rows: below(rows[(rows.subject == "m0") & (rows.noise == 0.0)].accuracy, 1)),
    ]

    def plot(self, rows, figure, artefacts):
        axes = figure.subplots()
        for subject, group in rows.groupby("subject"):
            axes.plot(group.groupby("noise").accuracy.mean(), label=subject)
"""


@pytest.fixture(scope="module")
def large():
    """A function that makes the run's records, the plugins being installed."""

    def make(path):
        rng = np.random.default_rng(0)
        experiments, records = {}, []
        for name in (f"large{i}" for i in range(EXPERIMENTS)):
            plugin = plugins.find(plugins.EXPERIMENTS, name)
            told = describe({"plugin": plugin, "preset": "quick", "overrides": {}}, print)
            keys = {str(seed): f"{name}-{seed}" for seed in range(SEEDS)}
            more = {"device": "cpu", "seeds": list(range(SEEDS)), "keys": keys, "generation": 0}
            experiments[name] = told | more
            for seed, key in keys.items():
                values = rng.normal(size=(SUBJECTS * SETTINGS, 3)).tolist()
                rows = [
                    {
                        "subject": f"m{i % SUBJECTS}",
                        "noise": i // SUBJECTS / 10,
                        "accuracy": a + i % SUBJECTS,
                        "loss": b,
                        "time": c,
                    }
                    for i, (a, b, c) in enumerate(values)
                ]
                facts = {
                    "kind": "result",
                    "key": key,
                    "generation": 0,
                    "experiment": name,
                    "version": 1,
                    "seed": int(seed),
                }
                facts |= {"status": "ok", "reason": "", "details": "", "rows": rows, "artefacts": {}, "attempt": 1}
                facts |= {"parameters": {}, "preset": "quick", "device": "cpu", "run": "r", "environment": "e" * 64}
                facts |= {"wall_s": 1.0, "cpu_s": 1.0, "peak_rss_bytes": 2**28, "finished": "2026-11-24T12:00:00Z"}
                records.append(facts)
        return store.Run(path, {"experiments": experiments}, records, Counter(), {"e" * 64: {"python": "3.11"}})

    return make


@pytest.mark.benchmark
def test_report_of_100_000_measurements(benchmark, large, distribution, tmp_path, monkeypatch):
    names = {f"large{i}": "large_plugin:Large" for i in range(EXPERIMENTS)}
    monkeypatch.syspath_prepend(str(distribution("large", names, {"large_plugin.py": PLUGIN})))
    plugins._registered.cache_clear()
    run = large(tmp_path / "run")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = benchmark.pedantic(report.write, (run, tmp_path / "report"), rounds=1, iterations=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(made.measurements) == EXPERIMENTS * SEEDS * SUBJECTS * SETTINGS * 3
    assert len(made.leaderboard) == EXPERIMENTS * SUBJECTS * SETTINGS
    assert set(made.claims.verdict) >= {"holds"}
    benchmark.extra_info["peak_rss_bytes"] = peak * 1024
    benchmark.extra_info["grown_bytes"] = (peak - before) * 1024
    benchmark.extra_info["page_bytes"] = made.page.stat().st_size
    assert peak * 1024 < 2**30
