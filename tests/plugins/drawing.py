"""An experiment's picture, drawn as the report draws it."""

import io
import sys

from matplotlib.figure import Figure


def drawn(experiment, rows, artefacts):
    """The figure, after it could be written; of its axes some have both labels, and pyplot knows nothing of it."""
    figure = Figure()
    experiment.plot(rows, figure, artefacts)
    figure.savefig(io.BytesIO(), format="svg")
    assert rows.empty or any(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
    return figure
