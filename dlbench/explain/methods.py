"""Explanations of an image classifier's answers: how much each input speaks for a class.

All take a model from images [n, channels, height, width] to scores [n, classes], the images, and the class to explain
of each, and give attributions of the images' shape (:func:`grad_cam` one channel). Signs are kept: what speaks for the
class is positive. Whoever wants the size of a sensitivity takes ``.abs()``; :mod:`dlbench.explain.metrics` wants
channels summed up, ``.sum(1)``. The model is run in evaluation mode and stays as it was::

    answers = model(x).argmax(1)
    relevance = integrated_gradients(model, x, answers).sum(1)      # [n, height, width]

On a linear model :func:`gradient_times_input`, :func:`integrated_gradients` from black and :func:`occlusion` of single
pixels are the same: its contributions, weight times input.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench.attacks.modes import undisturbed
from dlbench.explain import checks
from dlbench.explain.checks import Model


def gradient(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The score's derivative with respect to each input (Simonyan et al. 2014, arXiv:1312.6034).

    Args:
        model: from images to scores.
        x: [n, channels, height, width].
        target: [n] int64, the class to explain.

    Raises:
        ValueError: images, classes or the model's scores of another shape.
    """
    x = checks.images(x)
    target = checks.classes(target, x)
    with undisturbed(model, x.device):
        return _gradient(model, x, target)


