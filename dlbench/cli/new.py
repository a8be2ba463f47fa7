"""``dlbench new plugin``: a package of experiments to start from."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.group("new", no_args_is_help=False, short_help="write a plugin package to start from")
def command() -> None:
    """Write something new to start from: ``dlbench new plugin NAME``."""


@command.command("plugin", short_help="a package with experiments, a model, a data set, tests and CI")
@click.argument("name")
@click.option("--out", default=".", metavar="DIR", help="The folder to write it into. Default: this one.")
def plugin(*, name: str, out: str) -> None:
    """Write a package NAME that installs, passes the conformance suite and its own tests, and has CI.

    It holds a study, an audit, a model and a data set, small and complete, to be replaced by your own.
    """
    from dlbench.kit import write_plugin

    folder = write_plugin(name, Path(out))
    package = folder.name.replace("-", "_")
    experiments = f"{package}_study {package}_audit"
    click.echo(
        f"{folder} is written: a study, an audit, a model, a data set, their tests, and CI. Next:\n"
        f"  cd {shlex.quote(str(folder))}\n"
        "  python -m pip install -e '.[test]'\n"
        f"  dlbench check {experiments}\n"
        f"  dlbench run {package}_study\n"
        f"  dlbench audit {package}_means\n"
        "Its license is yours to choose; README.md says where it goes."
    )
