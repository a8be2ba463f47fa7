"""Series from long tables, as measurements.csv has them."""

import io

import numpy as np
import pandas as pd
import pytest

from dlbench.compare import SERIES, series
from dlbench.compare.series import canonical

CSV = """experiment,version,subject,noise,layers,seed,metric,value,unit,direction,run,environment
demo,1,a,0.5,,0,accuracy,0.9,1,higher,quick,abc
demo,1,a,0.5,,1,accuracy,nan,1,higher,quick,abc
demo,1,a,1.0,,0,accuracy,0.8,1,higher,quick,abc
deep,2,NA,,3,0,loss,1.5,nats,,quick,abc
"""

EMPTY = {"value": ["nan"], "layers": [""], "noise": [""]}


def test_settings_are_every_other_column_that_has_a_value():
    made = series(pd.read_csv(io.StringIO(CSV), keep_default_na=False, na_values=EMPTY))
    assert list(made.columns) == list(SERIES)
    assert made.settings.tolist() == ['{"noise": 0.5}', '{"noise": 1}', '{"layers": 3}']
    assert made.subject.tolist() == ["a", "a", "NA"]
    assert made.seeds[0].tolist() == [0, 1]
    assert np.isnan(made["values"][0][1])
    assert made.direction.tolist() == ["higher", "higher", ""]
    assert not made.timed.any()


def test_equal_settings_are_equal_however_they_are_typed():
    assert canonical({"b": 1.0, "a": (1, 2)}) == canonical({"a": [1, 2.0], "b": np.int64(1)})
    assert canonical({"a": True}) != canonical({"a": 1})


def test_two_rows_for_a_seed_and_missing_columns_are_told():
    table = pd.read_csv(io.StringIO(CSV))
    with pytest.raises(ValueError, match=r"experiment demo, subject a.*: 2 rows for seed 0; one is expected"):
        series(pd.concat([table, table]))
    with pytest.raises(ValueError, match=r"it lacks \['seed'\]"):
        series(table.drop(columns="seed"))
