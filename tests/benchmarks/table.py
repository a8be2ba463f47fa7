"""Benchmarks' JSON files as one CSV: ``python tests/benchmarks/table.py FILE.json... > results/attacks/steps.csv``.

A row is a benchmark in a regime of the heap; ``times NAME`` is a rival's median time over ours, ``found NAME`` the
robust accuracy that it found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd


def rows(path: str) -> list[dict[str, object]]:
    """What a file of pytest-benchmark says."""
    told = json.loads(Path(path).read_text())
    out = []
    for benchmark in told["benchmarks"]:
        info = dict(benchmark["extra_info"])
        found = {f"found {name}": value for name, value in info.pop("found", {}).items()}
        row = {
            "benchmark": benchmark["name"],
            "heap": info.pop("heap", ""),
            "median_ms": benchmark["stats"]["median"] * 1e3,
        }
        shown = {name: value for name, value in info.items() if name not in ("implementation", "shape", "norm")}
        out.append(
            row | shown | found | {"cpu": told["machine_info"]["cpu"].get("brand_raw", ""), "date": told["datetime"]}
        )
    return out


if __name__ == "__main__":
    table = pd.DataFrame([row for path in sys.argv[1:] for row in rows(path)])
    table.to_csv(sys.stdout, index=False, float_format="%.4g")
