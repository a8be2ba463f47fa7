"""COMPAS: whom a risk score called likely to offend again, and who did within two years (ProPublica 2016).

People of Broward County, Florida, scored in 2013 and 2014 (Angwin, Larson, Mattu & Kirchner, "Machine bias", and "How
we analyzed the COMPAS recidivism algorithm"). The file ``compas-scores-two-years.csv`` (or the same with ``.gz``
behind) lies in the folder ``compas`` of the data root.

The arrays, a row a person, under the publishers' names:
    age, priors_count, juv_fel_count, juv_misd_count, juv_other_count    [n] int64
    sex, race, c_charge_degree (F felony, M misdemeanor)                 [n] text
    decile_score    [n] int64, 1 to 10, the score of COMPAS
    score_text      [n] text, Low, Medium or High
    two_year_recid  [n] int64, 1 where a new charge came within two years
    kept            [n] bool, rows that the publishers' filter keeps: screened within 30 days of the arrest, whether
                    there was a new charge is known, no ordinary traffic offence, and a score

The publishers' tables of error rates (false positives 44.8 % of black and 23.5 % of white defendants) count all rows;
their regressions, those that the filter keeps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dlbench.data import Dataset, root
from dlbench.data.tables import plain_or_gzipped, read_csv
from dlbench.errors import DataDamaged

COUNTS = ("age", "priors_count", "juv_fel_count", "juv_misd_count", "juv_other_count", "decile_score", "two_year_recid")
TEXTS = ("sex", "race", "c_charge_degree", "score_text")
FILTERED_BY = ("days_b_screening_arrest", "is_recid")


def file() -> Path:
    """Where the table lies."""
    return plain_or_gzipped(root() / "compas" / "compas-scores-two-years.csv")


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays that the module's docstring lists.

    Raises:
        DataDamaged: the table lacks a column, or a cell of it is empty or no number where there must be one.
    """
    try:
        table = read_csv(path, header=0)
    except (ValueError, OSError) as problem:
        raise DataDamaged(f"{path} was not read: {problem}") from problem
    if absent := [name for name in (*COUNTS, *TEXTS, *FILTERED_BY) if name not in table]:
        raise DataDamaged(f"{path} has no column {absent[0]}; expected ProPublica's compas-scores-two-years.csv")
    arrays = {name: _whole(table[name], path) for name in COUNTS}
    if (bad := ~np.isin(arrays["two_year_recid"], (0, 1))).any():
        raise DataDamaged(f"{path}, line {np.flatnonzero(bad)[0] + 2}: two_year_recid is neither 0 nor 1")
    texts = {name: table[name].fillna("N/A").astype(str) for name in TEXTS}  # as pandas reads the text N/A
    known = (table.is_recid != -1) & (texts["c_charge_degree"] != "O") & (texts["score_text"] != "N/A")
    kept = table.days_b_screening_arrest.between(-30, 30) & known
    return arrays | {name: np.array(text, dtype=np.str_) for name, text in texts.items()} | {"kept": kept.to_numpy()}


def _whole(column: pd.Series, path: Path) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce")
    if (bad := ~np.isfinite(numbers) | (numbers % 1 != 0)).any():
        line = int(np.flatnonzero(bad)[0]) + 2
        raise DataDamaged(
            f"{path}, line {line}: {column.name} is {str(column.iloc[line - 2])!r}; expected a whole number"
        )
    return np.asarray(numbers.to_numpy(np.int64))


COMPAS = Dataset(
    files=lambda: [file()],
    read=lambda: read(file()),
    about="COMPAS: put compas-scores-two-years.csv of github.com/propublica/compas-analysis into the folder compas of "
    "DLBENCH_DATA.",
)
