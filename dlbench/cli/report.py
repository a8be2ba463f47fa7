"""``dlbench report``: tables, pictures and a page from run folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dlbench.isolate import Forkserver
    from dlbench.report import Report
    from dlbench.store.benchmarks import Benchmarks


@click.command("report", short_help="tables, pictures and a page from run folders")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out", metavar="DIR", help="Where to write. Default: the folder 'report' in the first run folder.")
@click.option("--json", "as_json", is_flag=True, help="The verdicts as JSON on standard output.")
def command(*, runs: Sequence[str], out: str | None, as_json: bool) -> None:
    """Write index.html, measurements.csv, claims.csv, leaderboard.csv, trials.csv and figures/*.svg.

    A RUN is a run folder, or a JSON file of pytest-benchmark's, whose timings then stand beside the measurements.
    """
    from dlbench.isolate import Forkserver

    folders, benchmarks = sources(runs)
    first = folders[0] if folders else benchmarks[0].path
    beside = first / "report" if folders else first.with_name(f"{first.stem}-report")
    with Forkserver(preload=JUDGE_MODULES) as server:
        report = write_report(folders, Path(out) if out else beside, server, benchmarks)
    print_verdicts(report, as_json=as_json)


def sources(runs: Sequence[str]) -> tuple[list[Path], list[Benchmarks]]:
    """The run folders among what was given, and the files of pytest-benchmark's, read; UsageError for anything else."""
    from dlbench.store.benchmarks import read_benchmarks
    from dlbench.store.run import read_plan

    paths = [Path(run) for run in runs]
    files = [path for path in paths if path.is_file()]
    folders = [path for path in paths if path not in files]
    for path in folders:
        read_plan(path)  # a wrong path is told before anything is started
    return folders, [read_benchmarks(file) for file in files]


JUDGE_MODULES = (
    "torch",
    "numpy",
    "pandas",
    "scipy.special",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
    "dlbench.report.judge",
)


def write_report(runs: Sequence[Path], out: Path, server: Forkserver, benchmarks: Sequence[Benchmarks] = ()) -> Report:
    """The report on run folders, each experiment judged in a task of its own."""
    from dlbench import report, store

    server.preload(*JUDGE_MODULES)
    return report.write([store.read(run) for run in runs], out, call=server.call, benchmarks=benchmarks)


def print_verdicts(report: Report, experiments: Iterable[str] | None = None, *, as_json: bool = False) -> None:
    """The table of verdicts and the path of the page on standard output."""
    claims = report.claims
    if experiments is not None:
        claims = claims[claims.experiment.isin(list(experiments))]
    page = report.page
    if as_json:
        plain = json.loads(claims.to_json(orient="records"))
        click.echo(json.dumps({"claims": plain, "report": str(page)}, indent=1))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = 160
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, justify in (("experiment", "left"), ("claim", "left"), ("verdict", "left"), ("estimate", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("95 % interval", justify="right")
    table.add_column("criterion")
    table.add_column("n", justify="right")
    rows: list[dict[str, Any]] = claims.to_dict("records")
    for row in rows:
        verdict = Text(row["verdict"], style=_STYLES.get(row["verdict"], ""))
        claim = Text(row["claim"] if row["kind"] == "claim" else f"[{row['kind']}] {row['claim']}")
        known = row["estimate"] == row["estimate"]
        numbers = [f"{row['estimate']:.4g}", f"{row['low']:.4g} … {row['high']:.4g}"] if known else ["", ""]
        table.add_row(row["experiment"], claim, verdict, *numbers, Text(row["criterion"] or ""), str(row["n"]))
    if len(claims):
        console.print(table)
    for row in rows:
        if row["verdict"] == "invalid":
            console.print(Text(f"invalid: {row['experiment']}: {row['claim']}: {row['reason']}"), soft_wrap=True)
    studied = claims[claims.kind == "claim"]
    console.print(f"{(studied.verdict == 'holds').sum()} of {len(studied)} claims hold. Report: {page}", soft_wrap=True)


_STYLES = {"holds": "green", "does not hold": "red", "invalid": "magenta", "inconclusive": "yellow"}
