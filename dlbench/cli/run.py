"""``dlbench run``: plan, run what is missing, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlbench import cli
from dlbench.errors import UsageError

if TYPE_CHECKING:
    from dlbench.isolate import Forkserver
    from dlbench.runner import Plan, Request, Summary


def limited(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that run trials: where, how many at a time, and within which limits."""
    for option in (
        click.option("--memory", type=float, metavar="GIB", help="Memory a trial may hold. Default: a fair share."),
        click.option("--timeout", type=float, metavar="S", help="Seconds a trial may take. Default 3600."),
        click.option("--threads", type=int, metavar="N", help="Threads a trial computes with. Default 1."),
        click.option(
            "--jobs", type=int, metavar="N", help="Trials at a time. Default: one a core on cpu, one on cuda."
        ),
        click.option("--device", metavar="cpu|cuda", help="Where trials compute. Default cpu."),
    ):
        command = option(command)
    return command


@click.command("run", short_help="run experiments; the same command again resumes")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--preset", metavar="NAME", help="quick (default; minutes on two cores) or full (the paper's protocol).")
@click.option(
    "--seeds", type=int, metavar="N", help="Seeds 0 to N-1. Default 6 for quick, else 10; below 6 no verdict."
)
@click.option("--set", "sets", multiple=True, metavar="NAME.PARAM=VALUE", help="Set a parameter; repeatable.")
@click.option("--config", metavar="FILE.toml", help="Options, and a table of parameters for each experiment.")
@limited
@click.option("--out", metavar="DIR", help="The run folder. Default runs/PRESET.")
@click.option("--fresh", is_flag=True, help="Run again what the folder holds already.")
@click.option("--quiet", is_flag=True, help="No progress; verdicts and errors only.")
@click.option("--json", "as_json", is_flag=True, help="The verdicts as JSON on standard output.")
def command(**given: Any) -> int:
    """Run experiments (all, if none is named), then write the report and print the verdicts.

    Every finished trial is on disk before the next is told of: after a crash, a kill or Ctrl-C the same command goes
    on where it stopped.
    """
    return _run(options_of(given))


@dataclass(frozen=True)
class Options:
    """What a run needs to know, from the command line over the config file over the defaults."""

    request: Request
    out: Path
    jobs: int
    threads: int
    timeout: float
    memory: float
    fresh: bool
    quiet: bool
    as_json: bool
    config: str | None


def options_of(given: Mapping[str, Any]) -> Options:
    """What a run needs to know; UsageError for values that cannot be."""
    from dlbench.runner.plan import Request, parse_overrides, read_config

    config = read_config(given["config"]) if given["config"] else {"options": {}, "overrides": {}}
    chosen = config["options"] | {key: value for key, value in given.items() if value is not None and value != ()}
    overrides = config["overrides"]
    for name, values in parse_overrides(given["sets"]).items():
        overrides[name] = overrides.get(name, {}) | values
    names = chosen.get("names") or chosen.get("experiments", ())
    device = chosen.get("device", "cpu")
    preset = chosen.get("preset", "quick")
    cores = len(os.sched_getaffinity(0))
    jobs = chosen.get("jobs", cores if device == "cpu" else 1)
    _at_least("--seeds", chosen.get("seeds", 1), 1)
    if chosen.get("seeds", 1) > 10_000:
        raise UsageError(f"--seeds {chosen['seeds']}: expected at most 10000")
    _at_least("--jobs", jobs, 1)
    _at_least("--threads", chosen.get("threads", 1), 1)
    for option in ("timeout", "memory"):
        if not chosen.get(option, 1) > 0:  # NaN is not either
            raise UsageError(f"--{option} {chosen[option]:g}: expected more than 0")
    if device != "cpu" and device.partition(":")[0] != "cuda":
        raise UsageError(f"--device {device!r}: expected cpu, cuda or cuda:N")
    return Options(
        request=Request(names, preset, chosen.get("seeds"), overrides, device),
        out=Path(chosen.get("out", f"runs/{preset}")),
        jobs=jobs,
        threads=chosen.get("threads", 1),
        timeout=chosen.get("timeout", 3600.0),
        memory=chosen["memory"] * 2**30 if "memory" in chosen else _fair_share(jobs),
        fresh=given["fresh"],
        quiet=given["quiet"],
        as_json=given["as_json"],
        config=given["config"],
    )


def _run(options: Options) -> int:
    from dlbench.isolate import Forkserver
    from dlbench.runner.plan import choose, make_plan
    from dlbench.store.run import check_folder

    check_folder(options.out)  # before anything is started, as are the names
    with _located(options):
        choose(options.request)
    with Forkserver(options.threads) as server:
        if options.request.device != "cpu":
            check_cuda(server, options.request.device)
        with _located(options):
            plan = make_plan(options.request, server)
        return _conclude(options, plan, carry_out(options, plan, server), server)


def carry_out(options: Options, plan: Plan, server: Forkserver) -> Summary:
    """Run what of a plan is not in the run folder yet."""
    from dlbench.runner import display, drive, environment
    from dlbench.store import Writer, read

    for record in plan.broken:
        click.echo(f"dlbench: left out: {display.printable(str(record))}", err=True)
    before = read(options.out) if (options.out / "plan.json").exists() else None
    for problem in before.problems if before else ():
        click.echo(f"dlbench: {options.out}: {problem}", err=True)
    facts = environment(plan, server)
    writer = Writer(options.out)
    try:
        return drive(
            plan,
            server,
            writer,
            facts,
            before,
            display.choose(quiet=options.quiet),
            jobs=options.jobs,
            timeout=options.timeout,
            memory=options.memory,
            fresh=options.fresh,
        )
    finally:
        writer.close()


@contextmanager
def _located(options: Options) -> Iterator[None]:
    """What is wrong with a value from the config file is told with its file and line."""
    from dlbench.runner.plan import locate

    try:
        yield
    except UsageError as error:
        place = locate(options.config, str(error)) if options.config else ""
        raise UsageError(f"{place}{error}") from None


def _conclude(options: Options, plan: Plan, summary: Summary, server: Forkserver) -> int:
    """Write the report, print the verdicts, and say how it went."""
    from dlbench.cli.report import print_verdicts, write_report

    if summary.interrupted:
        click.echo("dlbench: interrupted; the report is of what is there, the same command goes on", err=True)
    report = write_report([options.out], options.out / "report", server)
    print_verdicts(report, plan.experiments, as_json=options.as_json)
    seeds = min((len(experiment["seeds"]) for experiment in plan.experiments.values()), default=0)
    if 0 < seeds < 6:
        click.echo(f"dlbench: {seeds} seeds: no verdict is possible below 6 (--seeds 6)", err=True)
    return status_of(summary)


def status_of(summary: Summary) -> int:
    """The exit status of a run, after saying what of it failed."""
    if summary.interrupted:
        return cli.INTERRUPTED
    measured = summary.reused + summary.statuses["ok"]
    if summary.failed:
        click.echo(f"dlbench: {summary.failed} trials failed; the report says why", err=True)
    elif summary.statuses["skipped"]:
        click.echo(f"dlbench: {summary.statuses['skipped']} trials skipped; the report says why", err=True)
    if not measured:
        return cli.NOTHING_MEASURED
    return cli.FAILED if summary.failed else cli.OK


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"{option} {value}: expected a whole number from {least}")


def _fair_share(jobs: int) -> float:
    import psutil

    return float(psutil.virtual_memory().total * 0.8 / jobs)


def check_cuda(server: Forkserver, device: str) -> None:
    """UsageError where a CUDA device cannot be used."""
    problem = server.call("dlbench.cli.run:cuda_problem", {"device": device}, timeout=120)
    if problem:
        raise UsageError(f"--device {device}: {problem}; use --device cpu")


def cuda_problem(payload: dict[str, Any], send: Any) -> str:
    """In a task of its own: why a CUDA device cannot be used, or an empty text."""
    import torch

    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        return f"torch {torch.__version__} ({built}) sees no CUDA device"
    index = payload["device"].partition(":")[2] or "0"
    count = torch.cuda.device_count()
    if not index.isdigit() or int(index) >= count:
        return f"there are {count} CUDA devices, numbered from 0"
    return ""
