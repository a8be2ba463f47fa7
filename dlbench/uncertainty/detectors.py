"""Scores that tell inputs of a kind never seen from inputs like those trained on, for any torch classifier.

One sign for all: **the higher the score, the more familiar the input**. What is called an energy or a distance in the
papers is here its negative.

::

    detectors = Detectors(net, train_x, train_y)            # fitted on training data alone
    inside, outside = detectors.scores(test_x), detectors.scores(strange_x)      # name → [n]
    detection(inside["knn"], outside["knn"]).auroc

Every part can be used by itself: functions of logits, detectors fitted on features, ODIN on the model. Whatever has a
setting gets it from :func:`best_setting`, on outliers that are not those of the test: scores must never be tuned on
the kind of outliers that they are then reported on (OpenOOD keeps a validation set of other outliers for that).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench.uncertainty.modes import evaluating

Layer = str | Callable[[Tensor], Tensor] | None
Setting = TypeVar("Setting")

# ---------------------------------------------------------------------------------------------- what a network puts out


class Outputs(NamedTuple):
    """What a classifier makes of inputs."""

    features: Tensor  # [n, d]
    logits: Tensor  # [n, classes]


def extract(model: nn.Module, x: Tensor, layer: Layer = None, *, batch_size: int = 1000) -> Outputs:
    """Features and logits of inputs [n, ...], in evaluation mode and without gradients.

    Args:
        model: from inputs to logits [n, classes]. Its mode is as before when this returns.
        x: the inputs, on the model's device.
        layer: whose output the features are: a module's name (as in ``model.named_modules()``), or a function from
            inputs to features; None takes what enters the last ``nn.Linear``, the penultimate features. Of features
            with places, [n, channels, ...], the mean over the places is taken.
        batch_size: how many inputs at a time.

    Raises:
        ValueError: there is no such layer, it did not run, or the logits are not [n, classes].
    """
    chosen = _module(model, layer)
    seen: list[Tensor] = []

    def entering(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    def leaving(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(output)

    hook = None
    if chosen is not None:
        hook = chosen.register_forward_pre_hook(entering) if layer is None else chosen.register_forward_hook(leaving)
    parts = []
    try:
        with evaluating(model), torch.no_grad():
            for part in x.split(batch_size):  # type: ignore[no-untyped-call]
                seen.clear()
                logits = model(part)
                if callable(layer):
                    seen.append(layer(part))
                if not seen:
                    raise ValueError(f"layer {layer!r} did not run in the model's forward pass; name one that does")
                parts.append((_pooled(seen[-1]), logits))
    finally:
        if hook is not None:
            hook.remove()
    features, logits = (torch.cat(of) for of in zip(*parts, strict=True))
    return Outputs(_features(features), _logits(logits))


def _module(model: nn.Module, layer: Layer) -> nn.Module | None:
    if layer is None:
        return last_linear(model)
    if isinstance(layer, str):
        modules: dict[str, nn.Module] = dict(model.named_modules())
        if layer not in modules:
            raise ValueError(f"the model has no module {layer!r}; it has {', '.join(filter(None, modules))}")
        return modules[layer]
    return None


def last_linear(model: nn.Module) -> nn.Linear:
    """The last ``nn.Linear`` of a model, which turns its features into logits.

    Raises:
        ValueError: it has none.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError("the model has no nn.Linear whose inputs could be its features; name a layer, or a function")
    return linear[-1]


def _pooled(features: Tensor) -> Tensor:
    return features if features.dim() <= 2 else features.flatten(2).mean(2)


# ------------------------------------------------------------------------------------------------ functions of logits


def max_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The greatest class probability, [n] of logits [n, classes] (Hendrycks & Gimpel 2017)."""
    return F.softmax(_logits(logits).double() / temperature, 1).amax(1)


def max_logit(logits: Tensor) -> Tensor:
    """The greatest logit, [n] of logits [n, classes] (Hendrycks et al. 2022)."""
    return _logits(logits).double().amax(1)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The negative free energy, T·logsumexp(logits / T), [n] of logits [n, classes] (Liu et al. 2020)."""
    return temperature * torch.logsumexp(_logits(logits).double() / temperature, 1)


