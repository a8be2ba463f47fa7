"""Models that a user brings to an audit, by the import path of a factory, or by a registered model's name.

An import path may have weights and a normalisation with it (:mod:`dlbench.models.spec`). What an audit shows a model
are images in [0, 1], or the rows of a table as they are; what it must give are logits. A name is one that
``dlbench list`` shows among the models (:mod:`dlbench.models`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlbench import models
from dlbench.attacks.modes import attack_mode
from dlbench.errors import DataDamaged, ParameterError, PluginError, did_you_mean
from dlbench.experiment import Context
from dlbench.models.spec import Spec, is_path, parse


def check_names(names: Sequence[str], references: Sequence[str]) -> None:
    """ParameterError unless each of an audit's models is one of its references, a registered model or an import path.

    Nothing is imported.
    """
    for name in names:
        if name in references or is_path(name) or name in models.names():
            continue
        known = [f"a reference ({', '.join(references)})"] if references else []
        known += [f"a registered model ({', '.join(models.names()) or 'there are none'})"]
        raise ParameterError(
            f"models: {name!r} is neither {' nor '.join(known)} nor an import path 'package.module:factory'"
        )


def brought(name: str, shape: Sequence[int], classes: int, context: Context) -> nn.Module:
    """A user's model, made by its factory, after a look at what it makes of two images.

    Args:
        name: ``package.module:factory``, or a registered model's.
        shape: of an image, [channels, height, width], or [features] of a table's row.
        classes: how many the data set has.
        context: gives the device, and a seed in case the factory draws weights.

    Raises:
        ParameterError: it cannot be imported or called, gives no module, or no logits of the images' classes.
        PluginError: a registered model is broken, or not trained yet.
    """
    net = module_from(name, "models", context)
    check_logits(name, net, shape, classes, context)
    return net


def module_from(name: str, parameter: str, context: Context) -> nn.Module:
    """What a registered model, or the factory at an import path, makes, on the context's device.

    Args:
        name: of a registered model, or ``package.module:factory``.
        parameter: in which it was given, for messages.
        context: gives the device, and a seed in case the factory draws weights.

    Raises:
        ParameterError: it cannot be imported or called, or gives no module.
        PluginError: a registered model is broken, or not trained yet.
    """
    spec = parse(name) if is_path(name) else Spec(name)
    factory = imported(spec.path, parameter) if is_path(name) else models.get(name)
    try:
        with context.seeded("brought", name):
            net = factory()
    except PluginError:
        raise
    except (Exception, SystemExit) as error:
        raise ParameterError(
            f"{parameter}: {name!r} failed ({told(error)}); it is called without arguments and must return a "
            "torch.nn.Module"
        ) from error
    if not isinstance(net, nn.Module):
        raise ParameterError(
            f"{parameter}: {name!r} returned {type(net).__name__}; it must return a torch.nn.Module, an "
            "instance and not a class"
        )
    if spec.weights:
        load(net, Path(spec.weights))
    return (Normalised(net, spec.mean, spec.std) if spec.mean else net).to(context.device)


def load(net: nn.Module, weights: Path) -> None:
    """Put the weights of a safetensors file into a module; ParameterError where the two do not fit."""
    from dlbench.models import safetensors

    if weights.suffix != ".safetensors":
        raise ParameterError(
            f"weights: {weights.name} is no safetensors file, which alone cannot run anything when it is read; write "
            "one with safetensors.torch.save_file(net.state_dict(), 'net.safetensors')"
        )
    try:
        state, _ = safetensors.read(weights)
        net.load_state_dict(state)
    except (OSError, DataDamaged) as error:
        raise ParameterError(f"weights: {error}") from None
    except RuntimeError as error:
        raise ParameterError(f"weights: {weights} does not fit the model: {' '.join(str(error).split())}") from None


class Normalised(nn.Module):
    """A model of normalised images, as one of images in [0, 1].

    Args:
        net: the model.
        mean, std: one number a channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        for name, numbers in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(numbers).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images [n, channels, height, width] in [0, 1]."""
        return self.net((x - self.mean) / self.std)  # type: ignore[no-any-return]


def imported(path: str, parameter: str = "models") -> Callable[[], Any]:
    """The factory at an import path, or a ParameterError that says what is not there."""
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        raise ParameterError(
            f"{parameter}: {path!r}: module {module_name!r} cannot be imported ({told(error)}); install it, or put the "
            "folder it is in on PYTHONPATH"
        ) from error
    if not hasattr(module, attribute):
        raise ParameterError(
            f"{parameter}: {path!r}: module {module_name!r} has no {attribute!r}"
            f"{did_you_mean(attribute, [name for name in vars(module) if not name.startswith('_')])}"
        )
    factory = getattr(module, attribute)
    if not callable(factory):
        raise ParameterError(
            f"{parameter}: {path!r} is of type {type(factory).__name__}, which cannot be called; expected a function "
            "without arguments that returns a torch.nn.Module"
        )
    return factory  # type: ignore[no-any-return]


@torch.no_grad()
def check_logits(path: str, net: nn.Module, shape: Sequence[int], classes: int, context: Context) -> None:
    """Two grey images, or rows of a table, give two rows of logits; ParameterError where not."""
    probe = torch.full((2, *shape), 0.5, device=context.device)
    given = f"float32 {'images' if len(shape) == 3 else 'rows'} {list(probe.shape)} in [0, 1]"
    try:
        with attack_mode(net):
            logits = net(probe)
    except Exception as error:
        raise ParameterError(
            f"models: {path!r} cannot take {given} ({told(error)}); choose the data set that it was made for, or "
            "reshape and normalise inside the module"
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ParameterError(
            f"models: {path!r} returned {got} for {given}; expected logits [2, {classes}], one a class of the data set"
        )


def odd_logits(logits: Tensor) -> str:
    """What makes one doubt that these [n, classes] are logits, in a line; empty if nothing does.

    Raises:
        ParameterError: none of them is a number.
    """
    if not logits.isfinite().any():
        raise ParameterError("models: the model's answers are all NaN or infinite; look at its weights")
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-4).all()):
        return "its answers are numbers from 0 to 1 that sum to 1; audits ask for logits, so leave out the softmax"
    return ""


def told(error: BaseException) -> str:
    """An exception in one line."""
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")
