"""``dlbench list``: what is installed, from metadata alone."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from dlbench import plugins


@click.command("list", short_help="experiments, models, data sets and operators, and who provides them")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--check", is_flag=True, help="Import each experiment, in a process of its own, to see whether it works.")
def command(*, as_json: bool, check: bool) -> None:
    """List experiments, models, data sets and operators, who provides them, and what is broken and why.

    Names come from the installed packages' metadata; nothing is imported, unless with --check.
    """
    found = {group: plugins.discover(group) for group in plugins.EVERY_GROUP}
    if check:
        healthy, broken = found[plugins.EXPERIMENTS]
        found[plugins.EXPERIMENTS] = _imported(healthy, broken)
    if as_json:
        click.echo(json.dumps({_kind(group): _plain(*both) for group, both in found.items()}, indent=1))
        return
    for group, (healthy, broken) in found.items():
        click.echo(f"{_kind(group)}:" + ("" if healthy or broken else " none"))
        width = max((len(plugin.name) for plugin in healthy), default=0)
        for plugin in healthy:
            click.echo(f"  {plugin.name:<{width}}  {plugin.distribution} {plugin.version}")
        for record in broken:
            click.echo(f"  broken: {record}")
            if record.details:
                click.echo("    " + record.details.strip().replace("\n", "\n    "))


def _imported(
    healthy: list[plugins.Plugin], broken: list[plugins.Broken]
) -> tuple[list[plugins.Plugin], list[plugins.Broken]]:
    from dlbench.isolate import Forkserver
    from dlbench.runner.plan import Request, describe_all

    with Forkserver() as server:
        told = describe_all(healthy, Request(), server)
    bad = [record for _, record in told if isinstance(record, plugins.Broken)]
    return [plugin for plugin, record in told if not isinstance(record, plugins.Broken)], broken + bad


def _kind(group: str) -> str:
    return group.rpartition(".")[2]


def _plain(healthy: list[plugins.Plugin], broken: list[plugins.Broken]) -> list[dict[str, object]]:
    return [asdict(p) | {"broken": None} for p in healthy] + [asdict(b.plugin) | {"broken": b.reason} for b in broken]
