"""What every detector says of a problem's insiders and outsiders, and measures of it.

What has a setting gets the best of four by AUROC on scribbles, which no test contains; nothing else is tuned here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlbench import Context, Measurement
from dlbench.uncertainty import TemperatureScaling, detectors, mc_dropout, mutual_information
from dlbench.uncertainty.detectors import Outputs, best_setting, detection, extract
from dlbench_plugins.uncertainty.outsiders import Problem

if TYPE_CHECKING:
    import pandas as pd

CONFIDENT = 0.9
FLAGGED = 0.05  # of held-out images at the threshold that validation sets
SCALES = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0)
SCALED = 100  # so many unseen images are made brighter
PASSES = 10  # with dropout left on
NEIGHBOURS = (1, 5, 20, 50)
TEMPERATURES = (0.5, 1.0, 2.0, 4.0)
ODIN_SETTINGS = ((1.0, 0.01), (1.0, 0.05), (1000.0, 0.01), (1000.0, 0.05))
PRINCIPAL = (0.125, 0.25, 0.5, 0.75)  # of the features' number


class Answer(NamedTuple):
    """What a subject makes of all inputs of a problem."""

    familiar: NDArray  # [n]; the higher, the more like the training data
    probabilities: NDArray | None = None  # [n, 2], of a subject that has any


class Judged:
    """A problem's inputs, by the names of their groups, and every subject's answers."""

    def __init__(self, problem: Problem, nets: Mapping[str, Sequence[nn.Module]], context: Context) -> None:
        self.labels, self.outside = problem.test[1], tuple(problem.outside)
        near = problem.outside["near"]
        self.pictures = [problem.test[0][self.labels == label][0, 0] for label in (0, 1)] + [near[0, 0]]
        groups = {
            "validation": problem.validation[0],
            "validation_outliers": problem.validation_outliers,
            "test": problem.test[0],
            **problem.outside,
            **{f"scaled {scale:g}": near[:SCALED] * np.float32(scale) for scale in SCALES},
        }
        ends = np.cumsum([0, *map(len, groups.values())])
        self.places = {name: slice(*ends[i : i + 2]) for i, name in enumerate(groups)}
        x = torch.from_numpy(np.concatenate(list(groups.values()))).to(context.device)
        train_x, train_y = (torch.from_numpy(part).to(context.device) for part in problem.train)
        validation_y = problem.validation[1]
        plain = nets["plain"][0]
        self.answers = self.post_hoc(plain, extract(plain, train_x), train_y, extract(plain, x), x)
        logits = extract(plain, x).logits
        scaling = TemperatureScaling.fit(logits[self.places["validation"]], validation_y)
        # A temperature keeps the order of two classes' confidences, of which rounding to one could leave nothing.
        self.answers["temperature"] = Answer(self.answers["msp"].familiar, scaling(logits))
        self.answers["one_vs_rest"] = by_confidence(extract(nets["one_vs_rest"][0], x).logits.double().sigmoid())
        exposed = extract(nets["outlier_exposure"][0], x).logits
        self.answers["outlier_exposure"] = by_confidence(exposed.softmax(1))
        self.answers["sngp"] = by_confidence(nets["sngp"][0].probabilities(x))  # type: ignore[operator]
        several = {
            "ensemble": torch.stack([extract(net, x).logits.double().softmax(1) for net in nets["plain"]]),
            "mc_dropout": mc_dropout(nets["dropout"][0], x, PASSES, seed=context.integer("passes")).double(),
        }
        for name, members in several.items():
            self.answers[name] = by_confidence(members.mean(0))
            self.answers[f"{name}_mi"] = Answer(-mutual_information(members))
        nearest = [
            torch.cdist(x.flatten(1), other.flatten(1)).amin(1)
            for other in (torch.from_numpy(problem.shown).to(x), train_x)
        ]
        self.answers["shown_both"] = Answer(numbers(nearest[0] - nearest[1]))

    def post_hoc(
        self, net: nn.Module, train: Outputs, train_y: Tensor, outputs: Outputs, x: Tensor
    ) -> dict[str, Answer]:
        """Detectors on one trained network; each with a setting gets the best of four on the scribbles."""

        def tuned(settings: Sequence, score: Callable[..., Tensor]) -> Answer:
            parts = [self.places[name] for name in ("validation", "validation_outliers")]
            best = best_setting(settings, lambda setting: tuple(score(setting, part) for part in parts))
            return Answer(numbers(score(best, slice(None))))

        features, logits = outputs
        width, last = features.shape[1], detectors.last_linear(net)
        mahalanobis, relative = (detectors.Mahalanobis(train.features, train_y, relative=r) for r in (False, True))
        neighbours = [k for k in NEIGHBOURS if k <= len(train.features)]
        knn = {k: detectors.KNN(train.features, k) for k in neighbours}
        dimensions = sorted({max(1, int(share * width)) for share in PRINCIPAL})
        vim = {d: detectors.ViM(train, last, d) for d in dimensions}
        return {
            "msp": Answer(numbers(detectors.max_softmax(logits)), numbers(logits.softmax(1))),
            "max_logit": Answer(numbers(detectors.max_logit(logits))),
            "energy": tuned(TEMPERATURES, lambda t, part: detectors.energy(logits[part], t)),
            "knn": tuned(neighbours, lambda k, part: knn[k](features[part])),
            "mahalanobis": Answer(numbers(mahalanobis(features))),
            "relative_mahalanobis": Answer(numbers(relative(features))),
            "vim": tuned(dimensions, lambda d, part: vim[d](Outputs(features[part], logits[part]))),
            "odin": tuned(ODIN_SETTINGS, lambda setting, part: detectors.ODIN(net, *setting)(x[part])),
        }

    def familiar(self, subject: str, group: str) -> NDArray:
        return self.answers[subject].familiar[self.places[group]]

    def confidences(self, subject: str, group: str) -> NDArray | None:
        """The greatest probability of each input, of a subject that has any."""
        probabilities = self.answers[subject].probabilities
        return None if probabilities is None else probabilities[self.places[group]].max(1)

    def scores(self, subject: str, outside: str, scale: float) -> dict[str, float]:
        """Measures of one subject against one group of outsiders."""
        group = {"held_out": "test", "scaled": f"scaled {scale:g}"}.get(outside, outside)
        confidence = self.confidences(subject, group)
        found = {}
        if confidence is not None:
            found = {"confident": float((confidence > CONFIDENT).mean()), "confidence": float(confidence.mean())}
        if outside == "scaled":
            return found
        inside = self.familiar(subject, "test")
        if outside == "held_out":
            found |= self.held_out(subject)
            inside, against = np.split(inside, [len(inside) // 2])
        else:
            against = self.familiar(subject, outside)
        scribbles = detection(self.familiar(subject, "validation"), self.familiar(subject, "validation_outliers"))
        return found | detection(inside, against)._asdict() | {"validation_auroc": scribbles.auroc}

    def held_out(self, subject: str) -> dict[str, float]:
        """Accuracy, sums of probabilities on all inputs, and how many insiders the threshold flags."""
        validation = np.sort(self.familiar(subject, "validation"))
        rank = max(1, int(FLAGGED * (len(validation) + 1)))  # of n + 1 in random order, as many lie below it
        found = {"flagged": float((self.familiar(subject, "test") < validation[rank - 1]).mean())}
        probabilities = self.answers[subject].probabilities
        if probabilities is not None:
            found["accuracy"] = float((probabilities[self.places["test"]].argmax(1) == self.labels).mean())
            found["mass_error"] = float(np.abs(probabilities.sum(1) - 1).max())
        return found


def by_confidence(probabilities: Tensor | NDArray) -> Answer:
    """The greatest probability tells the familiar."""
    p = numbers(probabilities)
    return Answer(p.max(1), p)


def numbers(values: Tensor | NDArray) -> NDArray:
    """As float64."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)


def measured(data: str, subject: str, judged: Sequence[Judged]) -> Iterator[Measurement]:
    """A subject's rows: means over problems, one row a kind of outsiders."""
    others = [(outside, 1.0) for outside in (*judged[0].outside, "held_out")]
    kinds = [*others, *(("scaled", scale) for scale in SCALES[1:])]
    for outside, scale in kinds:
        if subject == "shown_both" and outside != "near":
            continue
        scores = [one.scores(subject, outside, scale) for one in judged]
        if scores[0]:
            means = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
            yield {"subject": subject, "data": data, "outside": outside, "scale": scale, **means}


# ----------------------------------------------------------------------------------------------- rows of measurements


def at(rows: pd.DataFrame, outside: str = "near", *, silhouettes: bool = False) -> pd.DataFrame:
    """One row a subject and seed: of these outsiders of the classes, or of the silhouettes, as they are."""
    return rows[(rows.outside == outside) & ((rows.data == "silhouettes") == silhouettes) & (rows.scale == 1)]


def of(rows: pd.DataFrame, subject: str, outside: str = "near", *, silhouettes: bool = False) -> pd.DataFrame:
    """One row a seed."""
    rows = at(rows, outside, silhouettes=silhouettes)
    return rows[rows.subject == subject]
