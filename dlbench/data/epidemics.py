"""COVID-19 in the regions of a country, and how people moved between them (Panagopoulos et al., AAAI 2021).

Daily confirmed cases and daily movements from 10 or 13 March to 12 May 2020. The publishers' files lie in the folder
``covid`` of the data root: ``England/england_labels.csv`` (a region a line, a day a column) and, one a day,
``England/graphs/EN_2020-03-13.csv`` (from, to, number of people; without a header). France likewise.

The arrays, for T days, n regions (those that the movements name), E pairs of regions between which anybody moved:
    cases       [T, n] float32, new cases; NaN on a day that the file leaves out or a cell that it leaves empty
    edge_index  [2, E] int64, from region to region; a region to itself is an edge too
    movement    [T, E] float32, people who moved along the edge; all NaN on a day without a file
    regions     [n] text
    days        [T] datetime64[D]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dlbench.data import Dataset, root
from dlbench.data.tables import read_csv
from dlbench.errors import DataDamaged

CODES = {"England": "EN", "France": "FR"}


def epidemic(country: str) -> Dataset:
    """The data set of one country of :data:`CODES`."""

    def files() -> list[Path]:
        folder = root() / "covid" / country
        graphs = sorted((folder / "graphs").glob(f"{CODES[country]}_*.csv"))
        return [folder / f"{country.lower()}_labels.csv", *(graphs or [folder / "graphs" / f"{CODES[country]}_*.csv"])]

    return Dataset(
        files=files,
        read=lambda: read(files()[0], files()[1:]),
        about=f"COVID-19 in {country}: put the folder data/{country} of github.com/geopanag/pandemic_tgnn into the "
        "folder covid of DLBENCH_DATA.",
    )


def read(labels: Path, graphs: Sequence[Path]) -> dict[str, np.ndarray]:
    """The arrays that the module's docstring lists.

    Regions that no movement names are left out, as the publishers do; days run without a gap from the first to the
    last that has cases.

    Raises:
        DataDamaged: a file is no such table, a region is listed twice, a movement names a region without cases.
    """
    cases = table(labels, header=0).rename(columns={"name": "region"}).set_index("region")
    if cases.index.has_duplicates:
        raise DataDamaged(f"{labels} lists {cases.index[cases.index.duplicated()][0]} twice; expected a region a line")
    cases.columns = _dates(cases.columns, labels)
    days = pd.date_range(cases.columns.min(), cases.columns.max(), freq="D")
    moves = pd.concat([_moves(path) for path in graphs])
    named = pd.unique(moves[["source", "target"]].to_numpy().ravel())
    if unknown := sorted(set(named) - set(cases.index)):
        raise DataDamaged(f"{labels} has no line for {', '.join(unknown[:3])}, which files in {graphs[0].parent} name")
    regions = [region for region in cases.index if region in set(named)]
    number = pd.Series(range(len(regions)), index=regions)
    wide = moves.pivot_table(index="day", columns=["source", "target"], values="people", aggfunc="sum").reindex(days)
    seen = wide.index.isin(moves.day)
    movement = wide.to_numpy(np.float32, copy=True)
    movement[seen] = np.nan_to_num(movement[seen])  # nobody moved
    return {
        "cases": cases.loc[regions].reindex(columns=days).to_numpy(np.float32).T.copy(),
        "edge_index": np.stack([number[wide.columns.get_level_values(end)] for end in ("source", "target")]),
        "movement": movement,
        "regions": np.array(regions, dtype=np.str_),
        "days": days.to_numpy("datetime64[D]"),
    }


def table(path: Path, header: int | None) -> pd.DataFrame:
    """A CSV file: text in the columns of names, numbers elsewhere; else DataDamaged."""
    try:
        frame = read_csv(path, header)
    except (ValueError, OSError) as problem:
        raise DataDamaged(f"{path} was not read: {problem}") from problem
    names = 1 if header == 0 else 2
    wrong = [
        i for i, (name, column) in enumerate(frame.items()) if i >= names and not pd.api.types.is_numeric_dtype(column)
    ]
    if frame.shape[1] <= names or wrong:
        what = f"column {wrong[0] + 1} holds text" if wrong else f"it has {frame.shape[1]} columns"
        raise DataDamaged(f"{path} was not read: {what}; expected {names} of names, then numbers")
    if np.isinf(frame.iloc[:, names:].to_numpy(float)).any():
        raise DataDamaged(f"{path} was not read: a number in it is infinite; get it again")
    return frame


def _moves(path: Path) -> pd.DataFrame:
    frame = table(path, header=None).iloc[:, :3]
    frame.columns = ["source", "target", "people"]
    [day] = _dates([path.stem.partition("_")[2]], path)
    return frame.assign(day=day)


def _dates(texts: Sequence[str], path: Path) -> pd.DatetimeIndex:
    try:
        return pd.to_datetime(list(texts), format="%Y-%m-%d")
    except ValueError as problem:
        raise DataDamaged(f"{path}: {problem}; expected dates as 2020-03-13") from problem


ENGLAND = epidemic("England")
FRANCE = epidemic("France")
