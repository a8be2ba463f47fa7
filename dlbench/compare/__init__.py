"""Two measurements of the same things, compared: what got better, what got worse, what cannot be told.

::

    from dlbench import compare

    before, after = compare.read("runs/before"), compare.read("runs/after")
    pairs = compare.compare(before.series, after.series, thresholds={"accuracy": compare.threshold("0.01")})
    pairs[pairs.verdict == "worse"]

:func:`read` takes run folders and pytest-benchmark's JSON; :func:`series` takes a long table as
``measurements.csv`` has it. Both give frames with a row a series, the values that one metric of one subject took in one
setting, and :func:`compare` makes a row a pair of these.
"""

from dlbench.compare.pairs import PAIRS, VERDICTS, compare, nothing_decidable
from dlbench.compare.series import SERIES, series
from dlbench.compare.sources import Side, read
from dlbench.compare.thresholds import TIMING, Threshold, threshold

__all__ = [
    "PAIRS",
    "SERIES",
    "TIMING",
    "VERDICTS",
    "Side",
    "Threshold",
    "compare",
    "nothing_decidable",
    "read",
    "series",
    "threshold",
]
