"""An experiment's picture, drawn as the report draws it."""

import io

from matplotlib.figure import Figure


def drawn(experiment, rows, artefacts):
    """The figure, after it could be written."""
    figure = Figure()
    experiment.plot(rows, figure, artefacts)
    figure.savefig(io.BytesIO(), format="svg")
    return figure
