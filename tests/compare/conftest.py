"""Run folders and files of pytest-benchmark's, made by hand: comparing imports no plugin."""

from __future__ import annotations

import json

import pytest

from dlbench.store import Writer

FACTS = {
    "cpu": "Some CPU @ 2.1 GHz",
    "threads": 1,
    "python": "3.11.7",
    "packages": {"torch": "2.13.0"},
    "code": {"demo": {"revision": "a" * 40}},
    "gpu": [],
}
METRICS = {
    "accuracy": {"unit": "1", "better": "higher", "main": True, "timed": False},
    "loss": {"unit": "nats", "better": "lower", "main": False, "timed": False},
    "depth": {"unit": "1", "better": None, "main": False, "timed": False},
    "seconds": {"unit": "s", "better": "lower", "main": False, "timed": True},
}


def entry(name, seeds, **plan):
    """An experiment's entry in a plan."""
    return {
        "title": name,
        "version": 1,
        "metrics": METRICS,
        "parameters": {"width": 64},
        "claims": [],
        "plugin": {"name": name, "value": "demo:Demo", "distribution": "demo", "version": "1.0", "group": "g"},
        "device": "cpu",
        "preset": "quick",
        "seeds": list(seeds),
        "keys": {str(seed): f"{name}-{seed}".ljust(64, "0") for seed in seeds},
        "generation": 0,
    } | plan


@pytest.fixture
def make_run(tmp_path):
    """make_run(label, rows, seeds=…, facts=…, failed=…, **plan) → a run folder of the experiment ``demo``.

    ``rows`` takes a seed and gives its measurements.
    """

    def make(label, rows, *, name="demo", seeds=range(6), facts=None, failed=(), **plan):
        writer = Writer(tmp_path / label)
        planned = entry(name, seeds, **plan)
        environment = writer.environment(FACTS | (facts or {}))
        for seed in seeds:
            status = "timeout" if seed in failed else "ok"
            record = {
                "kind": "result",
                "experiment": name,
                "key": planned["keys"][str(seed)],
                "generation": 0,
                "parameters": planned["parameters"],
                "seed": seed,
                "status": status,
                "rows": rows(seed) if status == "ok" else [],
                "environment": environment,
                "finished": f"2026-11-24T12:00:{seed:02d}Z",
            }
            writer.append(record)
        writer.plan({"experiments": {name: planned}})
        writer.close()
        return writer.path

    return make


def bench(name="test_step[64]", data=(), *, info=None, **stats):
    """One benchmark as pytest-benchmark writes it."""
    told = {"min": 1.0, "median": 1.0, "rounds": len(data)} | stats | ({"data": list(data)} if data else {})
    return {
        "name": name,
        "fullname": f"tests/test_steps.py::{name}",
        "group": None,
        "params": None,
        "extra_info": {"dlbench": info} if info else {},
        "stats": told,
    }


@pytest.fixture
def make_file(tmp_path):
    """make_file(name, *benches, cpu=…) → a JSON file of pytest-benchmark's."""

    def make(name, *benches, cpu="Some CPU @ 2.1 GHz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        machine = {"python_version": "3.11.7", "system": "Linux", "release": "6.1", "cpu": {"brand_raw": cpu}}
        document = {"machine_info": machine, "commit_info": {}, "datetime": "2026-11-24T12:00:00"}
        path.write_text(json.dumps(document | {"benchmarks": list(benches), "version": "5.3.1"}))
        return path

    return make
