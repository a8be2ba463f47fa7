"""``dlbench audit``: a report card for a model that the user brings."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from dlbench.cli.run import carry_out, check_cuda, limited, options_of, status_of
from dlbench.errors import UsageError

if TYPE_CHECKING:
    from dlbench.audit.card import Card
    from dlbench.cli.run import Options
    from dlbench.isolate import Forkserver
    from dlbench.runner import Plan

PREFLIGHT_TIMEOUT = 600.0


@click.command("audit", short_help="a report card for a model of yours, beside reference models")
@click.argument("model")
@click.option("--weights", metavar="FILE.safetensors", help="Put into what the factory returns.")
@click.option("--mean", metavar="M,M,M", help="With --std: the model wants images normalised with these, by channel.")
@click.option("--std", metavar="S,S,S", help="Standard deviations by channel, of images in [0, 1].")
@click.option("--name", metavar="TEXT", help="What the model is called on the card.")
@click.option("--data", metavar="NAME|PATH", help="A data set, or your own: a folder, .npz, .csv, .parquet, …")
@click.option("--target", metavar="COLUMN", help="Of a table: what is to be predicted.")
@click.option("--group", metavar="COLUMN", help="Whose values are groups that should fare alike; several with commas.")
@click.option("--references", metavar="NAME,NAME", help="Models beside it; 'none', or all made for the data (default).")
@click.option("--only", multiple=True, metavar="AUDIT", help="Audits to make; repeatable. Default: all installed.")
@click.option("--retrain", is_flag=True, help="Allow audits to train fresh copies of the model.")
@click.option("--preset", metavar="NAME", help="quick (default) or full.")
@click.option("--seeds", type=int, metavar="N", help="Parts of the examples, each measured apart. Default 6, full 10.")
@click.option("--set", "sets", multiple=True, metavar="AUDIT.PARAM=VALUE", help="Set a parameter; repeatable.")
@limited
@click.option("--out", metavar="DIR", help="The run folder. Default runs/audit-NAME.")
@click.option("--fresh", is_flag=True, help="Measure again what the folder holds already.")
@click.option("--quiet", is_flag=True, help="No progress; the result and errors only.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
def command(**given: Any) -> int:
    """Measure a classifier on everything that audits look at, beside reference models, and write its report card.

    MODEL is ``package.module:factory``, a function without arguments that returns a torch.nn.Module from images in
    [0, 1], or the rows of a table, to logits; or the name of an installed model. The working folder is looked in, too.
    The data's test part is used where it has one, else all of it. The same command again resumes.
    """
    from dlbench.isolate import Forkserver
    from dlbench.store.run import check_folder

    _importable_here()
    model, data = _model(given), _data(given)
    out = Path(given["out"] or f"runs/audit-{_file_name(model)}")
    seeds = given["seeds"] if given["seeds"] is not None else (6 if given["preset"] in (None, "quick") else 10)
    if seeds < 2:
        raise UsageError(f"--seeds {seeds}: expected 2 at least, as each is a part of the examples")
    shared = {"names": (), "config": None, "out": str(out), "seeds": seeds}
    check_folder(out)
    with Forkserver(given["threads"] or 1) as server:
        wanted = None if given["references"] is None else [n for n in given["references"].split(",") if n != "none"]
        device = given["device"] or "cpu"
        if device != "cpu":
            check_cuda(server, device)
        names = _chosen(given["only"])
        told = _preflight(server, model=model, data=data, references=wanted, folds=seeds, device=device, audits=names)
        for line in told["findings"]:
            click.echo(f"dlbench: {line}", err=True)
        settings = {"models": (model, *told["references"]), "data": data, "folds": seeds}
        options = options_of({**given, **shared, "names": names})
        retrain = dict.fromkeys(told["retrainable"], given["retrain"])
        plan = _plan(options, settings, retrain, server)
        summary = carry_out(options, plan, server)
        if summary.interrupted:
            click.echo("dlbench: interrupted; the card is of what is there, the same command goes on", err=True)
        card, page = _write(options, told, data, server)
        _tell(card, page, as_json=given["as_json"])
        return status_of(summary)


def _importable_here() -> None:
    """The working folder's modules can be imported, here and in the processes that are started from here."""
    sys.path.insert(0, str(Path.cwd()))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))


def _model(given: Mapping[str, Any]) -> str:
    """The model as audits take it: a registered name, or an import path with what belongs to it."""
    from dlbench import models
    from dlbench.models.spec import Spec, is_path, numbers, parse

    extra = {key: given[key] for key in ("weights", "mean", "std", "name") if given[key]}
    if not is_path(given["model"]):
        if extra:
            raise UsageError(f"--{next(iter(extra))} is for import paths; {given['model']!r} is not one")
        if given["model"] not in models.names():
            models.get(given["model"])  # says what is near
        return str(given["model"])
    spec = Spec(
        given["model"],
        str(Path(given["weights"]).resolve()) if given["weights"] else "",
        numbers(given["mean"] or "", "--mean"),
        numbers(given["std"] or "", "--std"),
        given["name"] or "",
    )
    return str(parse(str(spec))) if extra else str(given["model"])