def gradient_times_input(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Derivative times input (Shrikumar et al. 2016, arXiv:1605.01713).

    Args and errors are those of :func:`gradient`.
    """
    return gradient(model, x, target) * x.detach()


def integrated_gradients(
    model: Model, x: Tensor, target: Tensor, *, baseline: Tensor | float = 0.0, steps: int = 32
) -> Tensor:
    """What the score gains from a baseline to the image, by input (Sundararajan et al. 2017, arXiv:1703.01365).

    Attributions sum to the difference of the two scores, but for the error of the midpoint rule.

    Args:
        model: from images to scores.
        x: [n, channels, height, width].
        target: [n] int64, the class to explain.
        baseline: an image without anything, a number or of a shape that broadcasts to x; the answer depends on it.
        steps: points on the way.

    Raises:
        ValueError: images, classes or scores of another shape, or no step.
    """
    x = checks.images(x)
    target = checks.classes(target, x)
    checks.at_least_one(steps=steps)
    way = x - baseline
    total = torch.zeros_like(x)
    with undisturbed(model, x.device):
        for step in range(steps):
            total += _gradient(model, x - way * (1 - (step + 0.5) / steps), target)
    return way * total / steps


def smoothgrad(
    model: Model, x: Tensor, target: Tensor, *, generator: torch.Generator, noise: float = 0.15, samples: int = 16
) -> Tensor:
    """The mean gradient at images with Gaussian noise (Smilkov et al. 2017, arXiv:1706.03825).

    Args:
        model: from images to scores.
        x: [n, channels, height, width].
        target: [n] int64, the class to explain.
        generator: of the noise, on the CPU.
        noise: its standard deviation, as a share of each image's range.
        samples: noisy copies of each image.

    Raises:
        ValueError: images, classes or scores of another shape, no sample, or a negative noise.
    """
    x = checks.images(x)
    target = checks.classes(target, x)
    checks.at_least_one(samples=samples)
    if noise < 0:
        raise ValueError(f"noise is {noise:g}; expected a share of each image's range, 0 or more")
    flat = x.flatten(1)
    sd = noise * (flat.amax(1) - flat.amin(1)).view(-1, 1, 1, 1)
    total = torch.zeros_like(x)
    with undisturbed(model, x.device):
        for _ in range(samples):
            drawn = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
            total += _gradient(model, x + sd * drawn, target)
    return total / samples


def guided_backpropagation(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The gradient, of which ReLUs let only positive parts through (Springenberg et al. 2015, arXiv:1412.6806).

    Args:
        model: from images to scores, its rectifiers ``torch.nn.ReLU`` modules; others cannot be seen.
        x: [n, channels, height, width].
        target: [n] int64, the class to explain.

    Raises:
        ValueError: images, classes or scores of another shape, or a model without ``nn.ReLU`` modules.
    """
    x = checks.images(x)
    target = checks.classes(target, x)
    rectifiers = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    if not rectifiers:
        raise ValueError("the model has no nn.ReLU module, so that there is nothing to guide; use gradient")

    def guided(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return _Guided.apply(output)  # type: ignore[no-any-return, no-untyped-call]

    hooks = [module.register_forward_hook(guided) for module in rectifiers]
    try:
        with undisturbed(model, x.device):
            return _gradient(model, x, target)
    finally:
        for hook in hooks:
            hook.remove()


def grad_cam(model: nn.Module, x: Tensor, target: Tensor, *, layer: nn.Module | None = None) -> Tensor:
    """[n, 1, height, width]: where channels of a layer that raise the score are active (Selvaraju et al. 2017).

    Each channel weighs its mean gradient; the weighted sum, rectified, is interpolated to the images' size
    (arXiv:1610.02391).

    Args:
        model: from images to scores.
        x: [n, channels, height, width].
        target: [n] int64, the class to explain.
        layer: a module of the model that is called once and gives [n, channels, height, width]; by default what
            :func:`last_convolution` finds.

    Raises:
        ValueError: images, classes or scores of another shape, or no such layer.
    """
    x = checks.images(x)
    target = checks.classes(target, x)
    layer = last_convolution(model) if layer is None else layer
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        # From here on the graph is needed, though no weight and no input asks for it.
        seen.append(output.detach().requires_grad_())
        return seen[-1].clone()  # a rectifier that follows may work in place

    hook = layer.register_forward_hook(keep)
    try:
        with undisturbed(model, x.device):
            score = checks.scores(model, x, target).sum()
            if len(seen) != 1 or seen[0].dim() != 4:
                raise ValueError(
                    f"the layer {type(layer).__name__} was called {len(seen)} times and must be once, "
                    "to give [n, channels, height, width]; name another"
                )
            (slopes,) = torch.autograd.grad(score, seen[0])
    finally:
        hook.remove()
    cam = F.relu((slopes.mean((2, 3), keepdim=True) * seen[0].detach()).sum(1, keepdim=True))
    return F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)


def last_convolution(model: nn.Module) -> nn.Module:
    """The ``nn.Conv2d`` that was registered last.

    Raises:
        ValueError: there is none.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if not layers:
        raise ValueError("the model has no nn.Conv2d module; name the layer that Grad-CAM shall look at")
    return layers[-1]


@torch.no_grad()
def occlusion(
    model: Model, x: Tensor, target: Tensor, *, window: int = 3, stride: int = 1, baseline: float = 0.0
) -> Tensor:
    """By how much the score falls when a square is covered (Zeiler & Fergus 2014, arXiv:1311.2901).

    A pixel has the mean over the squares that cover it; all channels are covered at once, and have the same.

    Args:
        model: from images to scores.
        x: [n, channels, height, width].
        target: [n] int64, the class to explain.
        window: the side of the square.
        stride: from one square to the next, at most the window; the last ones end with the image.
        baseline: what it is covered with.

    Raises:
        ValueError: images, classes or scores of another shape, a window that is larger than the images, or a stride
            that leaves pixels out.
    """
    x = checks.images(x)
    target = checks.classes(target, x)
    checks.at_least_one(window=window, stride=stride)
    if window > min(x.shape[2:]) or stride > window:
        raise ValueError(
            f"window is {window} and stride {stride} for images of {x.shape[2]} by {x.shape[3]}; "
            "the window must fit, and the stride be at most the window"
        )
    total, covered = torch.zeros_like(x), torch.zeros_like(x[:1])
    with undisturbed(model, x.device), torch.no_grad():
        whole = checks.scores(model, x, target)
        for top, left in product(*(_starts(size, window, stride) for size in x.shape[2:])):
            square = (..., slice(top, top + window), slice(left, left + window))
            hidden = x.clone()
            hidden[square] = baseline
            total[square] += (whole - checks.scores(model, hidden, target)).view(-1, 1, 1, 1)
            covered[square] += 1
    return total / covered


def edges(x: Tensor) -> Tensor:
    """The size of Sobel's filters' answers, a control that knows no model; of the shape of x.

    Raises:
        ValueError: no images.
    """
    x = checks.images(x)
    down = torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]], dtype=x.dtype, device=x.device)
    channels = x.shape[1]
    filters = torch.stack([down, down.T])[:, None].repeat(channels, 1, 1, 1)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    answers: Tensor = F.conv2d(padded, filters, groups=channels)
    return answers.square().view(len(x), channels, 2, *x.shape[2:]).sum(2).sqrt()


class _Guided(torch.autograd.Function):
    """The identity, whose gradient is positive or 0."""

    @staticmethod
    def forward(_ctx: Any, output: Tensor) -> Tensor:
        return output.clone()

    @staticmethod
    def backward(_ctx: Any, slope: Tensor) -> Tensor:
        return slope.clamp_min(0)


def _gradient(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Of an undisturbed model."""
    x = x.detach().clone().requires_grad_()
    (slopes,) = torch.autograd.grad(checks.scores(model, x, target).sum(), x)
    return slopes


def _starts(size: int, window: int, stride: int) -> list[int]:
    """Where squares begin so that they cover everything."""
    return sorted({*range(0, size - window, stride), size - window})
