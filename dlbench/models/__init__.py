"""Models by name, for audits to measure: a factory without arguments, and the data set that its images come from.

Registered through the entry-point group ``dlbench.models``, a model can be named wherever an audit takes an import
path::

    NEAREST_MEAN = Model(build=nearest_mean, dataset="bars", about="A linear layer made of the classes' means.")

    [project.entry-points."dlbench.models"]
    nearest_mean = "mypackage.models:NEAREST_MEAN"

What the factory returns is what :mod:`dlbench.brought` asks for: a ``torch.nn.Module`` from images in [0, 1] to logits.
A data set whose split is fixed (``train_x``, …, ``test_x``) keeps a model from being tested on what it was trained on.

:class:`~dlbench.models.trained.Trained` models are trained once, by ``dlbench models train``, and read from the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlbench import plugins
from dlbench.errors import ParameterError, PluginError
from dlbench.models.spec import is_path, parse

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Model:
    """A named model.

    Args:
        build: makes it; called without arguments.
        dataset: the registered data set whose images it takes, and whose classes its logits stand for.
        about: what it is, in a line or two.
    """

    build: Callable[[], nn.Module]
    dataset: str
    about: str = ""

    def __call__(self) -> nn.Module:
        """The model, ready to be asked."""
        return self.build()

    def fingerprint(self) -> str:
        """What, beside its code, decides what it answers (a digest of its weights); PluginError if it is not there."""
        return ""

    def made(self) -> Mapping[str, Any]:
        """How it was made, as far as that is on record; PluginError if it is not there."""
        return {}


def get(name: str) -> Model:
    """A registered model by its name; PluginError where there is none, or it is broken."""
    found = plugins.load(plugins.MODELS, name)
    if not callable(found) or not isinstance(getattr(found, "dataset", None), str):
        raise PluginError(
            f"model {name!r}: its entry point names an object of type {type(found).__name__}; expected a factory "
            "without arguments that has the name of its data set as `dataset`, as dlbench.models.Model makes one"
        )
    if not isinstance(found, Model):  # a function with an attribute does as well
        about = (getattr(found, "__doc__", None) or "").partition("\n\n")[0]
        return Model(build=found, dataset=found.dataset, about=" ".join(about.split()))
    if getattr(found, "name", name) != name:
        raise PluginError(f"model {name!r} calls itself {found.name!r}; give both the same name")  # type: ignore[attr-defined]
    return found


def names() -> list[str]:
    """Of all registered models, broken ones too, from metadata alone."""
    healthy, broken = plugins.discover(plugins.MODELS)
    return sorted({plugin.name for plugin in healthy} | {record.plugin.name for record in broken})


def fingerprint(name: str, datasets: Sequence[str]) -> str:
    """A digest of the code and weights of a model that is brought to an experiment which reads these data sets.

    Args:
        name: of a registered model, or an import path (:mod:`dlbench.models.spec`).
        datasets: what the experiment reads.

    Raises:
        PluginError: there is no such model, it is broken, or not trained yet.
        ParameterError: it was made for another data set, or its weights are not there.
    """
    if is_path(name):
        spec = parse(name)
        return plugins.code_digest(spec.module) + spec.digest()
    model = get(name)
    if model.dataset not in datasets:
        raise ParameterError(
            f"models: {name!r} was made for the data set {model.dataset!r}, and {', '.join(map(repr, datasets))} is to "
            f"be read; set the data set to {model.dataset!r} if it can be, or name another model"
        )
    return plugins.code_digest(plugins.find(plugins.MODELS, name).module) + model.fingerprint()
