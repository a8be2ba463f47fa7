"""A model that a user brings, measured on axes that are the same for all models, beside others.

::

    from dlbench.audit import audit

    card = audit(net, x, y)         # or audit("mypackage.nets:build", "photographs/"), as the command line has it
    card                            # in a notebook, a picture; card.axes, card.verdicts and card.numbers are frames

An audit is an experiment that measures whatever model it is given (:class:`Audit`), registered through the entry-point
group ``dlbench.audits``: third parties' stand on the report card like our own. Each seed measures on a part of the
examples that no other seed sees, so that the interval over seeds tells what new examples of the kind would give.
"""

from __future__ import annotations

from dlbench.audit.base import Audit
from dlbench.audit.examples import Examples
from dlbench.audit.session import audit
from dlbench.audit.subject import Subject

__all__ = ["Audit", "Examples", "Subject", "audit"]
