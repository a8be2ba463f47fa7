"""``dlbench show NAME``: what an experiment declares."""

from __future__ import annotations

import json
from typing import Any

import click

from dlbench import plugins
from dlbench.errors import PluginError


@click.command("show", short_help="an experiment's claims, parameters, metrics, references and needs")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(*, name: str, as_json: bool) -> None:
    """Show an experiment's claims, parameters, presets, metrics, references, and what it needs."""
    from dlbench.isolate import Forkserver
    from dlbench.runner.plan import Request, describe_all

    plugin = plugins.find(plugins.EXPERIMENTS, name)
    with Forkserver() as server:
        [(_, told)] = describe_all([plugin], Request(names=[name]), server)
    if isinstance(told, plugins.Broken):
        raise PluginError(f"{told}\n{told.details}".rstrip())
    click.echo(json.dumps(told, indent=1) if as_json else _text(name, told))


def _text(name: str, told: dict[str, Any]) -> str:
    owner = f"{told['plugin']['distribution']} {told['plugin']['version']}"
    parts = [
        f"{name}: {told['title']}\nchapter {told['chapter']}, version {told['version']}, from {owner}",
        told["doc"],
    ]
    parts.append(_block("claims", [c["statement"] for c in told["claims"] if c["kind"] == "claim"]))
    controls = [f"{c['statement']} ({c['kind']})" for c in told["claims"] if c["kind"] != "claim"]
    parts.append(_block("controls", controls))
    parts.append(_block("parameters", [_parameter(name, field) for field in told["fields"]]))
    presets = [f"{preset}: {values or 'the defaults'}" for preset, values in told["presets"].items()]
    parts.append(_block("presets", presets))
    parts.append(_block("metrics", [_metric(metric, facts) for metric, facts in told["metrics"].items()]))
    parts.append(_block("published", [_published(reference) for reference in told["references"]]))
    parts.append(_block("sources", told["sources"]))
    needs = [f"data set {data}" for data in told["datasets"]] + [f"extra {extra}" for extra in told["requires"]]
    needs += [f"missing: {told['missing']}"] if told["missing"] else []
    parts.append(_block("needs", needs or ["nothing beyond dlbench"]))
    return "\n\n".join(part for part in parts if part)


def _block(title: str, lines: list[str]) -> str:
    return f"{title}:\n  " + "\n  ".join(lines) if lines else ""


def _parameter(name: str, field: dict[str, Any]) -> str:
    default = field["default"]
    shown = ",".join(map(str, default)) if isinstance(default, list) else default
    bounds = f", {field['range']}" if field["range"] else ""
    return f"--set {name}.{field['name']}={shown}   ({field['type']}{bounds})"


def _metric(name: str, facts: dict[str, Any]) -> str:
    better = f", {facts['better']} is better" if facts["better"] else ""
    main = ", ranks the leaderboard" if facts["main"] else ""
    return f"{name} [{facts['unit']}]: {facts['description']}{better}{main}"


def _published(reference: dict[str, Any]) -> str:
    spread = f" ± {reference['sd']}" if reference["sd"] is not None else ""
    where = ", ".join(f"{key}={value}" for key, value in reference["where"].items())
    return f"{reference['metric']} {reference['value']}{spread} ({where}): {reference['source']}"
