"""``dlbench compare``: what got better and what got worse between two runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlbench import cli

if TYPE_CHECKING:
    import pandas as pd

    from dlbench.compare import Side

MOST_ROWS = 200
"""Rows that the table on the terminal has; the files have all."""


@click.command("compare", short_help="what got better and worse between two runs; exit 3 on a regression")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="METRIC=VALUE",
    help="How large a difference must be to count: 0.01, or 5% of A's; EXPERIMENT.METRIC=VALUE for one experiment's. "
    "Default: 5% for timings, any size for other metrics. Repeatable.",
)
@click.option(
    "--despite",
    multiple=True,
    type=click.Choice(["version", "parameters", "device"]),
    help="Compare what differs in this, too. Repeatable.",
)
@click.option("--csv", "csv_file", metavar="FILE", help="All pairs as CSV.")
@click.option("--html", "html_file", metavar="FILE", help="All pairs as a page that needs no network.")
@click.option("--json", "as_json", is_flag=True, help="All pairs as JSON on standard output.")
def command(
    *,
    a: str,
    b: str,
    thresholds: Sequence[str],
    despite: Sequence[str],
    csv_file: str | None,
    html_file: str | None,
    as_json: bool,
) -> int:
    """Compare A (before) with B (after): run folders, pytest-benchmark's JSON files, or folders with both.

    Metrics are paired on shared seeds; timings are compared by Mann-Whitney and an effect threshold, and both must
    say so. Exit status: 3 if anything got worse, 4 if nothing could be compared, else 0.
    """
    from dlbench.compare import compare, nothing_decidable, page, read
    from dlbench.compare.thresholds import check_names, parse
    from dlbench.report import files

    limits = parse(thresholds)
    before, after = read(Path(a)), read(Path(b))
    names = [pair for side in (before, after) for pair in zip(side.series.experiment, side.series.metric, strict=True)]
    check_names(limits, names)
    pairs = compare(before.series, after.series, thresholds=limits, despite=despite)
    if csv_file:
        files.write(Path(csv_file), files.csv_text(pairs))
    if html_file:
        files.write(Path(html_file), page.render(before, after, pairs))
    if as_json:
        click.echo(json.dumps(_plain(before, after, pairs), indent=1))
    else:
        _print(before, after, pairs)
    if (pairs.verdict == "worse").any():
        return cli.REGRESSION
    if nothing_decidable(pairs):
        click.echo(f"dlbench: nothing could be compared: {_why_nothing(pairs)}", err=True)
        return cli.NOTHING_MEASURED
    return cli.OK


def _plain(before: Side, after: Side, pairs: pd.DataFrame) -> dict[str, Any]:
    return {
        "a": {"path": before.label, "problems": before.problems},
        "b": {"path": after.label, "problems": after.problems},
        "verdicts": dict(Counter(pairs.verdict.tolist())),
        "pairs": json.loads(pairs.to_json(orient="records", double_precision=15)),
    }


def _why_nothing(pairs: pd.DataFrame) -> str:
    """The most frequent reasons, with how many pairs each kept from being compared."""
    if not len(pairs):
        return "neither side has a measurement"
    common = Counter(pairs.reason.tolist()).most_common(3)
    return ", ".join(f"{count} {'pair' if count == 1 else 'pairs'}: {reason}" for reason, count in common)


def _print(before: Side, after: Side, pairs: pd.DataFrame) -> None:
    """The table of pairs that were compared, then what was not and why."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dlbench.compare.page import VERDICT_ORDER, setting_text

    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(Text(f"A: {before.label}\nB: {after.label}"), soft_wrap=True)
    for side, problems in (("A", before.problems), ("B", after.problems)):
        for problem in problems:
            console.print(Text(f"{side}: {problem}"), soft_wrap=True)
    compared = pairs[pairs.verdict != "not comparable"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("verdict", "experiment", "subject", "metric"):
        table.add_column(column)
    for column in ("A", "B", "B − A", "95 % interval", "n", "p (Holm)"):
        table.add_column(column, justify="right")
    table.add_column("reason")
    for row in compared.head(MOST_ROWS).to_dict("records"):
        settings = setting_text(row["settings"])
        subject = f"{row['subject']} ({settings})" if settings else row["subject"]
        unit = "" if row["unit"] in ("", "1") else f" [{row['unit']}]"
        change = f"{row['difference']:+.3g}" + (f" ({100 * row['relative']:+.1f} %)" if row["timed"] else "")
        table.add_row(
            Text(row["verdict"], style=_STYLES.get(row["verdict"], "")),
            Text(row["experiment"]),
            Text(subject),
            Text(row["metric"] + unit),
            f"{row['a']:.4g}",
            f"{row['b']:.4g}",
            change,
            f"{row['low']:+.3g} … {row['high']:+.3g}",
            f"{row['n_a']}, {row['n_b']}" if row["timed"] else str(row["n"]),
            "" if row["p_holm"] != row["p_holm"] else f"{row['p_holm']:.2g}",
            Text(row["reason"]),
        )
    if len(compared):
        console.print(table)
    if len(compared) > MOST_ROWS:
        console.print(f"… and {len(compared) - MOST_ROWS} more; --csv FILE and --html FILE have all", soft_wrap=True)
    left = pairs[pairs.verdict == "not comparable"]
    for (experiment, reason), count in Counter(zip(left.experiment, left.reason, strict=True)).most_common():
        word = "pair" if count == 1 else "pairs"
        console.print(Text(f"not comparable: {experiment}, {count} {word}: {reason}"), soft_wrap=True)
    counts = Counter(pairs.verdict.tolist())
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICT_ORDER if counts[verdict])
    console.print(f"{len(pairs)} pairs: {told or 'none'}.", soft_wrap=True)


_STYLES = {"worse": "red", "better": "green", "undecided": "yellow"}
