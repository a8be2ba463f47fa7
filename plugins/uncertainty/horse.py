"""The picture of ood_confidence: the horse, what networks make of it, confidences, ROC curves, the probe far away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlbench import Artefacts, Context, draw_means
from dlbench_plugins.uncertainty.judging import Judged, of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARES = np.linspace(0, 1, 51)  # of outsiders that pass, where ROC curves are kept
BINS = np.linspace(0.5, 1, 21)
BARS = {
    "msp": "one network",
    "temperature": "temperature scaling",
    "mc_dropout": "dropout left on",
    "ensemble": "ensemble",
    "sngp": "SNGP",
    "one_vs_rest": "one-vs-rest",
    "outlier_exposure": "outlier exposure",
}
CURVES = {
    "msp": ("MSP", "#000000"),
    "ensemble": ("ensemble", "#0072B2"),
    "knn": ("kNN", "#D55E00"),
    "mahalanobis": ("Mahalanobis", "#009E73"),
    "sngp": ("SNGP", "#CC79A7"),
    "outlier_exposure": ("outlier exposure", "#E69F00"),
}
PROBED = {**{name: CURVES[name] for name in ("msp", "ensemble", "sngp")}, "one_vs_rest": ("one-vs-rest", "#56B4E9")}


def draw(rows: pd.DataFrame, figure: Figure, artefacts: Artefacts) -> None:
    """All of it; the horse is that of the first seed."""
    figure.set_size_inches(9, 6)
    figure.set_layout_engine("constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    pictures, bars = top.subfigures(1, 2, width_ratios=(1, 1.5))
    kept = next(iter(artefacts.values()), {})
    draw_animals(pictures.subplots(1, 3), kept)
    draw_horse(bars.subplots(), rows, kept)
    histogram, curves, probe = bottom.subplots(1, 3)
    draw_confidences(histogram, artefacts)
    draw_curves(curves, rows, artefacts)
    draw_probe(probe, rows)
    for axes in (*bars.axes, *bottom.axes):
        axes.tick_params(labelsize=7)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_fontsize(8)


def keep(data: str, judged: Sequence[Judged], context: Context) -> None:
    """Histograms and ROC curves of classes; of silhouettes three pictures, and the horse's probabilities."""
    if data == "silhouettes":
        (one,) = judged
        context.keep("animals", one.pictures)
        context.keep("horse_probabilities", [one.answers[name].probabilities[one.places["near"]][0] for name in BARS])
        return
    for group in ("test", "near"):
        confidences = np.concatenate([one.confidences("msp", group) for one in judged])
        context.keep(f"confidences_{group}", np.histogram(confidences.clip(0.5, 1), BINS)[0] / len(confidences))
    for subject in CURVES:
        curves = [passing(one.familiar(subject, "test"), one.familiar(subject, "near")) for one in judged]
        context.keep(f"curve_{subject}", np.mean(curves, axis=0))


def passing(inside: NDArray, outside: NDArray) -> NDArray:
    """Share of insiders that pass where each of SHARES of the outsiders does: an ROC curve on a common grid."""
    thresholds = np.unique(np.concatenate([inside, outside]))[::-1]
    tpr, fpr = (
        np.append(0, 1 - np.searchsorted(np.sort(scores), thresholds) / len(scores)) for scores in (inside, outside)
    )
    return np.interp(SHARES, fpr, tpr)


def draw_animals(axes: Sequence[Axes], kept: Mapping[str, NDArray]) -> None:
    """A cat and a dog that were trained on, and the horse."""
    for i, (name, place) in enumerate(zip(("cat", "dog", "horse"), axes, strict=True)):
        if "animals" in kept:
            place.imshow(kept["animals"][i], cmap="gray", vmin=0, vmax=1)
        place.set(xticks=[], yticks=[])
        place.set_title(f"{name}, {'never seen' if name == 'horse' else 'seen'}", fontsize=8)


def draw_horse(axes: Axes, rows: pd.DataFrame, kept: Mapping[str, NDArray]) -> None:
    """Bars: probabilities of this horse. Points: mean confidence in all horses, over seeds."""
    places = np.arange(len(BARS))[::-1]
    if "horse_probabilities" in kept:
        cat, dog = kept["horse_probabilities"].T
        axes.barh(places, cat, 0.7, color="#56B4E9", label="cat")
        axes.barh(places, dog, 0.7, left=cat, color="#E69F00", label="dog")
    if {"subject", "data", "outside", "confidence"} <= set(rows.columns):
        for subject, place in zip(BARS, places, strict=True):
            values = of(rows, subject, silhouettes=True).confidence.dropna()
            if len(values):
                axes.plot(values.mean(), place, "D", color="black", markersize=4)
        axes.plot([], [], "D", color="black", markersize=4, label="mean confidence, all horses")
    axes.set(yticks=places, yticklabels=list(BARS.values()), xlim=(0, 1.02), xticks=[0, 0.5, 1])
    axes.set(xlabel="probability given to the horse", title="What is the horse?")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def draw_confidences(axes: Axes, artefacts: Artefacts) -> None:
    """Histograms of the network's confidence: classes seen, classes never seen."""
    for group, label, color in (("test", "classes seen", "#0072B2"), ("near", "classes never seen", "#D55E00")):
        kept = [of_seed[f"confidences_{group}"] for of_seed in artefacts.values() if f"confidences_{group}" in of_seed]
        if kept:
            axes.stairs(np.mean(kept, axis=0), BINS, fill=True, alpha=0.5, color=color, label=label)
    axes.set(xlabel="greatest softmax probability", ylabel="share of images", title="Confidence", yscale="log")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small", frameon=False, loc="upper left")


def draw_curves(axes: Axes, rows: pd.DataFrame, artefacts: Artefacts) -> None:
    """ROC curves, means over seeds."""
    axes.plot([0, 1], [0, 1], ":", color="grey", linewidth=0.8)
    for subject, (label, color) in CURVES.items():
        kept = [of_seed[f"curve_{subject}"] for of_seed in artefacts.values() if f"curve_{subject}" in of_seed]
        if kept:
            values = of(rows, subject).auroc if {"auroc", "scale"} <= set(rows.columns) else []
            label = f"{label}, {np.mean(values):.3f}" if len(values) else label
            axes.plot(SHARES, np.mean(kept, axis=0), color=color, linewidth=1.2, label=label)
    axes.set(xlabel="share of unseen classes that pass", ylabel="share of seen classes that pass", title="ROC, AUROC")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small", frameon=False, loc="lower right")


def draw_probe(axes: Axes, rows: pd.DataFrame) -> None:
    """Mean confidence in unseen images that are made brighter."""
    if {"subject", "data", "outside", "scale", "confidence"} <= set(rows.columns):
        rows = rows[(rows.data != "silhouettes") & rows.outside.isin(["near", "scaled"])]
        for subject, (label, color) in PROBED.items():
            scales = dict(iter(rows[rows.subject == subject].groupby("scale").confidence))
            draw_means(axes, scales, scales.values(), limits=(0, 1), color=color, marker="o", markersize=3, label=label)
    axes.set(xlabel="brightness of unseen images", ylabel="mean confidence", title="Far away", ylim=(0.4, 1.02))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small", frameon=False, loc="lower right")
