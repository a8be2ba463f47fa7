"""Offline files for Weights & Biases, written by its own library: a project for each experiment, a run a measurement.

Runs of one subject under equal settings are a group, over which its charts take means and spreads. Nothing is sent;
``wandb sync`` does that, and who syncs twice does not get a measurement twice, as its run keeps its name.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbench.errors import UsageError
from dlbench.export import library, quietly, tracked
from dlbench.export.tracked import Tracked, Trial
from dlbench.report import files

if TYPE_CHECKING:
    from dlbench.report import Gathered

_LONGEST_NAME = 128


def write(gathered: Gathered, out: Path) -> list[str]:
    """Write ``wandb/offline-run-*``; UsageError where there are such already."""
    if any((out / "wandb").glob("offline-run-*")):
        raise UsageError(f"{out / 'wandb'} holds offline runs already; choose another folder")
    with quietly(WANDB_ERROR_REPORTING="false", WANDB_SILENT="true"):
        wandb = library("wandb")
        runs = 0
        try:
            for one in gathered.measured:
                for trial in tracked.trials(one):
                    for run in trial.measurements or [trial.trial]:
                        _run(wandb, files.safe_name(one.name), run, trial, out)
                        runs += 1
        except (wandb.errors.Error, OSError) as error:
            raise UsageError(f"{out}: {' '.join(str(error).split())[:300]}") from None
        finally:
            wandb.teardown()  # ends the process that wrote the files
    return [f"{runs} runs in {out / 'wandb'}; send them: wandb sync {shlex.quote(str(out / 'wandb'))}/offline-run-*"]


def _run(wandb: Any, project: str, run: Tracked, trial: Trial, out: Path) -> None:
    failed = trial.status != "ok"
    made = wandb.init(
        project=project,
        dir=str(out),
        id=run.id,
        name=f"{run.name} ({trial.status})"[:_LONGEST_NAME] if failed else run.name[:_LONGEST_NAME],
        group=_group(run)[:_LONGEST_NAME],
        job_type=trial.status,
        config=_nested(run.config) | {"tags": dict(trial.tags)},
        notes=trial.tags.get("dlbench.reason"),
        settings=_settings(wandb),
    )
    made.log(dict(run.metrics) | {f"trial/{name}": value for name, value in trial.trial.metrics.items()})
    made.finish(exit_code=1 if failed else 0)


def _settings(wandb: Any) -> Any:
    """Offline; and of the machine and the folder where the export is made, which measured nothing, no word."""
    return wandb.Settings(
        mode="offline",
        console="off",
        silent=True,
        save_code=False,
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )


def _group(run: Tracked) -> str:
    """A measurement's subject and settings."""
    named = {name.removeprefix("settings."): v for name, v in run.config.items() if name.startswith("settings.")}
    return ", ".join([str(run.config.get("subject", "failed")), *(f"{name}={value}" for name, value in named.items())])


def _nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """``parameters.width`` as W&B shows it: ``{"parameters": {"width": …}}``."""
    nested: dict[str, Any] = {}
    for name, value in config.items():
        group, dot, inner = name.partition(".")
        if dot:
            nested.setdefault(group, {})[inner] = value
        else:
            nested[name] = value
    return nested