def _data(given: Mapping[str, Any]) -> str:
    """The data as audits take it: a registered name, or an absolute path with its columns."""
    from dlbench import models
    from dlbench.data import own
    from dlbench.models.spec import is_path

    columns = {key: given[key].replace(", ", ",") for key in ("target", "group") if given[key]}
    if given["data"] is None:
        if is_path(given["model"]):
            raise UsageError(
                "--data is needed: the name of a data set (dlbench list), or a path to a folder of images, an .npz, "
                ".csv or .parquet file"
            )
        return models.get(given["model"]).dataset
    data = str(given["data"])
    if not own.is_path(data):
        if columns:
            raise UsageError(f"--{next(iter(columns))} is for files; {data!r} is the name of a data set")
        return data
    path, _, query = data.partition("?")
    more = [f"{key}={quote(value)}" for key, value in columns.items()]
    return "?".join(filter(None, [str(Path(path).expanduser().resolve()), "&".join(filter(None, [query, *more]))]))


def _preflight(server: Forkserver, **payload: Any) -> dict[str, Any]:
    """What is known before anything is spent; UsageError where it would be spent in vain."""
    told: dict[str, Any] = server.call("dlbench.audit.preflight:preflight", payload, timeout=PREFLIGHT_TIMEOUT)
    if "usage" in told:
        raise UsageError(told["usage"])
    if told["errors"]:
        more = f" (and {len(told['errors']) - 1} more such)" if len(told["errors"]) > 1 else ""
        raise UsageError(f"{payload['data']}: {told['errors'][0]}{more}")
    return told


def _chosen(only: Sequence[str]) -> list[str]:
    from dlbench import plugins
    from dlbench.audit.preflight import audits

    for name in only:
        plugins.find(plugins.AUDITS, name)
    return list(only) or audits()


def _plan(options: Options, settings: Mapping[str, Any], retrain: Mapping[str, bool], server: Forkserver) -> Plan:
    """The plan of all audits: what the user sets goes over what is the same for all."""
    from dataclasses import replace

    from dlbench.runner import make_plan

    overrides: dict[str, dict[str, Any]] = {}
    for name in options.request.names:
        overrides[name] = {**settings, **({"retrain": retrain[name]} if name in retrain else {})}
    for name, values in options.request.overrides.items():
        overrides[name] = {**overrides.get(name, {}), **values}
    return make_plan(replace(options.request, overrides=overrides), server)


def _write(options: Options, told: Mapping[str, Any], data: str, server: Forkserver) -> tuple[Card, Path]:
    """The full report, and the card beside it."""
    from dlbench import store
    from dlbench.audit import card
    from dlbench.cli.report import write_report
    from dlbench.report import frames

    folder, problems = options.out / "report", list[str]()
    write_report([options.out], folder, server)
    run = store.read(options.out)
    names = set(options.request.names)
    everything = [one for one in frames.measured({options.out.name: run}) if one.name in names]
    facts = {
        "data": data,
        "examples": f"{told['examples']:,}, in {len(everything[0].planned) if everything else 0} parts",
        "classes": str(told["classes"]),
        "shape of one": " × ".join(map(str, told["shape"])),
        "preset": options.request.preset,
        "device": options.request.device,
    }
    made = card.make(
        everything,
        {one.name: frames.artefacts(one, run, problems) for one in everything},
        told["label"],
        facts=facts,
        findings=told["findings"],
        missing=_not_made(options.request.names),
        call=server.call,
    )
    return made, made.write(folder, report="index.html")


def _not_made(names: Sequence[str]) -> dict[str, str]:
    """Installed audits that were not asked for, or cannot be used."""
    from dlbench import plugins

    installed, broken = plugins.discover(plugins.AUDITS)
    missing = {plugin.name: "it was not asked for" for plugin in installed if plugin.name not in names}
    return missing | {record.plugin.name: record.reason for record in broken}


def _tell(card: Card, page: Path, *, as_json: bool) -> None:
    """The axes, what is weak, what was not measured, and where the card is."""
    import json

    if as_json:
        frames = {name: json.loads(getattr(card, name).to_json(orient="records")) for name in ("axes", "verdicts")}
        click.echo(json.dumps({**frames, "missing": dict(card.missing), "card": str(page)}, indent=1))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dlbench.audit.card import interval

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("axis (0 worst, 1 best)")
    table.add_column(Text(card.subject), justify="right")
    table.add_column("best beside it")
    for row in card.own.itertuples():
        beside = card.axes[(card.axes.axis == row.axis) & (card.axes.audit == row.audit) & card.axes.value.notna()]
        best = beside[beside.subject != card.subject].sort_values("value").tail(1)
        shown = "".join(f"{interval(one.value, one.low, one.high)} {one.subject}" for one in best.itertuples())
        table.add_row(Text(row.axis), interval(row.value, row.low, row.high), Text(shown))
    console.print(table)
    for audit, text in card.weaknesses:
        console.print(Text(f"weak: {audit}: {text}"), soft_wrap=True)
    for audit, reason in card.missing.items():
        console.print(Text(f"not measured: {audit}: {reason}"), soft_wrap=True)
    console.print(Text(f"Report card: {page}"), soft_wrap=True)


def _file_name(model: str) -> str:
    from dlbench.models.spec import label

    return re.sub(r"[^A-Za-z0-9_.-]+", "-", label(model)).strip("-.")[:80] or "model"
