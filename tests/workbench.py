"""Runs made by hand, of plugins that are really installed in a temporary folder, to make reports of."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlbench import plugins, store
from dlbench.experiment import Context
from dlbench.runner.describe import describe
from dlbench.store import Run, Writer

FACTS = {
    "python": "3.11.7",
    "platform": "Linux-6.1-x86_64",
    "cpu": "Some CPU @ 2.1 GHz",
    "cores": 2,
    "memory_bytes": 8 * 2**30,
    "threads": 1,
    "heap": "warm",
    "packages": {"torch": "2.13.0", "numpy": "2.3.1"},
    "ops": {"implementation": "reference", "reason": "no compiler"},
    "gpu": [],
    "code": {
        "dlbench": {"version": "0.1.0", "revision": "a" * 40, "dirty": False, "digest": "b" * 64},
        "demo": {"version": "1.2", "revision": "c" * 40, "dirty": True, "digest": "d" * 64},
    },
}

ENVIRONMENT = hashlib.sha256((json.dumps({"schema": 1} | FACTS, indent=1, sort_keys=True) + "\n").encode()).hexdigest()

DEMO = '''
"""Module docstring."""
from dataclasses import dataclass
from dlbench import Claim, Control, Experiment, Metric, Reference, above, below, between, every, paired
import numpy as np

@dataclass(frozen=True)
class Demo(Experiment):
    """Method a is better than method b (Somebody et al., arXiv:2009.11848).

    It is trained with ``sgd`` on data that is drawn anew for each seed.

    - first, data
    - second, training
    """

    noises: tuple[float, ...] = (0.0, 0.5)
    width: int = between(8, 4096, default=64)

    title = "Method a is better than method b"
    chapter = "demonstrations"
    metrics = {
        "accuracy": Metric("share of test images that are classified correctly", better="higher", main=True),
        "seconds": Metric("time to train", unit="s", better="lower"),
    }
    presets = {"quick": {}, "full": {"width": 256}}
    sources = ("Somebody et al., ICLR 2021, arXiv:2009.11848", "https://example.org/paper.pdf")
    references = (
        Reference("accuracy", 0.88, "Somebody 2021, table 2", {"subject": "a", "noise": 0.0}, sd=0.01, n=10),
        Reference("accuracy", 0.99, "Somebody 2021, table 3", {"subject": "a", "noise": 0.9}, note="from a figure"),
    )

    def trial(self, context):
        rng = context.rng("data")
        for noise in self.noises:
            level = rng.normal(0, 0.01)
            for subject, mean in (("a", 0.9), ("b", 0.7), ("c", 0.69)):
                accuracy = mean - 0.2 * noise + level + rng.normal(0, 0.02)
                yield {"subject": subject, "noise": noise, "accuracy": accuracy, "seconds": rng.exponential(3)}
        context.keep("curve", np.linspace(0, 1, 8))

    claims = [
        Claim("a is better than b by 10 points, at every noise",
              lambda rows: every(rows, "noise", lambda r: above(paired(r, "accuracy", "a", "b"), 0.1)),
              source="figure 1"),
        Claim("a reaches 95 % without noise",
              lambda rows: above(rows[(rows.subject == "a") & (rows.noise == 0)].accuracy, 0.95),
              reference=Reference("accuracy", 0.96, "Somebody 2021", {"subject": "a", "noise": 0.0})),
        Claim("b and c differ", lambda rows: above(paired(rows[rows.noise == 0], "accuracy", "b", "c"), 0.012)),
        Control("nothing is perfect", lambda rows: below(rows.groupby(level=0).accuracy.max(), 1.0), kind="gate"),
    ]

    def plot(self, rows, figure, artefacts):
        axes = figure.subplots()
        for subject, group in rows.groupby("subject"):
            axes.plot(group.noise, group.accuracy, "o", label=subject, alpha=0.6)
        axes.set_xlabel("share of random labels")
        axes.set_ylabel("accuracy")
        axes.legend()
'''


class Workbench:
    """Installs plugins written as text, and makes runs of them as the runner would."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        monkeypatch.syspath_prepend(str(folder))

    def install(self, source: str = DEMO, **names: str) -> None:
        """A distribution ``demo`` with one module that holds all the experiments (entry point's name → class)."""
        names = names or {"demo": "Demo"}
        module = f"demo_plugin_{len(list(self.folder.glob('*.py')))}"
        (self.folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        metadata = self.folder / "demo-1.2.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.2\n")
        lines = [f"{name} = {module}:{attribute}" for name, attribute in names.items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[dlbench.experiments]", *lines, ""]))
        plugins._registered.cache_clear()
        sys.modules.pop(module, None)  # another workbench's, of the same name, which something may have imported again
        importlib.invalidate_caches()

    def run(self, *names: str, label: str = "quick", **options: Any) -> Run:
        """A run folder with results of installed experiments, read back; see :meth:`results` for the options."""
        writer = Writer(self.folder.parent / label)
        experiments = {}
        assert writer.environment(FACTS) == ENVIRONMENT
        for name in names or ("demo",):
            entry, records, artefacts = self.results(name, **options)
            experiments[name] = entry
            for record, kept in zip(records, artefacts, strict=True):
                stored = {key: writer.artefact(np.asarray(array)) for key, array in kept.items()}
                writer.append(record | {"artefacts": stored})
        writer.plan({"experiments": experiments, "created": "2026-11-24T11:59:00Z"})
        writer.close()
        return store.read(writer.path)

    def results(
        self,
        name: str,
        *,
        seeds: int = 6,
        overrides: dict[str, Any] | None = None,
        rows: Any = None,
        status: Any = lambda seed: "ok",
        **plan: Any,
    ) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        """An experiment's entry in the plan, its results, and their artefacts.

        Args:
            name: the experiment's.
            seeds: how many.
            overrides: parameters.
            rows: seed → measurements, in place of what the trial yields.
            status: seed → status; ``None`` for a trial that has not run.
            plan: facts of the plan to replace.
        """
        plugin = plugins.find(plugins.EXPERIMENTS, name)
        told = describe({"plugin": plugin, "preset": "quick", "overrides": overrides or {}}, print)
        assert "broken" not in told and "usage" not in told, told
        keys = {str(seed): f"{name}-{seed}".ljust(64, "0") for seed in range(seeds)}
        entry = told | {"device": "cpu", "seeds": list(range(seeds)), "keys": keys, "generation": 0} | plan
        experiment = plugins.load(plugins.EXPERIMENTS, name)(**told["parameters"])
        records, artefacts = [], []
        for seed in range(seeds):
            outcome = status(seed)
            if outcome is None:
                continue
            context = Context(seed=seed)
            measured = (rows(seed) if rows else list(experiment.trial(context))) if outcome == "ok" else []
            record = {
                "kind": "result",
                "key": keys[str(seed)],
                "generation": 0,
                "experiment": name,
                "version": entry["version"],
                "preset": "quick",
                "parameters": entry["parameters"],
                "seed": seed,
                "device": "cpu",
                "status": outcome,
                "reason": "" if outcome == "ok" else f"it went wrong at seed {seed}",
                "details": "" if outcome == "ok" else "Traceback (most recent call last):\n  a line",
                "rows": measured,
                "attempt": 1,
                "wall_s": 1.5 + seed,
                "cpu_s": 1.25,
                "peak_rss_bytes": 300 * 2**20,
                "environment": ENVIRONMENT,
                "run": "2026-11-24T12:00:00Z-abcdef",
                "finished": f"2026-11-24T12:00:{seed % 60:02d}Z",
            }
            records.append(record)
            artefacts.append(context.kept if outcome == "ok" else {})
        return entry, records, artefacts


@pytest.fixture
def workbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = tmp_path / "site"
    folder.mkdir()
    yield Workbench(folder, monkeypatch)
    plugins._registered.cache_clear()
    for module in [name for name in sys.modules if name.startswith("demo_plugin_")]:
        del sys.modules[module]