def _logits(logits: Tensor) -> Tensor:
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits must be a tensor [n, classes] with at least two classes; got {_described(logits)}")
    return logits


# --------------------------------------------------------------------------------------- detectors fitted on features


class KNN:
    """Negative distance to the k-th nearest training example, features scaled to length one (Sun et al. 2022).

    Args:
        features: of the training data, [n, d].
        k: which neighbour.
    """

    def __init__(self, features: Tensor, k: int = 50) -> None:
        _features(features)
        if not 1 <= k <= len(features):
            raise ValueError(f"k is {k}; with {len(features)} training examples it must be 1 to {len(features)}")
        self.bank, self.k = F.normalize(features.double(), dim=1), k

    def __call__(self, features: Tensor) -> Tensor:
        """Scores [m] of features [m, d]; the higher the more familiar."""
        queries = F.normalize(_like(features, self.bank).double(), dim=1)
        parts = queries.split(1000)  # type: ignore[no-untyped-call]
        return torch.cat([-torch.cdist(part, self.bank).kthvalue(self.k, 1).values for part in parts])


class Mahalanobis:
    """Negative squared distance to the nearest class mean under the classes' common covariance (Lee et al. 2018).

    Relative: less the distance to the mean of all under the covariance of all, which takes out what tells no class
    from another (Ren et al. 2021). Both of one layer, without Lee's perturbation and mixing of layers, as in OpenOOD.

    Args:
        features: of the training data, [n, d].
        labels: [n]; every class needs an example.
        relative: subtract the distance to all.
    """

    def __init__(self, features: Tensor, labels: Tensor, *, relative: bool = False) -> None:
        x = _features(features).double()
        if labels.shape != x.shape[:1]:
            raise ValueError(f"labels must be [{len(x)}], one a row of features; got {_described(labels)}")
        classes, which = labels.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        self.means = torch.stack([x[which == c].mean(0) for c in range(len(classes))])
        self.whitening = _whitening(x - self.means[which])
        self.background = (x.mean(0, keepdim=True), _whitening(x - x.mean(0))) if relative else None

    def __call__(self, features: Tensor) -> Tensor:
        """Scores [m] of features [m, d]; the higher the more familiar."""
        x = _like(features, self.means).double()
        own = _squared_distances(x, self.means, self.whitening).amin(1)
        if self.background is None:
            return -own
        return _squared_distances(x, *self.background)[:, 0] - own


def _whitening(centred: Tensor) -> Tensor:
    """[d, rank] W with W Wᵀ the pseudo-inverse of the covariance: dead features have no variance to divide by."""
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    kept = values > values[-1] * 1e-6
    whitening: Tensor = vectors[:, kept] / values[kept].sqrt()
    return whitening


def _squared_distances(x: Tensor, means: Tensor, whitening: Tensor) -> Tensor:
    distances: Tensor = torch.cdist(x @ whitening, means @ whitening)
    return distances.square()


class ViM:
    """Energy less the features' length outside of the training data's principal space (Wang et al., CVPR 2022).

    The length is scaled so that, on training data, it is on average as large as the greatest logit.

    Args:
        outputs: of the training data.
        last: the layer that makes logits of features, whose weights give the space's origin.
        dimensions: of the principal space; less than the features'.
    """

    def __init__(self, outputs: Outputs, last: nn.Linear, dimensions: int) -> None:
        x = _features(outputs.features).double()
        if not 1 <= dimensions < x.shape[1]:
            raise ValueError(f"dimensions is {dimensions}; of {x.shape[1]} features it must be 1 to {x.shape[1] - 1}")
        if last.in_features != x.shape[1]:
            raise ValueError(f"the last layer takes {last.in_features} features; there are {x.shape[1]}")
        bias = torch.zeros(last.out_features) if last.bias is None else last.bias
        self.origin = -torch.linalg.pinv(last.weight.detach().double()) @ bias.detach().to(x)
        centred = x - self.origin
        vectors = torch.linalg.eigh(centred.T @ centred / len(x)).eigenvectors  # variances ascend
        self.residual = vectors[:, : x.shape[1] - dimensions]
        lengths = (centred @ self.residual).norm(dim=1).mean()
        self.scale: Tensor = _logits(outputs.logits).double().amax(1).mean() / lengths.clamp_min(1e-12)

    def __call__(self, outputs: Outputs) -> Tensor:
        """Scores [m]; the higher the more familiar."""
        outside: Tensor = (_like(outputs.features, self.residual.T).double() - self.origin) @ self.residual
        lengths: Tensor = outside.norm(dim=1)
        return energy(outputs.logits) - self.scale * lengths


