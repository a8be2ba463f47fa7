"""``dlbench check``: conformance and determinism of experiments."""

from __future__ import annotations

from collections.abc import Sequence

import click

from dlbench import cli, plugins
from dlbench.errors import UsageError


@click.command("check", short_help="conformance and determinism of experiments")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every installed experiment.")
@click.option("--preset", default="quick", show_default=True, metavar="NAME", help="The preset whose trial is run.")
@click.option("--set", "sets", multiple=True, metavar="NAME.PARAM=VALUE", help="Set a parameter; repeatable.")
def command(*, names: Sequence[str], everything: bool, preset: str, sets: Sequence[str]) -> int:
    """Run an experiment's trial twice in fresh processes and hold what came out against what it declares."""
    from dlbench.isolate import Forkserver
    from dlbench.runner.plan import parse_overrides
    from dlbench.testing import CHECKS, examine

    if everything == bool(names):
        raise UsageError("name experiments to check, or give --all")
    healthy, broken = plugins.discover(*plugins.RUNNABLE)
    chosen = healthy if everything else [plugins.find(plugins.RUNNABLE, name) for name in names]
    overrides = parse_overrides(sets)
    failed = 0
    for record in broken if everything else ():
        click.echo(f"{record.plugin.name}: FAILED {record.reason}")
        failed += 1
    with Forkserver() as server:
        for plugin in chosen:
            findings = examine(plugin, preset, overrides.get(plugin.name), server=server)
            problems = [finding for finding in findings if finding.problem]
            click.echo(f"{plugin.name}: {len(findings) - len(problems)} of {len(findings)} checks pass")
            for finding in problems:
                click.echo(f"  FAILED {finding.check} ({CHECKS[finding.check]}):\n    {finding.problem}")
            failed += bool(problems)
    return cli.FAILED if failed else cli.OK
