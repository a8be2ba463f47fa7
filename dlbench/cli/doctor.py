"""``dlbench doctor``: what is built, for what, which operators serve, what is damaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click


@click.command("doctor", short_help="what is built, which operators serve, damaged run files")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(*, runs: Sequence[str], as_json: bool) -> int:
    """Tell which operators serve and why, what the machine offers, which plugins are broken, and check run folders.

    With RUN folders: damaged records, and trials that gave two answers. Exit status 1 if anything is wrong.
    """
    facts = _facts([Path(run) for run in runs])
    click.echo(json.dumps(facts, indent=1, default=str) if as_json else _text(facts))
    return 1 if facts["broken plugins"] or any(run["problems"] for run in facts["runs"].values()) else 0


def _facts(runs: Sequence[Path]) -> dict[str, Any]:
    import platform
    from importlib import metadata

    from dlbench import ops, plugins, store
    from dlbench.runner.provenance import cpu_name

    folders = {}
    for path in runs:
        run = store.read(path)
        twice = [f"trial {key[:12]} gave two answers for one environment" for key in run.nondeterministic]
        folders[str(path)] = {"results": len(run.results), "problems": run.problems + twice}
    status = asdict(ops.status())
    import torch

    return {
        "dlbench": metadata.version("dlbench"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": cpu_name(),
        "cuda devices": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "operators": status,
        "broken plugins": [str(record) for group in plugins.EVERY_GROUP for record in plugins.discover(group)[1]],
        "runs": folders,
    }


def _text(facts: dict[str, Any]) -> str:
    lines = [f"{key}: {facts[key]}" for key in ("dlbench", "python", "torch", "cpu", "cuda devices")]
    lines.append("operators:")
    lines += [f"  {key}: {value}" for key, value in facts["operators"].items() if value not in (None, "", {})]
    lines += [f"broken plugin: {record}" for record in facts["broken plugins"]]
    for path, run in facts["runs"].items():
        lines.append(
            f"run {path}: {run['results']} results, "
            + (f"{len(run['problems'])} problems" if run["problems"] else "sound")
        )
        lines += [f"  {problem}" for problem in run["problems"]]
    return "\n".join(lines)
