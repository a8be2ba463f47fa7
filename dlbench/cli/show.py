"""``dlbench show NAME``: what an experiment declares, how a model was made, what a data set is."""

from __future__ import annotations

import json
from typing import Any

import click

from dlbench import plugins
from dlbench.errors import DataDamaged, DataMissing, PluginError, UsageError, did_you_mean


@click.command("show", short_help="an experiment's claims, parameters, metrics and needs; how a model was made")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(*, name: str, as_json: bool) -> None:
    """Show an experiment's claims, parameters, presets, metrics, references, and what it needs.

    Of a model: its data set and how it was made. Of a data set: what it is and how to get it. Of a path to your own
    data: how it is read, and what is wrong with it. A name that several bear is the experiment's, then the model's.
    """
    from dlbench.data.own.spec import is_path

    readers = {
        plugins.EXPERIMENTS: _experiment,
        plugins.AUDITS: _experiment,
        plugins.MODELS: _model,
        plugins.DATASETS: _dataset,
        "own": _own,
    }
    kind = "own" if is_path(name) else _group(name)
    told = readers[kind](name)
    text = _text(name, told) if kind in plugins.RUNNABLE else _plain(name, told)
    click.echo(json.dumps(told, indent=1) if as_json else text)


def _group(name: str) -> str:
    """The first group in which a name is registered, whole or broken."""
    known: dict[str, str] = {}
    for group in reversed(plugins.GROUPS):
        healthy, broken = plugins.discover(group)
        known |= dict.fromkeys([p.name for p in healthy] + [record.plugin.name for record in broken], group)
    if name not in known:
        raise PluginError(f"there is no experiment, model or data set {name!r}{did_you_mean(name, known)}")
    return known[name]


def _experiment(name: str) -> dict[str, Any]:
    from dlbench.isolate import Forkserver
    from dlbench.runner.plan import Request, describe_all

    plugin = plugins.find(plugins.RUNNABLE, name)
    with Forkserver() as server:
        [(_, told)] = describe_all([plugin], Request(names=[name]), server)
    if isinstance(told, plugins.Broken):
        raise PluginError(f"{told}\n{told.details}".rstrip())
    return told


def _model(name: str) -> dict[str, Any]:
    from dlbench import models

    model = models.get(name)
    facts = _owned(plugins.MODELS, name) | {"about": model.about, "data set": model.dataset}
    try:
        return facts | {"made": dict(model.made())}
    except PluginError as error:
        return facts | {"missing": str(error)}


def _dataset(name: str) -> dict[str, Any]:
    from dlbench import data

    dataset = data.get(name)
    facts = _owned(plugins.DATASETS, name) | {"about": dataset.about}
    try:
        return facts | {"files": [str(path) for path in dataset.present()], "sha256": dataset.fingerprint()}
    except DataMissing as error:
        return facts | {"missing": str(error).removesuffix(f" {dataset.about}")}


def _own(name: str) -> dict[str, Any]:
    from dlbench.data import own

    dataset = own.opened(name)
    try:
        arrays = dataset.load()
    except (DataMissing, DataDamaged) as error:
        raise UsageError(str(error)) from None
    shapes = {key: f"{array.dtype} {list(array.shape)}" for key, array in arrays.items() if array.dtype.kind != "U"}
    texts = {key: [str(text) for text in arrays[key]] for key in ("classes", "features") if key in arrays}
    found = [str(finding) for finding in own.findings(arrays)]
    return {"kind": "data of your own", "about": dataset.about, **shapes, **texts, "findings": found or ["none"]}


def _owned(group: str, name: str) -> dict[str, Any]:
    plugin = plugins.find(group, name)
    return {"kind": group.rpartition(".")[2], "from": f"{plugin.distribution} {plugin.version} ({plugin.value})"}


def _plain(name: str, told: dict[str, Any], indent: str = "") -> str:
    """Facts, one a line, nested ones below their name."""
    lines = [f"{indent}{name}:"]
    for key, value in told.items():
        if isinstance(value, dict):
            lines += [_plain(key, value, indent + "  ")] if value else []
        else:
            shown = (
                f"{value:.4g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else value
            )
            lines.append(f"{indent}  {key}: {shown}")
    return "\n".join(lines)


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
