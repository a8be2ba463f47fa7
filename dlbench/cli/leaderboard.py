"""``dlbench leaderboard``: bundles, their verification, and the boards that are made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

REJECTED, UNREADABLE = 1, 2


@click.group("leaderboard", short_help="submissions, their verification, and boards made of them")
def command() -> None:
    """Leaderboards that others can verify: submissions in, one table and its pages out."""


@command.command("bundle")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("experiment")
@click.option("--submitter", required=True, help="Your name on boards: small letters, digits, and . _ - between them.")
@click.option("--license", "license_", default="CC-BY-4.0", show_default=True, help="Of the results, as SPDX names it.")
@click.option("--code-url", default="", help="Where the code is, https.")
@click.option("--tuned-trials", type=int, default=0, show_default=True, help="Configurations tried before this one.")
@click.option(
    "--selection",
    type=click.Choice(["none", "val", "test"]),
    default="none",
    show_default=True,
    help="What it was chosen by.",
)
@click.option("--extra-data", is_flag=True, help="Data beyond the protocol's was used.")
@click.option("--reason", default="", help="Why a row changes that is on the board.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .zip file, or a folder.")
def bundle(
    *,
    run: Path,
    experiment: str,
    submitter: str,
    license_: str,
    code_url: str,
    tuned_trials: int,
    selection: str,
    extra_data: bool,
    reason: str,
    out: Path,
) -> None:
    """Pack what a run measured of one experiment, failed trials included, for others to verify."""
    from dlbench import store
    from dlbench.leaderboard.bundle import Claim, now, write
    from dlbench.leaderboard.protocol import is_id

    if not is_id(submitter):
        raise click.UsageError(
            f"--submitter is {submitter!r}; expected small letters, digits, and . _ - between them, at most 64"
        )
    claim = Claim(submitter, license_, code_url, tuned_trials, selection, extra_data, now(), reason)
    digest = write(store.read(run), experiment, claim, out)
    click.echo(f"{out}: {experiment}, {digest}")


@command.command("protocol")
@click.argument("experiment")
@click.option("--board", required=True, type=click.Path(path_type=Path), help="The board's folder.")
@click.option("--preset", default="quick", show_default=True, help="Its parameters are the board's.")
@click.option("--seeds", type=int, default=6, show_default=True, help="A submission has run seeds 0 to N-1.")
@click.option("--set", "settings", multiple=True, metavar="PARAM=VALUE", help="A parameter other than the preset's.")
@click.option("--free", multiple=True, metavar="PARAM", help="A parameter that submissions may choose.")
def protocol(
    *, experiment: str, board: Path, preset: str, seeds: int, settings: Sequence[str], free: Sequence[str]
) -> None:
    """Write what a board admits of an installed experiment; whoever keeps the board does this once."""
    from dlbench.leaderboard.protocol import of_experiment
    from dlbench.report import files

    overrides = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting!r}: expected PARAM=VALUE")
        overrides[name] = value
    text = of_experiment(experiment, preset=preset, seeds=seeds, overrides=overrides, free=tuple(free))
    file = board / "protocols" / f"{experiment}.json"
    files.write(file, text.decode())
    click.echo(str(file))


@command.command("verify")
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--board", required=True, type=click.Path(path_type=Path), help="The folder of the board it is for.")
@click.option("--rerun", type=int, default=0, metavar="K", help="Measure K of its trials again here.")
@click.option("--by", "verified_by", default="", help="With --rerun: write beside the bundle that you reproduced it.")
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON on standard output.")
@click.pass_context
def verify(context: click.Context, *, bundle: Path, board: Path, rerun: int, verified_by: str, as_json: bool) -> None:
    """Hold a bundle against the rules of a board: exit 0 where it passes, 1 where it is rejected, 2 where it cannot be.

    No plugin is imported and nothing in the bundle is run; --rerun runs the experiment that is installed here.
    """
    from dlbench.leaderboard import again, boards, strict
    from dlbench.leaderboard import protocol as protocols
    from dlbench.leaderboard.rules import RULES, History, verify
    from dlbench.report import files

    admitted = protocols.read(board)
    history = History()
    for one in boards.read(board, admitted):
        history.add(one.bundle, admitted[one.bundle.experiment])
    try:
        found = verify(bundle, admitted, history, rerun=rerun, measure=again.measure)
    except OSError as error:
        raise click.UsageError(f"{bundle} cannot be read: {error.strerror or error}") from None
    if verified_by and found.level == "reproduced" and found.bundle:
        told = {"bundle_sha256": found.bundle.digest, "level": found.level, "verified_by": verified_by}
        files.write(bundle.with_name(f"{bundle.name}.verified.json"), strict.dumps(told, indent=1).decode())
    if as_json:
        findings = [vars(finding) for finding in found.findings]
        click.echo(json.dumps({"level": found.level, "findings": findings}, indent=1))
    else:
        for finding in found.findings:
            message = f": {files.visible(finding.message)}" if finding.message else ""
            click.echo(f"{finding.rule} {finding.outcome:6} {RULES[finding.rule]}{message}")
        click.echo(f"{files.visible(str(bundle))}: {found.level}")
    context.exit(REJECTED if found.rejected else 0)


@command.command("build")
@click.argument("board", metavar="BOARD", type=click.Path(path_type=Path))
def build(*, board: Path) -> None:
    """Make leaderboard.csv, runs.csv and site/ of a board's protocols and bundles, and of nothing else."""
    from dlbench.leaderboard import build as make

    made = make(board)
    active = (made.rows["status"] == "active").sum()
    click.echo(f"{active} rows on {len(made.protocols)} boards. Page: {made.page}")
