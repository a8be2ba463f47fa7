"""Made bundles and boards of any size, for the benchmarks of leaderboards."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dlbench import recompute
from dlbench.leaderboard import bundle, conformance, container, strict
from dlbench.leaderboard.protocol import Protocol

SEEDS = 6
CODE = {"made": {"version": "1", "revision": "a" * 40, "dirty": False}}
METRIC = {"unit": "1", "better": "higher", "main": True, "low": 0.0, "high": 1.0, "timed": False, "description": ""}
METRICS = {
    "accuracy": METRIC | {"recomputed": "accuracy"},
    "loss": METRIC | {"better": "lower", "main": False, "high": "Infinity", "recomputed": ""},
}


def board(folder: Path, *, recomputed: bool) -> Path:
    """A board of the experiment ``made``, without bundles."""
    metrics = METRICS if recomputed else METRICS | {"accuracy": METRIC | {"recomputed": ""}}
    known = {"accuracy": conformance.scores("accuracy")} if recomputed else {}
    admitted = Protocol("made", 1, metrics, tuple(range(SEEDS)), {}, ceiling=1.0, title="Made", conformance=known)
    (folder / "protocols").mkdir(parents=True)
    (folder / "bundles").mkdir()
    (folder / "protocols" / "made.json").write_bytes(admitted.dumps())
    return folder


def write(path: Path, *, subjects: int, settings: int, items: int = 0, submitter: str = "maker", day: int = 1) -> int:
    """Write a bundle of so many subjects and settings on each seed; returns its bytes, unpacked.

    With ``items`` every measurement has predictions of so many items in ten classes, which its accuracy is of.
    """
    rng = np.random.default_rng([day, subjects])
    metrics = METRICS if items else METRICS | {"accuracy": METRIC | {"recomputed": ""}}
    facts = strict.dumps({"python": "3.11", "packages": {"torch": "2.13"}, "code": CODE, "cpu": "a CPU", "gpu": []})
    environment = "e" * 64
    plan = {"experiment": "made", "title": "Made", "version": 1, "preset": "quick", "parameters": {}, "datasets": {}}
    plan |= {"seeds": list(range(SEEDS)), "device": "cpu", "metrics": metrics, "code": {}, "schema_version": 1}
    plan |= {"plugin": {"distribution": "made", "version": "1"}}
    claim = {"submitter": submitter, "license": "CC-BY-4.0", "code_url": "", "tuned_trials": 0, "selection": "none"}
    claim |= {"extra_data": False, "submitted_at": f"2026-11-{day:02d}T00:00:00Z", "reason": ""}
    files = {"plan.json": strict.dumps(plan), "claim.json": strict.dumps(claim)}
    files[f"environments/{environment}.json"] = facts
    records = []
    for seed in range(SEEDS):
        cells = [(f"{submitter} net {s}", f"set{k}") for k in range(settings) for s in range(subjects)]
        predictions, rows = {}, []
        for number, (subject, setting) in enumerate(cells):
            accuracy = float(np.clip(0.5 + 0.4 * (hash_of(subject) % 97) / 97 + rng.normal(0, 0.01), 0, 1))
            if items:
                target, output = _predictions(rng, items)
                name = f"predictions/seed{seed}-{number}.csv"
                files[name] = recompute.write(np.column_stack([target, output]))
                accuracy = recompute.accuracy(target, output)
                predictions[bundle.canonical({"subject": subject, "setting": setting})] = name
            rows.append(
                {"subject": subject, "setting": setting, "accuracy": accuracy, "loss": float(rng.exponential())}
            )
        record = {"seed": seed, "status": "ok", "attempt": 1, "reason": "", "rows": rows, "environment": environment}
        record |= {"finished": "2026-10-31T00:00:00Z", "wall_s": 1.0, "predictions": predictions}
        records.append(json.dumps(record).encode())
    files["records.jsonl"] = b"\n".join(records) + b"\n"
    files[container.MANIFEST] = container.manifest(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sum(map(len, files.values()))


def hash_of(text: str) -> int:
    return sum(number * (place + 1) for place, number in enumerate(text.encode()))


def _predictions(rng: np.random.Generator, items: int) -> Iterator[np.ndarray]:
    target = rng.integers(0, 10, items).astype(float)
    output = rng.dirichlet(np.ones(10), items)
    return target, output
