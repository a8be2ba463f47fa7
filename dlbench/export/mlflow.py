"""A tracking database for MLflow, written by its own client: an experiment for each of ours, a run for each trial.

Below a trial's run stands a run for each of its measurements. MLflow keeps no infinite number: such a one becomes a
tag, and is told. A measurement that the database has already is not written again.
"""

from __future__ import annotations

import logging
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbench.errors import UsageError
from dlbench.export import library, markdown, quietly, tables, tracked
from dlbench.export.tracked import Tracked, Trial
from dlbench.report.frames import Measured

if TYPE_CHECKING:
    from dlbench.report import Gathered

DATABASE = "mlflow.db"

_ID = "dlbench.id"
_NAME = re.compile(r"[^\w\-. :/]")
_MOST_TAGS = 100
_LONGEST_TAG = 5000
_LONGEST_NAME = 250


def write(gathered: Gathered, out: Path) -> list[str]:
    """Write or extend ``mlflow.db``."""
    address = f"sqlite:///{(out / DATABASE).resolve()}"
    with quietly(MLFLOW_DISABLE_TELEMETRY="true"):
        mlflow = library("mlflow")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            client = mlflow.MlflowClient(tracking_uri=address)
            notes = {table.of: table for table in tables.claims(gathered)}
            several = len({one.run for one in gathered.measured}) > 1
            written = [
                _experiment(client, one, notes[f"{one.name}--{one.run}" if several else one.name], out)
                for one in gathered.measured
            ]
        except (mlflow.exceptions.MlflowException, OSError) as error:
            raise UsageError(f"{out / DATABASE}: {' '.join(str(error).split())[:300]}") from None
    runs, infinite = (sum(counts) for counts in zip(*written, strict=True)) if written else (0, 0)
    told = [f"{runs} runs in {out / DATABASE}; see them: mlflow ui --backend-store-uri {shlex.quote(address)}"]
    if infinite:
        told.append(f"{infinite} infinite numbers are tags, as MLflow has no such metric")
    return told


def _experiment(client: Any, one: Measured, claims: tables.Table, out: Path) -> tuple[int, int]:
    """Write an experiment; how many runs were new, and how many of their numbers are infinite."""
    name = _NAME.sub("_", one.name)[:_LONGEST_NAME]
    found = client.get_experiment_by_name(name)
    number = found.experiment_id if found else client.create_experiment(name, str((out / "artifacts").resolve()))
    client.set_experiment_tag(
        number, "mlflow.note.content", f"{markdown.text(claims.title)}\n\n{markdown.render(claims)}"
    )
    there = dict(_there(client, number))
    runs = infinite = 0
    for trial in tracked.trials(one):
        parent = there.get(trial.trial.id)
        for run in (trial.trial, *trial.measurements):
            if run.id in there:
                continue
            made = _run(client, number, run, trial, parent=None if run is trial.trial else parent)
            parent = parent or made
            runs += 1
            infinite += sum(map(math.isinf, run.metrics.values()))
    return runs, infinite


def _there(client: Any, experiment: str) -> Iterator[tuple[str, str]]:
    """Our ids and MLflow's of the runs that an experiment has."""
    page = None
    while True:
        found = client.search_runs([experiment], max_results=1000, page_token=page)
        yield from ((run.data.tags[_ID], run.info.run_id) for run in found if _ID in run.data.tags)
        page = found.token
        if not page:
            return


def _run(client: Any, experiment: str, run: Tracked, trial: Trial, *, parent: str | None) -> str:
    entities = library("mlflow.entities")
    tags = {_ID: run.id} | ({"mlflow.parentRunId": parent} if parent else _tags(trial))
    tags |= {f"infinite.{name}": str(value) for name, value in run.metrics.items() if math.isinf(value)}
    made = client.create_run(experiment, start_time=trial.started, tags=tags, run_name=run.name[:_LONGEST_NAME])
    identity: str = made.info.run_id
    metrics = [entities.Metric(name, x, trial.ended, 0) for name, x in run.metrics.items() if not math.isinf(x)]
    params = [entities.Param(_NAME.sub("_", name)[:_LONGEST_NAME], str(value)) for name, value in run.config.items()]
    for k in range(0, max(len(params), 1), _MOST_TAGS):
        client.log_batch(identity, metrics=metrics if k == 0 else (), params=params[k : k + _MOST_TAGS])
    status = "FINISHED" if trial.status == "ok" else "FAILED"
    client.set_terminated(identity, status=status, end_time=trial.ended)
    return identity


def _tags(trial: Trial) -> dict[str, str]:
    return {_NAME.sub("_", name)[:_LONGEST_NAME]: text[:_LONGEST_TAG] for name, text in trial.tags.items()}
