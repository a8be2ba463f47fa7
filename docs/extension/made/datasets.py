"""The registered data sets, and how each is had."""

from __future__ import annotations

from dlbench import data, plugins
from made import rst


def text() -> str:
    """All of them as a table."""
    names = [plugin.name for plugin in plugins.discover(plugins.DATASETS)[0]]
    rows = [(rst.code(name), rst.prose(" ".join(data.get(name).about.split()))) for name in names]
    return rst.table(("data set", "what it is, and how to get it"), rows, (22, 78))
