"""ACSIncome: who of the working people of the United States earned more than 50,000 dollars (Ding et al., 2021).

Of the Census Bureau's American Community Survey of 2018, Public Use Microdata Sample, 1 year ("Retiring Adult",
NeurIPS 2021). The person files of the states, ``psam_p01.csv`` and so on, lie in ``acs/2018/1-Year`` of the data root,
the tree of www2.census.gov/programs-surveys/acs/data/pums and of the package folktables: any of the states, or all.
From 2019 on the Bureau asks the relationship anew and names it RELSHIPP; those files are another data set.

Kept are people over 16 years, with an income over 100 dollars, with at least an hour's work a week, and whose weight is
1 or more; what is blank in the others' columns is 0 (folktables, acs.py: ``ACSIncome``, ``adult_filter``). Like there,
dollars are those of the form, without the Bureau's adjustment (ADJINC).

The arrays, a row a person, under the Bureau's names:
    AGEP, SCHL, WKHP    [n] int64, age, schooling (16 finished school, 24 doctorate), hours a week
    COW, MAR, OCCP, POBP, RELP    [n] int64, codes: class of worker, marital status, occupation, place of birth,
                    relationship to the householder
    SEX, RAC1P          [n] int64, codes: 1 male, 2 female; 1 White alone, 2 Black or African American alone, …
    ST                  [n] int64, code of the state
    PINCP               [n] int64, the person's income
    y                   [n] int64, 1: PINCP > 50,000
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlbench.data import Dataset, root
from dlbench.errors import DataDamaged

FEATURES = ("AGEP", "COW", "SCHL", "MAR", "OCCP", "POBP", "RELP", "WKHP", "SEX", "RAC1P")
OTHERS = ("ST", "PINCP")
WEIGHT = "PWGTP"
THRESHOLD = 50_000  # dollars


def files() -> Sequence[Path]:
    """The states' files that are there, or the first that might be."""
    folder = root() / "acs" / "2018" / "1-Year"
    return sorted(folder.glob("psam_p[0-9][0-9].csv")) or [folder / "psam_p01.csv"]


def read(paths: Sequence[Path]) -> Mapping[str, NDArray[Any]]:
    """The arrays that the module's docstring lists.

    Raises:
        DataDamaged: a file lacks a column or holds what is no whole number, or the filter keeps nobody.
    """
    people = pd.concat([person_file(path) for path in paths], ignore_index=True)
    if not len(people):
        raise DataDamaged(f"{paths[0].parent} has nobody over 16 who works and has an income; get its files again")
    arrays = {name: people[name].to_numpy(np.int64) for name in (*FEATURES, *OTHERS)}
    return arrays | {"y": (arrays["PINCP"] > THRESHOLD).astype(np.int64)}


def person_file(path: Path) -> pd.DataFrame:
    """One state's people whom the filter keeps."""
    names = [*FEATURES, *OTHERS, WEIGHT]
    try:
        header = pd.read_csv(path, nrows=0).columns
        if absent := [name for name in names if name not in header]:
            raise DataDamaged(f"{path} has no column {absent[0]}; expected the Bureau's 1-year person file of 2018")
        people = pd.read_csv(path, usecols=names, dtype=np.float64, skipinitialspace=True)
    except (ValueError, OSError) as problem:
        raise DataDamaged(f"{path} was not read: {problem}") from problem
    people = people[(people.AGEP > 16) & (people.PINCP > 100) & (people.WKHP > 0) & (people[WEIGHT] >= 1)].fillna(0)
    for name, codes in {"SEX": (1, 2), "RAC1P": range(1, 10)}.items():
        if not people[name].isin(codes).all():
            found = people[name][~people[name].isin(codes)].iloc[0]
            raise DataDamaged(f"{path}: {name} is {found:g} somewhere; expected {codes[0]} to {codes[-1]}")
    if not (people % 1 == 0).to_numpy().all():
        raise DataDamaged(f"{path} holds fractions; expected whole numbers and codes only")
    return people


ACS_INCOME = Dataset(
    files=files,
    read=lambda: read(files()),
    about="ACSIncome: unpack csv_pal.zip and so on, a file a state, of www2.census.gov/programs-surveys/acs/data/pums/"
    "2018/1-Year into the folder acs/2018/1-Year of DLBENCH_DATA.",
)