# ------------------------------------------------------------------------------------------------ detectors of a model


class ODIN:
    """Max softmax at a high temperature, after a step on the input that raises it (Liang et al., ICLR 2018).

    The step, of ``eps`` in each input, helps familiar inputs more. It goes in the inputs' own units, and may leave
    their range, as in the paper.

    Args:
        model: from inputs to logits.
        temperature: that logits are divided by.
        eps: length of the step; 0 for none.
    """

    def __init__(self, model: nn.Module, temperature: float = 1000.0, eps: float = 0.0014) -> None:
        if not temperature > 0 or not eps >= 0:
            raise ValueError(f"temperature is {temperature!r} and eps is {eps!r}; expected above 0, and 0 or more")
        self.model, self.temperature, self.eps = model, temperature, eps

    def __call__(self, x: Tensor, *, batch_size: int = 1000) -> Tensor:
        """Scores [n] of inputs [n, ...]; the higher the more familiar."""
        parts = x.split(batch_size)  # type: ignore[no-untyped-call]
        return torch.cat([self._score(part) for part in parts])

    def _score(self, x: Tensor) -> Tensor:
        with evaluating(self.model):
            if self.eps > 0:
                x = x.detach().requires_grad_()
                with torch.enable_grad():
                    confidence = F.log_softmax(self.model(x) / self.temperature, 1).amax(1).sum()
                    (gradient,) = torch.autograd.grad(confidence, x)
                x = x.detach() + self.eps * gradient.sign()
            with torch.no_grad():
                return max_softmax(self.model(x), self.temperature)


# ------------------------------------------------------------------------------------------------------- all together


class Detectors:
    """All detectors here on one trained model, fitted on its training data alone.

    Args:
        model: from inputs to logits.
        x, y: training data, [n, ...] and [n].
        layer: where features are taken (:func:`extract`).
        k: of :class:`KNN`; at most the number of training examples.
        dimensions: of :class:`ViM`; half of the features unless given. ViM is left out where the features are not what
            the last ``nn.Linear`` takes.
        odin: temperature and eps of :class:`ODIN`.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        layer: Layer = None,
        *,
        k: int = 50,
        dimensions: int | None = None,
        odin: tuple[float, float] = (1000.0, 0.0014),
    ) -> None:
        train = extract(model, x, layer)
        self.model, self.layer = model, layer
        self.of_outputs: dict[str, Callable[[Outputs], Tensor]] = {
            "msp": lambda outputs: max_softmax(outputs.logits),
            "max_logit": lambda outputs: max_logit(outputs.logits),
            "energy": lambda outputs: energy(outputs.logits),
        }
        of_features: dict[str, Callable[[Tensor], Tensor]] = {
            "knn": KNN(train.features, min(k, len(x))),
            "mahalanobis": Mahalanobis(train.features, y),
            "relative_mahalanobis": Mahalanobis(train.features, y, relative=True),
        }
        self.of_outputs |= {name: _on_features(detector) for name, detector in of_features.items()}
        if layer is None:
            self.of_outputs["vim"] = ViM(train, last_linear(model), dimensions or train.features.shape[1] // 2)
        self.odin = ODIN(model, *odin)

    def scores(self, x: Tensor) -> dict[str, Tensor]:
        """Scores [n] of inputs [n, ...] by each detector's name; the higher the more familiar."""
        outputs = extract(self.model, x, self.layer)
        scores = {name: detector(outputs) for name, detector in self.of_outputs.items()}
        return {**scores, "odin": self.odin(x)}


