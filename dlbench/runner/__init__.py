"""From what the user asked for to results on disk: plan → trials → store.

``describe.py`` and ``trial.py`` hold what runs inside isolated tasks; ``plan.py``, ``drive.py``, ``provenance.py`` and
``display.py`` are the driver, which never imports a plugin.
"""

from dlbench.runner.drive import Summary, drive, environment
from dlbench.runner.plan import Plan, Request, make_plan

__all__ = ["Plan", "Request", "Summary", "drive", "environment", "make_plan"]
