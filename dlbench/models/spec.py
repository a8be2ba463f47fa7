"""A user's model in one line of text: the import path of a factory, and what is done to what it makes.

``package.module:factory`` names a function without arguments that returns a ``torch.nn.Module``. Behind a question
mark, as in a URL, may follow ``weights``, a safetensors file, ``mean`` and ``std``, one number a channel, if the model
wants normalised images, and the ``name`` that it is to have in tables and pictures::

    mypackage.nets:build?weights=/data/net.safetensors&mean=0.485,0.456,0.406&std=0.229,0.224,0.225

Where commas divide models from each other, as in ``--set``, those between numbers are written ``%2C``.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote

from dlbench.errors import ParameterError, did_you_mean

KEYS = ("weights", "mean", "std", "name")


@dataclass(frozen=True)
class Spec:
    """A model by import path.

    Args:
        path: ``package.module:factory``.
        weights: a safetensors file, or nothing for those that the factory gives it.
        mean, std: of the images that it was trained on, one number a channel; images are normalised with them.
        name: what it is called; without one, its path and its weights' file.
    """

    path: str
    weights: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    name: str = ""

    def __str__(self) -> str:
        numbers = {key: ",".join(f"{number!r}" for number in getattr(self, key)) for key in ("mean", "std")}
        parts = {"weights": self.weights, **numbers, "name": self.name}
        query = "&".join(f"{key}={quote(text, safe='/:')}" for key, text in parts.items() if text)
        return f"{self.path}?{query}" if query else self.path

    @property
    def module(self) -> str:
        """The module that the factory is in."""
        return self.path.partition(":")[0]

    @property
    def label(self) -> str:
        """What it is called in tables and pictures."""
        return self.name or (f"{self.path} ({Path(self.weights).name})" if self.weights else self.path)

    def digest(self) -> str:
        """Of what, beside the code, decides what it answers; ParameterError if the weights are not there."""
        if str(self) == self.path:
            return ""
        text = str(self)
        if self.weights:
            try:
                text += hashlib.sha256(Path(self.weights).read_bytes()).hexdigest()
            except OSError as error:
                raise ParameterError(f"weights: {self.weights} cannot be read ({error.strerror or error})") from None
        return hashlib.sha256(text.encode()).hexdigest()


def is_path(name: str) -> bool:
    """Whether it has the form ``package.module:factory``, with or without more behind a question mark."""
    module, colon, factory = name.partition("?")[0].partition(":")
    return bool(colon) and factory.isidentifier() and all(part.isidentifier() for part in module.split("."))


def label(name: str) -> str:
    """What a model is called in tables and pictures, by its registered name or import path."""
    return parse(name).label if is_path(name) else name


def parse(text: str) -> Spec:
    """A spec from its text; ParameterError where it is none."""
    path, _, query = text.partition("?")
    if not is_path(path):
        raise ParameterError(f"models: {path!r} is no import path; expected package.module:factory")
    given = parse_qs(query, keep_blank_values=True)
    for key, values in given.items():
        if key not in KEYS:
            raise ParameterError(f"models: {text!r}: there is no option {key!r}{did_you_mean(key, KEYS)}")
        if len(values) > 1 or not values[0]:
            raise ParameterError(f"models: {text!r}: {key} is given {len(values)} times, or without a value")
    mean, std = (numbers(given.get(key, [""])[0], key) for key in ("mean", "std"))
    if len(mean) != len(std):
        raise ParameterError(f"models: {len(mean)} means and {len(std)} standard deviations; expected as many, or none")
    if not all(deviation > 0 for deviation in std):
        raise ParameterError(f"models: std is {std}; expected numbers above 0")
    return Spec(path, given.get("weights", [""])[0], mean, std, given.get("name", [""])[0])


def numbers(text: str, name: str) -> tuple[float, ...]:
    """Numbers with commas between them; ParameterError where they are none, or not finite."""
    try:
        found = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise ParameterError(f"{name} is {text!r}; expected a number for each channel, with commas between them")
    return found