def _on_features(detector: Callable[[Tensor], Tensor]) -> Callable[[Outputs], Tensor]:
    return lambda outputs: detector(outputs.features)


# ----------------------------------------------------------------------------------------------------------- measures


class Detection(NamedTuple):
    """How well scores tell outsiders from insiders."""

    auroc: float  # the probability that an insider scores higher than an outsider; ties count half
    aupr_in: float  # average precision, insiders being the positives; at chance it is their share
    aupr_out: float  # the same, outsiders being the positives
    fpr95: float  # share of outsiders that pass where 95 % of the insiders do


def detection(inside: ArrayLike | Tensor, outside: ArrayLike | Tensor) -> Detection:
    """Measures of scores [n] of insiders and [m] of outsiders, of which the insiders' should be higher.

    They are scikit-learn's (tested), in less than a tenth of the time, which studies of many detectors and seeds need.

    Raises:
        ValueError: there are none of either, they are not one-dimensional, or one is not a number.
    """
    arrays = {name: _scores(name, given) for name, given in (("inside", inside), ("outside", outside))}
    ranks = np.unique(np.concatenate(list(arrays.values())), return_inverse=True)[1]
    familiar, strange = (  # how many have each score, from the highest down
        np.bincount(of, minlength=ranks.max() + 1)[::-1] for of in np.split(ranks, [len(arrays["inside"])])
    )
    insiders, outsiders = familiar.cumsum(), strange.cumsum()  # that pass a threshold
    tpr, fpr = insiders / insiders[-1], outsiders / outsiders[-1]
    return Detection(
        auroc=float(strange @ (insiders - familiar / 2) / (insiders[-1] * outsiders[-1])),
        aupr_in=_average_precision(familiar, strange),
        aupr_out=_average_precision(strange[::-1], familiar[::-1]),
        fpr95=float(fpr[np.searchsorted(tpr, 0.95 - 1e-9)]),
    )


def _average_precision(positive: np.ndarray, negative: np.ndarray) -> float:
    """Of counts [scores], from the best score on."""
    hits = positive.cumsum()
    precision = hits / (hits + negative.cumsum())
    return min(1.0, float(positive @ precision / hits[-1]))  # a sum, which rounding can leave above 1


def best_setting(
    settings: Iterable[Setting], scores: Callable[[Setting], tuple[ArrayLike | Tensor, ArrayLike | Tensor]]
) -> Setting:
    """The setting of greatest AUROC on validation data; of equals, the first.

    Args:
        settings: what to choose from.
        scores: of a setting, the scores of validation insiders and of validation outliers, which must be other than
            those of the test, and best of another kind.

    Raises:
        ValueError: there is no setting.
    """
    candidates = list(settings)
    if not candidates:
        raise ValueError("there is no setting to choose from; give at least one")
    return max(candidates, key=lambda setting: detection(*scores(setting)).auroc)


# ------------------------------------------------------------------------------------------------------------- checks


def _scores(name: str, given: ArrayLike | Tensor) -> np.ndarray:
    values = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given, dtype=float)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"the scores {name} have shape {list(values.shape)}; expected [n], one an input, n at least 1")
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} of {len(values)} scores {name} are not a number; mend the model")
    return values


def _features(features: Tensor) -> Tensor:
    if not isinstance(features, Tensor) or features.dim() != 2 or not len(features):
        raise ValueError(f"features must be a tensor [n, d] of at least one example; got {_described(features)}")
    return features


def _like(features: Tensor, fitted: Tensor) -> Tensor:
    if _features(features).shape[1] != fitted.shape[1]:
        raise ValueError(f"features are [{len(features)}, {features.shape[1]}]; fitted on {fitted.shape[1]} features")
    return features


def _described(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
