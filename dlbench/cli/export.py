"""``dlbench export``: what runs measured, as tables for papers and pages, Parquet, and files of experiment trackers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from dlbench.cli.report import JUDGE_MODULES, sources
from dlbench.export import KINDS


@click.command("export", short_help="tables for LaTeX and Markdown, Parquet, MLflow, Weights & Biases")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--to",
    "kind",
    required=True,
    type=click.Choice(KINDS),
    help="What to write.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="PATH", help="The folder to write to.")
def command(*, runs: Sequence[str], kind: str, out: Path) -> None:
    """Write what runs measured for other tools; nothing is sent anywhere.

    latex and markdown: each experiment's claims with estimate and interval, and its leaderboard. parquet: the
    report's tables. mlflow: a tracking database. wandb: offline runs for `wandb sync`.
    """
    from dlbench import export, report, store
    from dlbench.isolate import Forkserver

    export.check_extra(kind)
    folders, benchmarks = sources(runs)
    with Forkserver(preload=JUDGE_MODULES) as server:
        gathered = report.gather([store.read(folder) for folder in folders], call=server.call, benchmarks=benchmarks)
    for line in export.export(gathered, kind, out):
        click.echo(line)
