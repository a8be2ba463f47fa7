"""The table of all children, really trained: read, and made again.

The experiment that trains them is ``dlbench run nas_controller --preset table``; ``python -m
dlbench_plugins.search.table RUN`` makes the CSV from its folder. The lines that begin with # say how it was made.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbench import Measurement
from dlbench.data import Dataset
from dlbench.errors import DataDamaged
from dlbench_plugins.search.children import RECIPES, SPACE, TRAINING_SEEDS, Child

FILE = Path(__file__).with_name("children.csv")
HEADER = ("landscape", *SPACE.slots, "training_seed", *Child._fields)

Table = Mapping[str, NDArray[np.float64]]
"""Field of :class:`Child` → [children, training seeds]."""


def tables(rows: Iterable[Mapping[str, Any]]) -> dict[str, Table]:
    """Data set → table, from a row a training with the columns of HEADER (text is read as numbers).

    Raises:
        ValueError: a training is missing, unknown or there twice.
    """
    codes = {tuple(str(c) for c in SPACE.choices(child).values()): child for child in range(len(SPACE))}
    shape = (len(SPACE), TRAINING_SEEDS)
    made: dict[str, dict[str, NDArray[np.float64]]] = {}
    for row in rows:
        code = tuple(str(row[slot]) for slot in SPACE.slots)
        if code not in codes or row["landscape"] not in RECIPES:
            raise ValueError(f"{row['landscape']}, {', '.join(code)} is no child of the space")
        of = made.setdefault(row["landscape"], {name: np.full(shape, np.nan) for name in Child._fields})
        at = codes[code], int(row["training_seed"])
        if not np.isnan(of["test"][at]):
            raise ValueError(f"{row['landscape']}, {', '.join(code)}, seed {at[1]} is there twice")
        for name in Child._fields:
            of[name][at] = float(row[name])
    for dataset, of in made.items():
        missing = int(np.isnan(of["test"]).sum())
        if missing:
            raise ValueError(f"{missing} of {len(SPACE) * TRAINING_SEEDS} trainings on {dataset} are missing")
    return dict(made)


def _read() -> Mapping[str, NDArray[np.float64]]:
    try:
        with FILE.open(newline="") as file:
            made = tables(csv.DictReader(line for line in file if not line.startswith("#")))
    except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        raise DataDamaged(f"{FILE.name} is damaged ({error}); install dlbench again") from error
    return {f"{dataset} {name}": values for dataset, table in made.items() for name, values in table.items()}


CHILDREN = Dataset(
    lambda: [FILE],
    _read,
    f"{len(SPACE)} small networks, each trained {TRAINING_SEEDS} times on MNIST-1D and on digits, what became of them; "
    "made by `dlbench run nas_controller --preset table`.",
)


def of_dataset(arrays: Mapping[str, NDArray[np.float64]], dataset: str) -> Table:
    """The table of one of the data sets that CHILDREN holds."""
    return {name: arrays[f"{dataset} {name}"] for name in Child._fields}


def row(dataset: str, child: int, seed: int, became: Child) -> dict[str, Any]:
    """What one training came to, with the columns of HEADER."""
    return {"landscape": dataset, **SPACE.choices(child), "training_seed": seed, **became._asdict()}


def written(rows: Sequence[Measurement], provenance: Sequence[str]) -> str:
    """The CSV of trainings, after making sure that none is missing."""
    tables(rows)
    lines = [f"# {line}" for line in provenance] + [",".join(HEADER)]
    lines += [",".join(f"{v:.4g}" if isinstance(v := of[name], float) else str(v) for name in HEADER) for of in rows]
    return "\n".join(lines) + "\n"


def _from_run(folder: Path) -> str:
    """The CSV of the first trial of a run."""
    from dlbench import store

    run = store.read(folder)
    result = next(r for r in run.results if r["experiment"] == "nas_controller" and r["status"] == "ok")
    facts, plan = run.environments[result["environment"]], run.plan["experiments"]["nas_controller"]
    code = facts["code"]["dlbench"]
    packages = ", ".join(f"{name} {facts['packages'][name]}" for name in ("torch", "numpy", "scipy", "scikit-learn"))
    recipes = "; ".join(
        f"{name}: {r.train} train, {r.validation} validate, {r.steps} steps of Adam on batches of {r.batch_size}"
        for name, r in RECIPES.items()
    )
    return written(
        [of for of in result["rows"] if of["subject"] == "child"],
        [
            "What became of every child of the space, trained with three training seeds; rates fall linearly to 0.",
            f"Made by: dlbench run nas_controller --preset table --seeds 1 (seed {result['seed']}), and then",
            "python -m dlbench_plugins.search.table runs/table",
            f"Date: {result['finished']}; revision: {code['revision']}{' (changed)' if code['dirty'] else ''}; "
            f"version of the experiment: {plan['version']}",
            f"Python {facts['python']}, {packages}",
            f"Data: {recipes}; MNIST-1D is drawn by dlbench.data.mnist1d, digits are scikit-learn's",
            "validation_ninth, validation_third: accuracies after a ninth and a third of the steps",
            "flops: of one answer, as torch counts them; seconds: CPU seconds of a training, twelve at once",
        ],
    )


if __name__ == "__main__":
    FILE.write_text(_from_run(Path(sys.argv[1])))
