r"""Exports: what runs measured, for the places where people write and look: papers, notebooks, experiment trackers.

===========  ==========================================================================================================
``latex``    a file a table, to ``\input``: claims with estimate and interval, and the leaderboard, of each experiment
``markdown`` the same tables, ``claims.md`` and ``leaderboard.md``
``parquet``  the report's frames, a file each
``mlflow``   a run a trial, and below it a run a measurement, in ``mlflow.db``
``wandb``    a run a measurement, as the offline files that ``wandb sync`` takes
===========  ==========================================================================================================

Everything is made of what :func:`dlbench.report.gather` gathers. pyarrow, MLflow and Weights & Biases are extras,
imported when they are asked for; the trackers' files are written by the trackers' own libraries, and nothing is sent.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbench.errors import UsageError

if TYPE_CHECKING:
    from dlbench.report import Gathered

__all__ = ["EXTRAS", "KINDS", "export"]

KINDS = ("latex", "markdown", "parquet", "mlflow", "wandb")

EXTRAS = {
    "parquet": ("parquet", ("pyarrow",)),
    "mlflow": ("mlflow", ("mlflow", "sqlalchemy", "alembic")),
    "wandb": ("wandb", ("wandb",)),
}
"""Kind → the extra that it needs, and the modules of that."""


def export(gathered: Gathered, kind: str, out: Path) -> list[str]:
    """Write an export to a folder; returns what to tell of it, a line each.

    Args:
        gathered: of :func:`dlbench.report.gather`.
        kind: one of :data:`KINDS`.
        out: the folder; made where it is not there.

    Raises:
        UsageError: no such kind; an extra that is missing; a folder that cannot be written, or holds such an export.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no export {kind!r}; expected one of {', '.join(KINDS)}")
    check_extra(kind)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; choose another folder") from None
    told: list[str] = importlib.import_module(f"dlbench.export.{kind}").write(gathered, out)
    return told


def check_extra(kind: str) -> None:
    """UsageError unless what a kind needs is installed; nothing is imported."""
    extra, modules = EXTRAS.get(kind, ("", ()))
    if absent := [module for module in modules if importlib.util.find_spec(module) is None]:
        raise UsageError(
            f"--to {kind} needs {' and '.join(absent)}, which is not installed: pip install 'dlbench[{extra}]'"
        )


def library(name: str) -> Any:
    """A library of an extra; what its import raises is a UsageError."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken installation of somebody else's raises many kinds
        raise UsageError(f"{name} cannot be imported: {' '.join(str(error).split())[:200]}; install it again") from None


@contextlib.contextmanager
def quietly(**variables: str) -> Iterator[None]:
    """For the time of a ``with``: these environment variables, where the user has not set them, and no warnings, as
    those of a library are for its authors.
    """
    mine = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in mine:
            os.environ.pop(name, None)
