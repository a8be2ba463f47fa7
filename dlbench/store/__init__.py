"""What a run leaves on disk, and how it is read back.

A run folder holds ``plan.json``, ``environments/*.json``, ``artefacts/*.npy`` and ``segments/*.jsonl``, which are the
truth; ``logs/`` and ``report/`` beside them can be thrown away. Segments are append-only, one a writing process, so
they need no lock; a record is one line with its checksum. A line that a kill has torn is the last of its segment and
counts as not written; a damaged line elsewhere is reported and its trial runs again.
"""

from dlbench.store.records import SCHEMA, Record
from dlbench.store.run import Run, Writer, read

__all__ = ["SCHEMA", "Record", "Run", "Writer", "read"]
